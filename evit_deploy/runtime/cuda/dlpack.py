# SPDX-License-Identifier: Apache-2.0
"""DLPack: device arrays handed from one library to another as a capsule around a C structure.

Source: dlpack.h of DLPack 0.8, the unversioned structure that every library reads; and the Python specification of
DLPack, https://dmlc.github.io/dlpack/latest/python_spec.html.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13
"""Device types of `DLDeviceType`."""

_NAME = b"dltensor"
_KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}


class _Tensor(ctypes.Structure):
    """`DLTensor`."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    """`DLManagedTensor`: the tensor, and how its owner is told that it is not needed any more."""

    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


_python = ctypes.PyDLL(None)  # prototypes of its own: those of ctypes.pythonapi are everybody's
_capsule_new = _python.PyCapsule_New
_capsule_new.restype, _capsule_new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_capsule_pointer = _python.PyCapsule_GetPointer
_capsule_pointer.restype, _capsule_pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_dying_valid = _python["PyCapsule_IsValid"]  # of a capsule that is being freed: no reference to it may be taken
_dying_valid.restype, _dying_valid.argtypes = ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p)
_dying_pointer = _python["PyCapsule_GetPointer"]
_dying_pointer.restype, _dying_pointer.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p)

_lent: dict[int, tuple[_Managed, Any, Any]] = {}
"""Structures that other libraries hold, each with what it points into."""


@dataclass(frozen=True)
class Contents:
    """What a capsule says about an array.

    Attributes:
        pointer: Device address of its first element.
        device_type: Kind of the device.
        device: Number of the device.
        dtype: Type of an element; "unknown" for types that numpy has not.
        shape: Its shape.
        strides: Its strides in elements; None for C order.
    """

    pointer: int
    device_type: int
    device: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None


def read_capsule(capsule: Any) -> Contents:
    """Look into a capsule. It is not consumed: whoever keeps it keeps the array.

    Raises:
        ValueError: It is none, or was consumed.
    """
    tensor = _Managed.from_address(_capsule_pointer(capsule, _NAME)).tensor
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None
    pointer = (tensor.data or 0) + tensor.byte_offset
    return Contents(pointer, tensor.device_type, tensor.device_id, _dtype(tensor), shape, strides)


def _dtype(tensor: _Tensor) -> str:
    kind = _KINDS.get(tensor.code)
    if kind is None or tensor.lanes != 1 or tensor.bits % 8:
        return "unknown"
    try:
        return str(np.dtype("bool" if kind == "b" else f"{kind}{tensor.bits // 8}"))
    except TypeError:
        return "unknown"


def new_capsule(owner: Any, pointer: int, shape: tuple[int, ...], dtype: npt.DTypeLike, device: int) -> Any:
    """A capsule around C-contiguous device memory; `owner` is kept until the last library lets go of it."""
    kind = np.dtype(dtype)
    sizes = (ctypes.c_int64 * len(shape))(*shape)
    managed = _Managed()
    tensor = managed.tensor
    tensor.data, tensor.device_type, tensor.device_id = pointer, CUDA, device
    tensor.ndim, tensor.shape = len(shape), ctypes.cast(sizes, ctypes.POINTER(ctypes.c_int64))
    tensor.code, tensor.bits, tensor.lanes = _CODES[kind.kind], kind.itemsize * 8, 1
    managed.deleter = ctypes.cast(_let_go, ctypes.c_void_p)
    address = ctypes.addressof(managed)
    _lent[address] = (managed, sizes, owner)
    return _capsule_new(address, _NAME, ctypes.cast(_let_go_of_capsule, ctypes.c_void_p))


def _forget(managed: int) -> None:
    """The structure's deleter: called by whoever consumed the capsule."""
    _lent.pop(managed, None)


def _forget_capsule(capsule: int) -> None:
    """The capsule's destructor: nobody consumed it if it still has its first name."""
    if _dying_valid(capsule, _NAME):
        _lent.pop(_dying_pointer(capsule, _NAME), None)


_Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_let_go, _let_go_of_capsule = _Callback(_forget), _Callback(_forget_capsule)
