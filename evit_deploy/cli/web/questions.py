# SPDX-License-Identifier: Apache-2.0
"""What the page may ask, checked before any engine sees it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.errors import UsageError
from evit_deploy.runtime.sam import EverythingOptions

MOST_POINTS = 64
_SETTINGS = {
    "points_per_side": (int, 1, 64),
    "pred_iou_thresh": (float, 0.0, 10.0),
    "stability_score_thresh": (float, 0.0, 1.0),
    "crop_n_layers": (int, 0, 2),
    "min_mask_region_area": (int, 0, 10**6),
}


class RefusedError(UsageError):
    """A request that is refused with a status of HTTP other than 400."""

    def __init__(
        self,
        status: int,
        what: str,
        *,
        found: str | None = None,
        expected: str | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(what, found=found, expected=expected, fix=fix)
        self.status = status


@dataclass(frozen=True, eq=False)
class Question:
    """Prompts for one object of one picture.

    Attributes:
        engine: Name of the engine.
        picture: The picture's id.
        points: float32 [N, 2] as (x, y) in the picture's pixels, or None.
        labels: int32 [N]; 1 foreground, 0 background; None without points.
        box: float32 [4] as (x0, y0, x1, y1) in the picture's pixels, or None.
        multimask: Three candidates, or one mask.
    """

    engine: str
    picture: str
    points: npt.NDArray[np.float32] | None
    labels: npt.NDArray[np.int32] | None
    box: npt.NDArray[np.float32] | None
    multimask: bool


@dataclass(frozen=True)
class Request:
    """All objects of a picture.

    Attributes:
        engine: Name of the engine.
        picture: The picture's id.
        options: Settings.
    """

    engine: str
    picture: str
    options: EverythingOptions


def read_question(content: bytes) -> Question:
    """Read a request for masks.

    Raises:
        UsageError: Not JSON, or not what it must be, with the field's name.
    """
    data = _read_object(content, {"engine", "picture", "points", "box", "multimask"})
    points = [_numbers(f"points[{i}]", row, 3) for i, row in enumerate(_list("points", data.get("points", [])))]
    if len(points) > MOST_POINTS:
        raise _wrong("points", f"{len(points)} of them", f"at most {MOST_POINTS}")
    for index, row in enumerate(points):
        if row[2] not in (0, 1):
            raise _wrong(f"points[{index}]", f"label {row[2]:g}", "[x, y, label] with label 1 or 0")
    box = data.get("box")
    corners = None if box is None else np.array(_numbers("box", box, 4), np.float32)
    if not points and corners is None:
        raise _wrong("points", "none, and no box", "at least one point or a box")
    multimask = data.get("multimask", True)
    if not isinstance(multimask, bool):
        raise _wrong("multimask", _show(multimask), "true or false")
    table = np.array(points, np.float32)
    return Question(
        _text("engine", data),
        _text("picture", data),
        table[:, :2] if points else None,
        table[:, 2].astype(np.int32) if points else None,
        corners,
        multimask,
    )


def read_request(content: bytes) -> Request:
    """Read a request for all objects.

    Raises:
        UsageError: Not JSON, or not what it must be, with the field's name.
    """
    data = _read_object(content, {"engine", "picture", *_SETTINGS})
    settings: dict[str, Any] = {}
    for name, (kind, least, most) in _SETTINGS.items():
        if name not in data:
            continue
        value = data[name]
        if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
            raise _wrong(name, _show(value), "a whole number" if kind is int else "a number")
        if not least <= value <= most:
            raise _wrong(name, _show(value), f"{least:g} to {most:g}")
        settings[name] = value
    return Request(_text("engine", data), _text("picture", data), EverythingOptions(**settings))


def _read_object(content: bytes, known: set[str]) -> Mapping[str, Any]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        raise UsageError("the request is not JSON") from None
    if not isinstance(data, dict):
        raise UsageError("the request is no JSON object", found=_show(data))
    unknown = sorted(set(data) - known)
    if unknown:
        raise _wrong(_show(unknown[0]), "an unknown field", ", ".join(sorted(known)))
    return data


def _text(name: str, data: Mapping[str, Any]) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise _wrong(name, _show(value), "a name")
    return value


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(name, _show(value), "a list")
    return value


def _numbers(name: str, value: Any, count: int) -> list[float]:
    row = _list(name, value)
    good = all(isinstance(x, (int, float)) and not isinstance(x, bool) and abs(x) < 1e6 for x in row)
    if len(row) != count or not good or not all(math.isfinite(x) for x in row):
        raise _wrong(name, _show(value), f"{count} finite numbers")
    return [float(x) for x in row]


def _wrong(name: str, found: str, expected: str) -> UsageError:
    return UsageError(f"'{name}' of the request is wrong", found=found, expected=expected)


def _show(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
