# SPDX-License-Identifier: Apache-2.0
"""The rows of all targets.

To add a target, add a row here and its sizes in `evit_deploy.targets.variants`, which names the sources of its figures.
Compute capabilities: CUDA C++ Programming Guide; those of `rtx`: the architectures TensorRT-RTX 1.7 names.
"""

from __future__ import annotations

from evit_deploy.targets import variants
from evit_deploy.targets.spec import TargetSpec, Variant

_TYPED = ("fp32", "fp16")
_QUANTISED = (*_TYPED, "int8")  # TensorRT-RTX computes INT8 slower than FP16

_OPSET = 20  # of TensorRT 10.3 (JetPack 6.1 to 6.2), the oldest with strong typing that these machines run
_FORM = "conv"  # chosen on TensorRT-RTX's plans for SM80, see docs/attention.md


def _tensorrt(
    name: str, title: str, capability: str, sizes: tuple[Variant, ...], note: str = "", *, jetson: bool = False
) -> TargetSpec:
    """A machine whose TensorRT compiles on the machine itself, and nowhere else."""
    words = "compiled on the machine itself, or --remote"
    return TargetSpec(
        name=name,
        title=title,
        compute_capability=capability,
        compilers=("tensorrt",),
        precisions=_QUANTISED,
        note=f"{note}; {words}" if note else words,
        attention=_FORM,
        opset=_OPSET,
        variants=sizes,
        capabilities=(capability,),
        jetson=jetson,
    )


def _jetson(name: str, title: str, capability: str, sizes: tuple[Variant, ...], note: str = "") -> TargetSpec:
    return _tensorrt(name, title, capability, sizes, note, jetson=True)


_SUPER = "figures of the Super modes of JetPack 6.2 and later"

TARGETS = {
    spec.name: spec
    for spec in (
        TargetSpec("cpu", "This machine's CPU", None, ("openvino", "onnxruntime"), ("fp32", "bf16")),
        _jetson("orin", "Jetson AGX Orin", "8.7", variants.ORIN),
        _jetson("orin-nx", "Jetson Orin NX", "8.7", variants.ORIN_NX, _SUPER),
        _jetson("orin-nano", "Jetson Orin Nano", "8.7", variants.ORIN_NANO, _SUPER),
        _jetson("thor", "Jetson AGX Thor", "11.0", variants.THOR),
        _tensorrt("a100", "NVIDIA A100", "8.0", variants.A100),
        _tensorrt("h100", "NVIDIA H100", "9.0", variants.H100, "figures not checked"),
        TargetSpec(
            "rtx", "NVIDIA RTX (Turing to Blackwell)", None, ("tensorrt_rtx",), _TYPED,
            "compiled ahead of time for --arch, without a GPU; no engine has run on one yet", _FORM, _OPSET,
            capabilities=("7.5", "8.0", "8.6", "8.9", "12.0", "12.1"),
        ),
    )
}  # fmt: skip
