# SPDX-License-Identifier: Apache-2.0
"""The options of ``evit-deploy build --int8``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evit_deploy.cli.bars import Bars
from evit_deploy.errors import UsageError

if TYPE_CHECKING:
    from evit_deploy.engines.int8_options import Int8Options

Calibrate = Annotated[
    str | None,
    typer.Option(
        metavar="FRAMES",
        help="INT8: what the robot sees, to calibrate and judge with: a folder of images, a video, a recorded bag, "
        "'scenes' (drawn streets) or 'random' (noise).",
    ),
]
Images = Annotated[
    int | None, typer.Option("--calibration-images", help="INT8: frames to calibrate with. Default: 128.")
]
Method = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        help="INT8: how ranges are chosen: min-max, percentile, entropy, or auto, the best of them for every tensor. "
        "Default: auto.",
    ),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(help="INT8: points of mIoU, top-1 accuracy or mask IoU that may be lost. Default: 0.5."),
]
MaxError = Annotated[
    float | None, typer.Option(help="INT8: relative L2 error of logits or embedding that is accepted. Default: any.")
]
JudgeImages = Annotated[
    int | None,
    typer.Option(help="INT8: other frames to judge on. Default: 32, for classifiers 256, for image encoders 8."),
]
AllowSlower = Annotated[
    bool, typer.Option("--allow-slower", help="INT8: write an engine even where it is no faster than FP16.")
]
Minutes = Annotated[
    float | None, typer.Option("--search-minutes", help="INT8: how long to search for layers. Default: 30.")
]
Timings = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PROFILE",
        help="INT8: take costs from profiles of the device, in place of a prediction: given twice, first that of an "
        "engine in FP16, then of one all in INT8.",
    ),
]

_FIELDS = {
    "--calibrate": "source", "--calibration-images": "images", "--calibration": "method", "--max-drop": "max_drop",
    "--max-error": "max_error", "--judge-images": "judge_images", "--allow-slower": "allow_slower",
    "--search-minutes": "minutes",
}  # fmt: skip
_TIMINGS = "--timings"


def int8_options(int8: bool, asked: Mapping[str, Any], workspace: Path) -> Int8Options | None:
    """What INT8 was asked for.

    Args:
        int8: Whether it was.
        asked: Values by option; None, False or nothing where an option was not given.
        workspace: Folder with the profiles.

    Returns:
        None where nothing was given beside ``--int8``: an engine that is lowered needs nothing more.

    Raises:
        UsageError: Options without INT8, without frames, out of range, or of profiles that are not there.
        ArtifactError: A damaged profile.
    """
    given = {option: value for option, value in asked.items() if value is not None and value is not False}
    if not given:
        return None
    if not int8:
        words = ", ".join(given)
        raise UsageError(f"{words}: for INT8 only", found="no --int8", fix=f"add --int8, or leave {words} out")
    from evit_deploy.engines.int8_options import Int8Options, require_options

    if "--calibrate" not in given:
        require_options("int8", None)
    from evit_deploy.profiles.int8_oracles import choose_oracle

    oracle, key = choose_oracle(given.pop(_TIMINGS, ()), workspace / "profiles", Bars())
    return Int8Options(oracle=oracle, oracle_key=key, **{_FIELDS[option]: value for option, value in given.items()})
