# SPDX-License-Identifier: Apache-2.0
"""From a target and a power mode to the figures that a prediction needs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from evit_deploy.errors import UsageError
from evit_deploy.profiles.predict.prediction import Conditions, Copies
from evit_deploy.targets import TARGETS, TargetSpec, find_target

if TYPE_CHECKING:
    from evit_deploy.targets.spec import PowerMode, Variant

FLOPS_PER_CLOCK = {"8.0": 2048, "8.7": 2048, "9.0": 4096}
"""Dense FP16 operations per clock of one multiprocessor's tensor cores, by compute capability."""

FP32_SHARE = {"8.0": 1 / 16, "8.7": 1 / 8, "9.0": 1 / 16, "11.0": 1 / 32}
"""Peak in FP32 over the dense FP16 peak, by compute capability. Engines in FP32 are built without TF32, so that tensor
cores have no part in them: 128 operations per clock and multiprocessor on an A100, 256 on the others."""


def conditions(
    target: str,
    mode: str | None = None,
    variant: str | None = None,
    *,
    cuda_graph: bool = False,
    copies: Copies = "pinned",
) -> Conditions:
    """The figures of a machine, from `evit_deploy.targets`.

    Args:
        target: Name of a target with figures; those are of FP16.
        mode: Power mode of a Jetson, upper or lower case; None takes the unlimited one.
        variant: Size it is sold in, such as "32 GB"; None takes the largest.
        cuda_graph: Whether kernels are launched as one CUDA graph.
        copies: How inputs and outputs move.

    Raises:
        UsageError: No such target, size or mode, no figures of it, or zero-copy where memory is not shared.
    """
    spec = _target(target)
    size = _variant(spec, variant)
    chosen = _mode(spec, size, mode)
    if copies == "zero-copy" and not spec.jetson:
        raise UsageError(
            f"inputs and outputs must be copied to the {spec.title}", found="zero-copy",
            expected="a Jetson, whose GPU shares the CPU's memory", fix="leave --what-if zero-copy out",
        )  # fmt: skip
    assert size.fp16_tflops is not None
    whole = Conditions(
        target=spec.name,
        variant=size.name,
        mode=chosen.name if chosen else None,
        multiprocessors=int(size.multiprocessors.value),
        clock_mhz=_clock(spec, size),
        bandwidth_gbs=size.bandwidth_gbs.value,
        peak_tflops=size.fp16_tflops.value,
        uncertain=_uncertain(size, chosen),
        cuda_graph=cuda_graph,
        copies=copies,
        integrated=spec.jetson,
    )
    return whole if chosen is None else _limited(whole, chosen)


def in_fp32(machine: Conditions) -> Conditions:
    """The same machine computing in FP32."""
    share = FP32_SHARE[TARGETS[machine.target].compute_capability or ""]
    return replace(machine, peak_tflops=machine.peak_tflops * share)


def predictable() -> tuple[str, ...]:
    """Names of the targets with figures to predict from."""
    return tuple(name for name, spec in TARGETS.items() if spec.variants)


def _target(name: str) -> TargetSpec:
    if name == "cpu":
        raise UsageError(
            "latency on a CPU is measured, not predicted", fix="evit-deploy build MODEL --target cpu, then profile it"
        )
    spec = find_target(name)
    if not spec.variants:
        raise UsageError(
            f"there is nothing to predict '{name}' from", found=f"no figures of {spec.title}: it is many machines",
            expected=f"one of {', '.join(predictable())}",
        )  # fmt: skip
    return spec


def _variant(spec: TargetSpec, name: str | None) -> Variant:
    names = [variant.name for variant in spec.variants]
    plain = "" if name is None else name.lower().replace(" ", "")
    for variant in spec.variants:
        if name is None or variant.name.lower().replace(" ", "") == plain:
            return variant
    raise UsageError(f"the {spec.title} is not sold as '{name}'", expected=f"one of {', '.join(names)}")


def _mode(spec: TargetSpec, variant: Variant, name: str | None) -> PowerMode | None:
    """A power mode by its name; the unlimited one stands first."""
    if name is None:
        return variant.modes[0] if variant.modes else None
    for mode in variant.modes:
        if mode.name.lower() == name.lower().removeprefix("mode_"):
            return mode
    known = ", ".join(mode.name for mode in variant.modes)
    raise UsageError(
        f"the {spec.title} {variant.name} has no power mode '{name}' that is known here",
        expected=f"one of {known}" if known else "no --mode: it has none",
        fix="nvpmodel -q on the device tells its mode",
    )


def _clock(spec: TargetSpec, variant: Variant) -> float | None:
    """GPU clock in MHz: published, or from the peak."""
    if variant.clock_mhz is not None:
        return variant.clock_mhz.value
    per_clock = FLOPS_PER_CLOCK.get(spec.compute_capability or "")
    if per_clock is None or variant.fp16_tflops is None:
        return None
    return variant.fp16_tflops.value * 1e6 / (variant.multiprocessors.value * per_clock)


def _limited(whole: Conditions, mode: PowerMode) -> Conditions:
    """What a power mode leaves of a machine. Its limit of the memory clock is not in the tables, and not counted."""
    units = int(mode.multiprocessors.value)
    clock = whole.clock_mhz if mode.clock_mhz is None else float(mode.clock_mhz)
    share = units / whole.multiprocessors
    if clock is not None and whole.clock_mhz is not None:
        share *= clock / whole.clock_mhz
    return replace(whole, multiprocessors=units, clock_mhz=clock, peak_tflops=whole.peak_tflops * share)


def _uncertain(variant: Variant, mode: PowerMode | None) -> tuple[str, ...]:
    figures = {
        "multiprocessors": mode.multiprocessors if mode else variant.multiprocessors,
        "clock": variant.clock_mhz,
        "bandwidth": variant.bandwidth_gbs,
        "FP16 peak": variant.fp16_tflops,
    }
    return tuple(
        f"{name} ({figure.source})" for name, figure in figures.items() if figure is not None and not figure.certain
    )
