# SPDX-License-Identifier: Apache-2.0
"""Who tells what INT8 costs: two profiles of the device where there are some, else the prediction."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from evit_deploy.engines.int8_options import MakeOracle
from evit_deploy.errors import UsageError
from evit_deploy.manifest import content_key
from evit_deploy.profiles.compare.conditions import main_manifest
from evit_deploy.profiles.reading import REPORT, find_profile, read_report
from evit_deploy.progress import Progress, silent

if TYPE_CHECKING:
    import onnx

    from evit_deploy.precision.int8.layers import Layer
    from evit_deploy.precision.int8.oracle import Oracle


def choose_oracle(timings: Sequence[str], profiles: Path, progress: Progress = silent) -> tuple[MakeOracle, str]:
    """What makes the oracle for an export, and what stands for everything that its answers depend on.

    Args:
        timings: The profile of the FP16 engine and that of the engine with all layers in INT8; none to predict.
        profiles: Folder of all profiles.
        progress: Told about every step of a prediction.

    Raises:
        UsageError: Not two profiles, or one that is not there.
        ArtifactError: A damaged profile.
    """
    if not timings:
        return _predicting(progress)
    if len(timings) != 2:
        raise UsageError(
            "what INT8 costs is read from two profiles", found=f"--timings {' --timings '.join(timings)}",
            expected="--timings FP16 --timings INT8, of the same model on the same device",
        )  # fmt: skip
    fp16, int8 = (find_profile(name, profiles) for name in timings)
    return _timing(fp16, int8)


def _predicting(progress: Progress) -> tuple[MakeOracle, str]:
    from evit_deploy.profiles.predict import int8 as predicting
    from evit_deploy.profiles.predict.cost import calibration
    from evit_deploy.profiles.predict.int8_cost import int8_calibration

    def make(export: Path, graph: onnx.ModelProto, layers: Sequence[Layer], target: str) -> Oracle:
        return predicting.predicted_oracle(export, graph, layers, target, progress)

    constants = asdict(calibration().constants)
    return make, content_key(form=predicting.FORM, constants=constants, int8=asdict(int8_calibration()))


def _timing(fp16: Path, int8: Path) -> tuple[MakeOracle, str]:
    from evit_deploy.profiles.int8_timing import timed_oracle

    contents = [hashlib.sha256((folder / REPORT).read_bytes()).hexdigest() for folder in (fp16, int8)]
    targets = {folder: _target(folder) for folder in (fp16, int8)}

    def make(export: Path, graph: onnx.ModelProto, layers: Sequence[Layer], target: str) -> Oracle:
        for folder, profiled in targets.items():
            if profiled != target:
                raise UsageError(
                    f"{folder} tells nothing of {target}", found=f"a profile of an engine for {profiled}",
                    fix="profile on the device that the engine is for, or leave --timings out",
                )  # fmt: skip
        return timed_oracle(fp16, int8, graph, layers)

    return make, content_key(timings=contents)


def _target(folder: Path) -> str | None:
    """The target of the engine that was profiled."""
    info = main_manifest(read_report(folder / REPORT)).engine
    return None if info is None else info.target
