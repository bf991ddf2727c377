# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy selftest``: build → load → verify → profile on small models, and a record for a bug report.

On the CPU two models are exported here where PyTorch is installed; else the one export that travels with the package is
built. With a GPU the two lowered engines that travel with the package are compiled, as any device does with them.
"""

from __future__ import annotations

import datetime
import logging
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from evit_deploy.engines.compiler import COMPILERS, get_compiler
from evit_deploy.engines.doctor import compiler_problem, examine
from evit_deploy.errors import CheckFailedError, EvitError, UnavailableError, UsageError
from evit_deploy.manifest.signing import TRUSTED_KEYS
from evit_deploy.profiles.files import write_json
from evit_deploy.profiles.selftest_cases import Case, LeftOut, cpu_cases, gpu_cases
from evit_deploy.progress import Progress, silent

FORMAT = 1
"""Raised whenever the record's form changes."""

Result = Literal["ok", "failed", "not here", "left out"]
_PACKAGES = ("numpy", "cuda-bindings", "torch", "onnx")


@dataclass(frozen=True)
class Step:
    """One step of one model.

    Attributes:
        model: Name of the model.
        name: "export", "build", "load", "verify" or "profile".
        result: "ok"; "failed"; "not here": this machine lacks what it takes; "left out": needs no doing.
        seconds: Time that it took.
        detail: What came of it, in words.
        traceback: Python's traceback of what failed.
    """

    model: str
    name: str
    result: Result
    seconds: float
    detail: str
    traceback: str = ""


@dataclass(frozen=True)
class Selftest:
    """Everything that was done.

    Attributes:
        steps: All steps, in order.
        reason: What ended it before all steps were done, if anything did.
        path: The record.
    """

    steps: tuple[Step, ...]
    reason: Exception | None
    path: Path

    def require(self) -> None:
        """Say that it passed, by raising nothing.

        Raises:
            CheckFailedError: A step failed.
            UnavailableError: Steps could not be done on this machine.
            Exception: Whatever else ended it early.
        """
        attach = f"attach {self.path} to a bug report"
        if failed := _first(self.steps, "failed"):
            raise CheckFailedError(
                f"the selftest failed: {failed.name} of {failed.model}", found=failed.detail, fix=attach
            )
        if self.reason is not None:
            raise self.reason
        if missing := _first(self.steps, "not here"):
            raise UnavailableError(
                f"the selftest is not whole: this machine cannot do '{missing.name}' of {missing.model}",
                found=missing.detail,
                fix=f"if it should, {attach}",
            )


def run_selftest(path: Path, *, gpu: bool = False, progress: Progress = silent) -> Selftest:
    """Do every step on every model, in a temporary workspace, and write the record, whatever the outcome.

    Args:
        path: File of the record.
        gpu: Test the GPU, not the CPU.
        progress: Told about every step.

    Raises:
        UsageError: The record cannot be written there.
    """
    _require_place(path)
    steps: list[Step] = []
    reason: Exception | None = None
    with tempfile.TemporaryDirectory(prefix="evit-selftest-") as folder, _heard() as lines, _unsigned():
        work = Path(folder)
        try:
            for case in (gpu_cases if gpu else cpu_cases)(work, progress):
                steps += _run(case)
        except Exception as error:  # whatever it is, there is a record
            reason = error
        report = asdict(examine(work))
    outcome = Selftest(tuple(steps), reason, path)
    write_json(path, {**_record(outcome, gpu), "log": lines, "doctor": report})
    return outcome


def _require_place(path: Path) -> None:
    """See that the record can be written, before minutes are spent on it.

    Raises:
        UsageError: It cannot.
    """
    place = path.resolve()
    found = "a folder, or a device" if place.exists() and not place.is_file() else None
    try:
        with tempfile.TemporaryFile(dir=place.parent):
            pass
    except OSError as error:
        found = error.strerror
    if found is not None:
        raise UsageError(
            f"{path} is no place for a file", found=found, fix="--out FILE, in a folder that can be written"
        )


@contextmanager
def _unsigned() -> Iterator[None]:
    """Trust engines that are made here and gone in a minute: nobody signs them."""
    keys = os.environ.pop(TRUSTED_KEYS, None)
    try:
        yield
    finally:
        if keys is not None:
            os.environ[TRUSTED_KEYS] = keys


def _run(case: Case) -> Iterator[Step]:
    """Do the steps of a model; what follows a step that was not done is not done either."""
    last: Step | None = None
    for name, work in case.steps:
        if last is None or last.result == "ok":
            last = _do(case.name, name, work)
        elif last.result == "failed":
            last = Step(case.name, name, "left out", 0.0, f"after {last.name} failed")
        else:
            last = Step(case.name, name, last.result, 0.0, last.detail)
        yield last


def _do(model: str, name: str, work: Callable[[], str]) -> Step:
    start = time.perf_counter()
    result: Result = "ok"
    trace = ""
    try:
        detail = work()
    except LeftOut as error:
        result, detail = "left out", str(error)
    except UnavailableError as error:
        result, detail, trace = "not here", _words(error), traceback.format_exc()
    except Exception as error:  # the record is there for all that nobody thought of
        result, detail, trace = "failed", _words(error), traceback.format_exc()
    return Step(model, name, result, time.perf_counter() - start, detail, trace)


def _words(error: Exception) -> str:
    if isinstance(error, EvitError):
        fix = f"fix: {error.fix}" if error.fix else None
        return "; ".join(part for part in (error.what, error.found, fix) if part)
    return f"{type(error).__name__}: {error}"


def _first(steps: Sequence[Step], result: Result) -> Step | None:
    return next((step for step in steps if step.result == result), None)


def _record(outcome: Selftest, gpu: bool) -> dict[str, Any]:
    trace = "".join(traceback.format_exception(outcome.reason)) if outcome.reason else ""
    try:
        outcome.require()
        result = "passed"
    except UnavailableError:
        result = "not here"
    except Exception:
        result = "failed"
    return {
        "format": FORMAT,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "gpu": gpu,
        "result": result,
        "reason": str(outcome.reason) if outcome.reason else None,
        "traceback": trace,
        "steps": [asdict(step) for step in outcome.steps],
        "packages": dict(_versions()),
    }


def _versions() -> Iterator[tuple[str, str]]:
    """Versions of what takes part; of a compiler without one, why."""
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            yield name, metadata.version(name)
    for name in COMPILERS:
        yield name, get_compiler(name).version() or compiler_problem(name)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What the package logs meanwhile."""
    lines: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.levelname} {record.name}: {record.getMessage()}")

    logger, ear = logging.getLogger("evit_deploy"), Ear()
    logger.addHandler(ear)
    try:
        yield lines
    finally:
        logger.removeHandler(ear)
