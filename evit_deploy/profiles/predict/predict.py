# SPDX-License-Identifier: Apache-2.0
"""From the plan of a graph and the figures of a machine to a prediction."""

from __future__ import annotations

from dataclasses import replace

from evit_deploy.engines.plan import Kernel
from evit_deploy.profiles.predict.cost import Cost, Work, calibration, kernel_cost
from evit_deploy.profiles.predict.int8_cost import int8_calibration, mixed_cost, mixed_of
from evit_deploy.profiles.predict.machine import in_fp32
from evit_deploy.profiles.predict.prediction import Bound, Conditions, KernelTime, Prediction, Terms, by_stage
from evit_deploy.profiles.predict.stages import INPUT, OUTPUT, stages_of
from evit_deploy.profiles.predict.subject import COMPILED, FALLBACK, Subject

_FALLBACK_MARGIN = 1.12
"""What a plan guessed from the graph alone adds: the tests hold what it predicts to 12 % of a real plan's."""

_FALLBACK_BATCH_MARGIN = 1.25
"""The same at batches above 1, which the rules of guessing were not read off: b2-cls at batch 16 is 17 % too fast."""

_FP32_MARGIN = 1.5
"""Assumed: no FP32 latency is published."""


def predict_plan(subject: Subject, machine: Conditions) -> Prediction:
    """Predict the latency of one graph on one machine.

    Args:
        subject: The graph and its plan.
        machine: Where and how it runs.

    Returns:
        The prediction. Its interval is of the model's own errors on published latencies that it was not fitted to,
        widened where an assumption is in it.
    """
    kernels = [(number, kernel) for number, kernel in enumerate(subject.plan.kernels) if kernel.works]
    work = Work.of(kernel for _, kernel in kernels)
    machine = machine if subject.precision in ("fp16", "int8") else in_fp32(machine)
    constants = calibration().constants
    cost, launch, copy = _cost(subject, machine), constants.launch(machine), constants.copy(machine)
    stages = stages_of([kernel for _, kernel in kernels], subject.input)
    times = tuple(
        _kernel_time(number, kernel, stage, moved, traffic, arithmetic, launch)
        for (number, kernel), stage, moved, traffic, arithmetic in zip(
            kernels, stages, work.activations + work.weights, cost.traffic, cost.arithmetic, strict=True
        )
    )
    copies = {INPUT: Terms(copies=copy * subject.inputs), OUTPUT: Terms(copies=copy * subject.outputs)}
    by_name = _with_copies(by_stage(times), copies)
    low, high = _interval(subject, machine)
    return Prediction(
        subject=subject.name,
        model=subject.model,
        resolution=subject.resolution,
        batch=subject.batch,
        precision=subject.precision,
        input=subject.input,
        output=subject.output,
        plan=subject.origin,
        conditions=machine,
        low_ms=low,
        high_ms=high,
        coverage=calibration().coverage if _is_held_out(subject, machine) else None,
        terms=sum(by_name.values(), Terms()),
        stages=by_name,
        kernels=times,
        notes=(*subject.notes, *_notes(subject, machine)),
    )


def _cost(subject: Subject, machine: Conditions) -> Cost:
    """How long the kernels take, without launches."""
    constants, kernels = calibration().constants, subject.plan.working
    if subject.precision == "int8":
        return mixed_cost(mixed_of(kernels), machine, constants, int8_calibration().constants)
    return kernel_cost(Work.of(kernels), machine, constants)


def _kernel_time(
    number: int, kernel: Kernel, stage: str, moved: float, traffic: float, arithmetic: float, launch: float
) -> KernelTime:
    """A kernel's prediction: the larger of its two times, and its launch."""
    computes = arithmetic > traffic
    bound: Bound = "launch" if launch > max(traffic, arithmetic) else "arithmetic" if computes else "traffic"
    terms = Terms(0.0 if computes else float(traffic), float(arithmetic) if computes else 0.0, launch)
    return KernelTime(
        number=number, name=kernel.name, type=kernel.type, stage=stage, layers=kernel.layers,
        bytes=int(moved), flops=kernel.flops, terms=terms, bound=bound,
    )  # fmt: skip


def _with_copies(stages: dict[str, Terms], copies: dict[str, Terms]) -> dict[str, Terms]:
    """Stages in order, with the copy in before the first one and the copy out after the last one."""
    order = dict.fromkeys((INPUT, *(name for name in stages if name not in copies), OUTPUT))
    return {name: stages.get(name, Terms()) + copies.get(name, Terms()) for name in order}


def _is_calibrated(machine: Conditions) -> bool:
    """Whether latencies of this machine, in this mode and run like this, were published."""
    known = {"orin": ("64 GB", "MAXN"), "a100": (machine.variant, None)}
    by_the_book = not machine.cuda_graph and machine.copies == "pinned"
    return known.get(machine.target) == (machine.variant, machine.mode) and by_the_book


def _is_held_out(subject: Subject, machine: Conditions) -> bool:
    """Whether latencies were held out that such a prediction is like: of such a plan, in FP16, at such a batch."""
    batches = (1,) if machine.target == "orin" else (1, 16)
    alike = subject.origin.startswith(COMPILED) and subject.precision == "fp16" and subject.batch in batches
    return alike and _is_calibrated(machine)


def _interval(subject: Subject, machine: Conditions) -> tuple[float, float]:
    """Milliseconds that the model's errors leave open, and what is assumed beyond the machines it was fitted to.

    Nobody published how convolutions slow down with fewer or slower multiprocessors: they may follow their clock, as
    this model has it, or memory. A CUDA graph may save nothing, and neither may zero-copy. The interval spans both.
    """
    fitted = calibration()
    machines = [machine]
    if not _is_calibrated(machine):
        machines += [replace(machine, clock_mhz=None), replace(machine, cuda_graph=False, copies="pinned")]
    found = [_run_ms(subject, each) for each in machines]
    margin = fitted.margins.get(machine.target, max(fitted.margins.values()))
    if subject.origin == FALLBACK:
        margin *= _FALLBACK_MARGIN if subject.batch == 1 else _FALLBACK_BATCH_MARGIN
    margin *= {"fp16": 1.0, "int8": int8_calibration().margin}.get(subject.precision, _FP32_MARGIN)
    return min(found) / margin, max(found) * margin


def _run_ms(subject: Subject, machine: Conditions) -> float:
    """How long a whole run takes: kernels, launches and copies."""
    constants, cost = calibration().constants, _cost(subject, machine)
    copies = (subject.inputs + subject.outputs) * constants.copy(machine)
    return cost.total + len(cost.traffic) * constants.launch(machine) + copies


def _notes(subject: Subject, machine: Conditions) -> tuple[str, ...]:
    notes = []
    if subject.target not in (None, machine.target):
        notes.append(f"this engine was built for {subject.target}: predicted is the same plan on {machine.target}")
    if not _is_calibrated(machine):
        notes.append(
            f"no latency of this model family was published for {_words(machine)}: the interval spans assumptions"
        )
    if machine.uncertain:
        notes.append(f"figures that the vendor did not publish: {', '.join(machine.uncertain)}")
    if machine.mode is not None and machine.target in ("orin", "orin-nx", "orin-nano") and "MAXN" not in machine.mode:
        notes.append("the mode's limit of the memory clock, where it has one, is not counted")
    if machine.cuda_graph:
        notes.append("what a kernel's launch costs within a CUDA graph is assumed")
    if subject.precision not in ("fp16", "int8"):
        notes.append("no latency in FP32 was published: its interval is wider by an assumed factor")
    if subject.precision == "int8":
        notes.append("what INT8 gains is fitted to other networks: the interval is wider by how far off those are")
    return tuple(notes)


def _words(machine: Conditions) -> str:
    ways = ["with a CUDA graph" if machine.cuda_graph else "", "with zero-copy" if machine.copies != "pinned" else ""]
    return " ".join(filter(None, [machine.target, machine.variant, machine.mode, *ways]))
