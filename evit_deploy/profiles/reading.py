# SPDX-License-Identifier: Apache-2.0
"""Reading what was recorded of an engine: report.json, agreement.json and evaluation.*.json in its folder of profiles/.

Reports of every version that was ever written are read. What an older one does not hold is absent in the values, as
where it was not measured.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.manifest import ENCODER, Agreement, Manifest
from evit_deploy.profiles.decode import decode
from evit_deploy.profiles.evaluate.record import VERSION as EVALUATION_VERSION
from evit_deploy.profiles.evaluate.record import Evaluation
from evit_deploy.profiles.report import REPORT_VERSION, ProfileReport
from evit_deploy.profiles.sam.report import PartsReport
from evit_deploy.profiles.verify import AGREEMENT

REPORT = "report.json"
EVALUATIONS = "evaluation.*.json"

Report = ProfileReport | PartsReport
T = TypeVar("T")


@dataclass(frozen=True)
class Verified:
    """What ``evit-deploy verify`` recorded.

    Attributes:
        engine: Name of the engine's folder.
        key: Key of the engine.
        created: When, UTC, ISO 8601.
        machine: Where, in words.
        images: Folder of the images; None for the reference in the engine.
        agreement: The comparison with PyTorch; of an engine of several parts, from picture to masks.
        passed: Whether it and those of all parts are within budget.
        parts: Comparison of each part, by its name; empty for an engine of one graph.
    """

    engine: str
    key: str
    created: str
    machine: dict[str, str]
    images: str | None
    agreement: Agreement
    passed: bool
    parts: dict[str, Agreement] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated:
    """What ``evit-deploy eval`` recorded.

    Attributes:
        evaluation: What was found.
        created: When, UTC, ISO 8601.
        machine: Where, in words.
    """

    evaluation: Evaluation
    created: str
    machine: dict[str, str]


@dataclass(frozen=True)
class Recorded:
    """Everything that was recorded of one engine.

    Attributes:
        folder: Where it was read from; its name is the engine's.
        report: What ``evit-deploy profile`` measured; None where it did not run.
        verified: What ``evit-deploy verify`` found; None where it did not run.
        evaluations: What ``evit-deploy eval`` found, by kind of data set.
    """

    folder: Path
    report: Report | None
    verified: Verified | None
    evaluations: tuple[Evaluated, ...]


def read_record(folder: Path) -> Recorded:
    """Read all records of one engine.

    Args:
        folder: Its folder below profiles/.

    Raises:
        UsageError: Nothing is recorded there, or a file cannot be read.
        ArtifactError: A record is damaged, or of a newer version than this package knows.
    """
    report, verified = folder / REPORT, folder / AGREEMENT
    evaluations = sorted(folder.glob(EVALUATIONS))
    if not (report.is_file() or verified.is_file() or evaluations):
        raise UsageError(
            f"nothing is recorded in {folder}",
            expected=f"{REPORT}, {AGREEMENT} or {EVALUATIONS}",
            fix="evit-deploy profile ENGINE",
        )
    return Recorded(
        folder=folder,
        report=read_report(report) if report.is_file() else None,
        verified=read_verified(verified) if verified.is_file() else None,
        evaluations=tuple(map(read_evaluation, evaluations)),
    )


def recorded_folders(profiles: Path) -> list[Path]:
    """The folders below profiles/ that hold a record, by name; none where there is no such folder."""
    names = (REPORT, AGREEMENT, EVALUATIONS)
    return sorted({path.parent for name in names for path in profiles.glob(f"[!.]*/{name}")})


def find_profile(name: str, profiles: Path) -> Path:
    """The folder of a profile, by the name of its engine in profiles/ or by its path.

    Raises:
        UsageError: There is no such profile; the message lists the nearest.
    """
    for folder in (profiles / name, Path(name)):
        if name and (folder / REPORT).is_file():
            return folder
    raise no_profile(name, profiles, f"a folder with {REPORT}")


def no_profile(name: str, profiles: Path, expected: str) -> UsageError:
    """The error of a profile that is not there, with those of similar names that are.

    Args:
        name: What was asked for.
        profiles: Folder of all profiles.
        expected: What would have done.
    """
    there = [folder.name for folder in recorded_folders(profiles) if (folder / REPORT).is_file()]
    near = difflib.get_close_matches(Path(name).name, there, n=3, cutoff=0.3) or there[:5]
    return UsageError(
        f"there is no profile '{name}' in {profiles}",
        found=f"{', '.join(near)} there" if near else "nothing there yet",
        expected=expected,
        fix="evit-deploy profile ENGINE",
    )


def read_report(path: Path) -> Report:
    """Read a report.json, of an engine of one graph or of several.

    Raises:
        UsageError: The file cannot be read.
        ArtifactError: It is damaged, no report, or of a newer version.
    """
    return _read(path, _report, "evit-deploy profile")


def read_verified(path: Path) -> Verified:
    """Read an agreement.json; raises as `read_report`."""
    return _read(path, _verified, "evit-deploy verify")


def read_evaluation(path: Path) -> Evaluated:
    """Read an evaluation.*.json; raises as `read_report`."""
    return _read(path, _evaluated, "evit-deploy eval")


def _report(data: dict[str, Any]) -> Report:
    _require_version(data, "report", REPORT_VERSION)
    if "works" not in data:
        return _of_engine(decode(ProfileReport, data))
    agreement = data["agreement"]
    verdict = {
        "bundle": data["manifest"],
        "manifests": data["parts"],
        "parts": agreement["parts"],
        "whole": agreement,
    }
    return _of_parts(decode(PartsReport, {**data, "verdict": verdict}))


def _of_engine(report: ProfileReport) -> ProfileReport:
    """Hold a report to what all its readers rely on; ValueError otherwise."""
    if not report.latencies:
        raise ValueError("nothing was timed")
    _require_engine(report.manifest)
    return report


def _of_parts(report: PartsReport) -> PartsReport:
    """The same of an engine of several parts."""
    if len(report.works) < 2:
        raise ValueError("image encoder and mask decoder were not both timed")
    if ENCODER not in report.verdict.manifests:
        raise ValueError(f"there is no part '{ENCODER}'")
    for manifest in report.verdict.manifests.values():
        _require_engine(manifest)
    return report


def _require_engine(manifest: Manifest) -> None:
    if manifest.engine is None:
        raise ValueError(f"the manifest of {manifest.model.name} is not of an engine")


def _verified(data: dict[str, Any]) -> Verified:
    return decode(Verified, {**data, "agreement": data})


def _evaluated(data: dict[str, Any]) -> Evaluated:
    """Score and speed stand among the other figures, and the score's warnings among the others."""
    _require_version(data, "evaluation", EVALUATION_VERSION)
    score = {**data, "warnings": []}
    speed = {**data, "images": data["images"] - data["continued"]}
    return decode(Evaluated, {**data, "evaluation": {**data, "score": score, "speed": speed}})


def _require_version(data: dict[str, Any], kind: str, newest: int) -> None:
    """Versions count from 1; each reads all before it.

    Raises:
        ValueError: No such record.
        ArtifactError: A newer one.
    """
    version = data.get(kind)
    if type(version) is not int or version < 1:
        raise ValueError(f"'{kind}' is {version!r}, not a version")
    if version > newest:
        raise ArtifactError(
            f"the {kind} was written by a newer evit-deploy",
            found=f"version {version}, by evit-deploy {_writer(data)}",
            expected=f"version {newest} or older",
            fix="pip install --upgrade evit-deploy",
        )


def _writer(data: dict[str, Any]) -> str:
    environment = data.get("environment")
    return str((environment if isinstance(environment, dict) else {}).get("evit-deploy", data.get("tool", "unknown")))


def _read(path: Path, convert: Callable[[dict[str, Any]], T], command: str) -> T:
    """Read one file of JSON and convert it; whatever is wrong with it becomes words."""
    try:
        data = json.loads(path.read_bytes())
        if not isinstance(data, dict):
            raise ValueError(f"a {type(data).__name__} in place of an object")
        return convert(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be read", found=error.strerror, fix=f"{command} writes it") from error
    except ArtifactError as error:
        raise ArtifactError(
            f"{path}: {error.what}", found=error.found, expected=error.expected, fix=error.fix
        ) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        words = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ArtifactError(
            f"{path} is damaged, or of another version", found=words, fix=f"{command} writes it again"
        ) from error
