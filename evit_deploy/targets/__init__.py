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


_GPU_NOTE = "no compiler for it in this version"

TARGETS = {
    spec.name: spec
    for spec in (
        TargetSpec("cpu", "This machine's CPU", None, None, None, None, ("openvino", "onnxruntime"), ("fp32", "bf16")),
        TargetSpec("orin", "Jetson AGX Orin", "8.7", 16, 64, 204.8, (), (), _GPU_NOTE),
        TargetSpec("orin-nx", "Jetson Orin NX", "8.7", 8, 16, 102.4, (), (), _GPU_NOTE),
        TargetSpec(
            "orin-nano", "Jetson Orin Nano", "8.7", 8, 8, 102.0, (), (), f"bandwidth in Super mode; {_GPU_NOTE}"
        ),
        TargetSpec("thor", "Jetson AGX Thor", "11.0", 20, 128, 273.0, (), (), _GPU_NOTE),
        TargetSpec("a100", "NVIDIA A100", "8.0", 108, 80, 2039.0, (), (), f"SXM, 80 GB; {_GPU_NOTE}"),
        TargetSpec("h100", "NVIDIA H100", "9.0", 132, 80, 3350.0, (), (), f"SXM, unverified figures; {_GPU_NOTE}"),
        TargetSpec("rtx", "NVIDIA RTX (Turing to Blackwell)", None, None, None, None, (), (), _GPU_NOTE),
    )
}


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
