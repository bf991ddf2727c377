# SPDX-License-Identifier: Apache-2.0
"""From a machine and a budget to the frontier of accuracy and latency, and to the model to build."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evit_deploy.errors import UsageError
from evit_deploy.models.zoo import find_model
from evit_deploy.profiles.advise.choice import Candidate, Choice, Timing, best_within, candidates, frontier
from evit_deploy.profiles.advise.measured import measured_choices
from evit_deploy.profiles.predict.ask import Whole
from evit_deploy.profiles.predict.machine import conditions
from evit_deploy.profiles.predict.predict import predict_plan
from evit_deploy.profiles.predict.prediction import Conditions
from evit_deploy.profiles.predict.sources import model_subjects
from evit_deploy.progress import Progress, silent

_CPU = "cpu"
_PRECISION = "fp16"

Predict = Callable[[Candidate], Whole]


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
        target: Name of the target.
        budget_ms: Milliseconds that a frame may take.
        task: "cls", "seg" or "sam"; None for all.
        dataset: Data set that the models were trained on; None for all.
        mode: Power mode; None for the unlimited one.
        variant: Size that the machine is sold in; None for the largest.
    """

    target: str
    budget_ms: float
    task: str | None = None
    dataset: str | None = None
    mode: str | None = None
    variant: str | None = None


@dataclass(frozen=True)
class Advice:
    """All models of one metric against a budget.

    Attributes:
        wanted: What was asked for.
        metric: What all accuracies are of.
        choices: Everything with a latency, fastest first.
        frontier: Of those, what no other one beats in both accuracy and latency.
        chosen: The most accurate one within the budget; None where nothing is.
        notes: What a reader must know.
    """

    wanted: Wanted
    metric: str
    choices: tuple[Choice, ...]
    frontier: tuple[Choice, ...]
    chosen: Choice | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; every choice says whether its latency is predicted."""
        return {
            "wanted": asdict(self.wanted),
            "metric": self.metric,
            "choices": [self._choice_json(choice) for choice in self.choices],
            "chosen": self.chosen and self._choice_json(self.chosen),
            "commands": self.chosen.commands(self.wanted.target) if self.chosen else [],
            "notes": list(self.notes),
        }

    def _choice_json(self, choice: Choice) -> dict[str, Any]:
        verdict = choice.fit(self.wanted.budget_ms)
        return {**choice.to_json(), "on_frontier": choice in self.frontier, "verdict": verdict}


def advise(
    wanted: Wanted, workspace: Path, progress: Progress = silent, predictor: Predict | None = None
) -> tuple[Advice, ...]:
    """Weigh all models of a task on a machine.

    A latency in profiles/ that was measured on such a machine takes the place of the predicted one. On a CPU nothing
    can be predicted: there only what was measured is weighed.

    Args:
        wanted: The machine, the budget and the task.
        workspace: Folder that holds profiles/.
        progress: Told about every step.
        predictor: Predicts a candidate; None predicts FP16 engines as `evit_deploy.profiles.predict` does.

    Returns:
        One piece of advice for each metric, for accuracies of different metrics do not compare.

    Raises:
        UsageError: No such machine, mode, task or data set, or nothing was measured on this CPU.
        UnavailableError: What predicts is not installed.
    """
    found = candidates(wanted.task, wanted.dataset)
    machine = None if wanted.target == _CPU else conditions(wanted.target, wanted.mode, wanted.variant)
    known = measured_choices(workspace / "profiles", wanted.target, machine, found)
    choices = list(known.choices)
    if machine is not None:
        measured = {(choice.model, choice.resolution) for choice in choices if choice.precision == _PRECISION}
        unknown = [item for item in found if (item.model, item.resolution) not in measured]
        choices += _predicted(unknown, predictor or partial(predict_candidate, machine=machine), progress)
    if not choices:
        raise UsageError(
            "nothing was measured on this CPU yet, and latency on a CPU is not predicted",
            fix="evit-deploy export MODEL, build it for cpu, profile it; then ask again",
        )
    by_metric: dict[str, list[Choice]] = {}
    for choice in choices:
        by_metric.setdefault(choice.metric, []).append(choice)
    return tuple(
        _of_metric(wanted, metric, items, (*known.notes, *_notes(machine, items)))
        for metric, items in by_metric.items()
    )


def _of_metric(wanted: Wanted, metric: str, choices: Sequence[Choice], notes: tuple[str, ...]) -> Advice:
    of_it = sorted(choices, key=lambda one: one.timing.ms)
    return Advice(wanted, metric, tuple(of_it), frontier(of_it), best_within(of_it, wanted.budget_ms), notes)


def _predicted(found: list[Candidate], predictor: Predict, progress: Progress) -> list[Choice]:
    choices = []
    with progress("predict latencies", len(found)) as step:
        for item in found:
            whole = predictor(item)
            timing = Timing(whole.ms, whole.low_ms, whole.high_ms)
            choices.append(Choice(**asdict(item), precision=_PRECISION, timing=timing))
            step.advance()
    return choices


def predict_candidate(item: Candidate, machine: Conditions) -> Whole:
    """Predict an FP16 engine of a model as this package builds it."""
    subjects = model_subjects(find_model(item.model), item.resolution)
    return Whole(tuple(predict_plan(subject, machine) for subject in subjects))


def _notes(machine: Conditions | None, choices: Sequence[Choice]) -> Iterator[str]:
    yield "published accuracies are of the authors' PyTorch models; build checks that an engine agrees with PyTorch"
    if any(choice.accuracy is None for choice in choices):
        yield (
            "an accuracy that nobody published for a resolution is unknown, and keeps a model off the frontier: "
            "evit-deploy eval measures it"
        )
    if any(choice.timing.is_predicted for choice in choices):
        yield "predictions are of FP16 engines: FP32 is slower, and no more accurate than the check lets FP16 be"
    if machine is not None and machine.uncertain:
        yield f"figures that the vendor did not publish: {', '.join(machine.uncertain)}"
