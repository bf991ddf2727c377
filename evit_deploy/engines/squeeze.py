# SPDX-License-Identifier: Apache-2.0
"""A lowered graph made small for its way to a device: what the device can compute is left out.

Merged weights are cut out of the file where they are exactly what their factors give, and made again on the other side.
The rest is compressed with the first and the second byte of every FP16 value apart: exponents repeat, fractions do not.
The result is the same file, byte by byte; its hash says so.
"""

from __future__ import annotations

import json
import zlib

import numpy as np
import numpy.typing as npt

from evit_deploy.errors import ArtifactError
from evit_deploy.precision.merging import Factors, merge_aggregation

SUFFIX = ".squeezed"

_TYPES = ("<f2", "<f4")
_LEVEL = 6


def squeeze(data: bytes, factors: Factors) -> bytes:
    """Compress an ONNX file.

    Args:
        data: The file.
        factors: What its merged weights follow from; those that do not exactly are left in.
    """
    found = sorted(cut for name, pair in factors.items() for cut in [_find(data, name, *pair)] if cut)
    kept, cuts, start = [], [], 0
    for at, size, name, dtype in found:
        if at >= start:  # equal weights are found at one place
            kept.append(data[start:at])
            cuts.append([at, name, dtype])
            start = at + size
    rest = b"".join([*kept, data[start:]])
    header = json.dumps({"size": len(rest), "cuts": cuts}).encode()
    return header + b"\n" + zlib.compress(_apart(rest), _LEVEL)


def expand(data: bytes, factors: Factors) -> bytes:
    """What was squeezed.

    Raises:
        ArtifactError: It is damaged.
    """
    try:
        header, _, body = data.partition(b"\n")
        form = json.loads(header)
        rest = _together(zlib.decompress(body), form["size"])
        parts, start, filled = [], 0, 0
        for at, name, dtype in form["cuts"]:
            weight = _weight(dtype, *factors[name])
            parts += [rest[start : at - filled], weight]
            start, filled = at - filled, filled + len(weight)
        return b"".join([*parts, rest[start:]])
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise ArtifactError("the package is refused", found=f"{error}", fix="send it again") from error


def _find(
    data: bytes, name: str, depthwise: npt.NDArray[np.float32], mixing: npt.NDArray[np.float32]
) -> tuple[int, int, str, str] | None:
    """Where a merged weight stands: offset, size, name, type; None if it was changed when the graph was typed."""
    for dtype in _TYPES:
        weight = _weight(dtype, depthwise, mixing)
        if (at := data.find(weight)) >= 0:
            return at, len(weight), name, dtype
    return None


def _weight(dtype: str, depthwise: npt.NDArray[np.float32], mixing: npt.NDArray[np.float32]) -> bytes:
    if dtype not in _TYPES:
        raise ValueError(f"weights of type {dtype}")
    with np.errstate(over="ignore"):
        return merge_aggregation(depthwise, mixing).astype(dtype).tobytes()


def _apart(data: bytes) -> bytes:
    """All bytes at even places, then all at odd ones."""
    return data[0::2] + data[1::2]


def _together(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise ValueError(f"{len(data)} bytes where {size} are expected")
    even = (size + 1) // 2
    result = bytearray(size)
    result[0::2], result[1::2] = data[:even], data[even:]
    return bytes(result)
