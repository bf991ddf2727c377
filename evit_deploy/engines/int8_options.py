# SPDX-License-Identifier: Apache-2.0
"""What ``evit-deploy build --int8`` was asked for, beside the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evit_deploy.errors import UsageError

if TYPE_CHECKING:
    import onnx

    from evit_deploy.precision.int8.layers import Layer
    from evit_deploy.precision.int8.oracle import Oracle

MakeOracle = Callable[[Path, "onnx.ModelProto", "Sequence[Layer]", str], "Oracle"]
"""From an export's folder, its typed FP16 graph, the layers that may be INT8 and a target's name to who tells costs."""

METHODS = ("auto", "min-max", "percentile", "entropy")
"""How the range of a tensor is chosen; "auto" takes, tensor by tensor, the one with the least measured error."""

JUDGED = {"seg": 32, "cls": 256, "sam": 8}
"""Held-out frames that an assignment is judged on, by task: a frame gives millions of pixels, one class, or masks."""

UNLIKE = "calibrate with frames like these, or export with --images DIR of what the robot sees"
"""What helps where an INT8 graph fails on the frames it is verified with."""

_FEWEST = 2  # one frame to calibrate with has nothing to be compared with


@dataclass(frozen=True)
class Int8Options:
    """The options of an INT8 build.

    Attributes:
        source: Where frames come from: a folder, a video, a recorded bag, "scenes", or "random".
        oracle: Makes who tells what an assignment costs on the target.
        oracle_key: Content hash or name of what the oracle was made from, so that another one builds again.
        images: Frames to calibrate with.
        method: One of `METHODS`.
        max_drop: Largest loss that is accepted: points of mIoU, top-1 or mask IoU.
        max_error: Largest relative L2 error of logits or embedding that is accepted; None accepts any.
        judge_images: Held-out frames to judge with; None takes `JUDGED`.
        allow_slower: Write the best assignment even where it is no faster than FP16.
        minutes: How long the search may take.
    """

    source: str
    oracle: MakeOracle
    oracle_key: str = "predicted"
    images: int = 128
    method: str = "auto"
    max_drop: float = 0.5
    max_error: float | None = None
    judge_images: int | None = None
    allow_slower: bool = False
    minutes: float = 30.0

    def __post_init__(self) -> None:
        """Refuse options that make no sense.

        Raises:
            UsageError: An unknown method, or a number out of range.
        """
        if self.method not in METHODS:
            raise UsageError(f"there is no calibration '{self.method}'", expected=f"one of {', '.join(METHODS)}")
        for option, value, least in (
            ("--calibration-images", self.images, _FEWEST),
            ("--judge-images", self.judge_images, 1),
            ("--max-drop", self.max_drop, 0.0),
            ("--max-error", self.max_error, 0.0),
            ("--search-minutes", self.minutes, 0.0),
        ):
            if value is not None and not least <= value < float("inf"):
                raise UsageError(f"{option} is out of range", found=f"{value:g}", expected=f"at least {least:g}")

    def judged(self, task: str) -> int:
        """Held-out frames for a task."""
        return self.judge_images or JUDGED[task]

    def identity(self) -> dict[str, Any]:
        """What the result depends on, beside the frames themselves and the time that the search gets."""
        return {
            "oracle": self.oracle_key, "method": self.method, "max_drop": self.max_drop, "max_error": self.max_error,
            "allow_slower": self.allow_slower,
        }  # fmt: skip


def require_options(precision: str, options: Int8Options | None) -> None:
    """Refuse INT8 without frames to calibrate with, and frames without INT8.

    Raises:
        UsageError: One is there without the other.
    """
    if precision == "int8" and options is None:
        raise UsageError(
            "INT8 needs frames of what the robot sees, to calibrate with", found="--int8 without --calibrate",
            expected="a folder of images, a video, a recorded bag, or scenes", fix="--calibrate DIR",
        )  # fmt: skip
    if precision != "int8" and options is not None:
        raise UsageError("only INT8 is calibrated", found=f"--calibrate with --{precision}", fix="leave it out")
