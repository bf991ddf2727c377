# SPDX-License-Identifier: Apache-2.0
"""The machines an engine can be built for, as data with sources.

To add a target, add a row here. Figures without a vendor source carry a mark in `TargetSpec.note`.
Sources: NVIDIA Deep-Learning-Accelerator-SW README and the Jetson module data sheets (SMs, memory, bandwidth);
CUDA C++ Programming Guide (compute capability); NVIDIA A100 and H100 data sheets.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from evit_deploy.errors import UsageError

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
"""All precisions the command line knows; each target lists its own."""


@dataclass(frozen=True)
class TargetSpec:
    """One machine.

    Attributes:
        name: Name on the command line.
        title: Name in full.
        compute_capability: CUDA compute capability, or None for a CPU.
        multiprocessors: Streaming multiprocessors of the largest variant, or None.
        memory_gb: Memory of the largest variant, in GB, or None.
        bandwidth_gbs: Memory bandwidth in GB/s, or None.
        compilers: Compilers that serve it, best first; the first one installed is used.
        precisions: Precisions it can be built in.
        note: What else to know.
        attention: Arrangement of the attention that its compiler likes best; None where graphs run as exported.
        opset: Largest ONNX opset that a TensorRT for it reads, or None.
    """

    name: str
    title: str
    compute_capability: str | None
    multiprocessors: int | None
    memory_gb: int | None
    bandwidth_gbs: float | None
    compilers: tuple[str, ...]
    precisions: tuple[str, ...]
    note: str = ""
    attention: str | None = None
    opset: int | None = None


_TYPED = ("fp32", "fp16")
_DEVICE = "lowered and verified here, compiled on the device"


def _gpu(name: str, title: str, capability: str, sms: int, memory: int, bandwidth: float, note: str = "") -> TargetSpec:
    """A machine whose TensorRT compiles on the machine itself.

    The attention's arrangement was chosen on TensorRT-RTX's plans for SM80 (docs/attention.md); the opset is that of
    TensorRT 10.3 (JetPack 6.1 to 6.2), the oldest with strong typing that these machines run.
    """
    words = f"{note}; {_DEVICE}" if note else _DEVICE
    return TargetSpec(name, title, capability, sms, memory, bandwidth, (), _TYPED, words, "conv", 20)


TARGETS = {
    spec.name: spec
    for spec in (
        TargetSpec("cpu", "This machine's CPU", None, None, None, None, ("openvino", "onnxruntime"), ("fp32", "bf16")),
        _gpu("orin", "Jetson AGX Orin", "8.7", 16, 64, 204.8),
        _gpu("orin-nx", "Jetson Orin NX", "8.7", 8, 16, 102.4),
        _gpu("orin-nano", "Jetson Orin Nano", "8.7", 8, 8, 102.0, "bandwidth in Super mode"),
        _gpu("thor", "Jetson AGX Thor", "11.0", 20, 128, 273.0),
        _gpu("a100", "NVIDIA A100", "8.0", 108, 80, 2039.0, "SXM, 80 GB"),
        _gpu("h100", "NVIDIA H100", "9.0", 132, 80, 3350.0, "SXM, unverified figures"),
        TargetSpec(
            "rtx", "NVIDIA RTX (Turing to Blackwell)", None, None, None, None, ("tensorrt_rtx",), _TYPED,
            "compiled ahead of time for --arch, without a GPU; no engine has run on one yet", "conv", 20,
        ),
    )
}  # fmt: skip


def find_target(name: str) -> TargetSpec:
    """Look a target up by its name.

    Raises:
        UsageError: No such target; the message lists the nearest names.
    """
    if name in TARGETS:
        return TARGETS[name]
    near = difflib.get_close_matches(name.lower(), TARGETS, n=3, cutoff=0.4) or list(TARGETS)
    raise UsageError(
        f"there is no target '{name}'",
        expected=f"one of {', '.join(near)}",
        fix="evit-deploy targets lists all of them",
    )
