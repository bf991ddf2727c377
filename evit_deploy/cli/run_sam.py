# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy run`` for engines that take prompts: points and boxes in, tables, pictures and JSON out."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from evit_deploy.cli.bars import Bars
from evit_deploy.cli.common import print_json, print_table
from evit_deploy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np

    from evit_deploy.data.images import Frame
    from evit_deploy.runtime.sam import EverythingOptions, SegmentAnything

ROWS = 12
_BOX = "x, y, width, height"
_FIX = "--point 320,240, or --box 100,80,420,400, or --everything"


@dataclass(frozen=True)
class Wish:
    """What to ask of a picture.

    Attributes:
        points: (x, y, label) in pixels; label 1 is on the object, 0 is not. All of one object.
        boxes: (x0, y0, x1, y1) in pixels; each an object of its own, at most one beside points.
        everything: Settings of "segment everything", instead of prompts.
        multimask: Three candidates for each prompt, or one mask.
    """

    points: tuple[tuple[float, ...], ...] = ()
    boxes: tuple[tuple[float, ...], ...] = ()
    everything: EverythingOptions | None = None
    multimask: bool = True


def read_wish(
    points: Sequence[str], boxes: Sequence[str], everything: bool, multimask: bool | None, settings: dict[str, Any]
) -> Wish | None:
    """What the options ask for; None where none of them was given.

    Args:
        points: "x,y" or "x,y,LABEL" each.
        boxes: "x0,y0,x1,y1" each.
        everything: Ask for all objects.
        multimask: As given on the command line; None if not given.
        settings: Settings of `EverythingOptions` by their option's name: (field, value or None if not given).

    Raises:
        UsageError: Words that are no point or box, or options that do not go together.
    """
    given = {option: setting for option, setting in settings.items() if setting[1] is not None}
    if everything:
        _refuse("--everything", ("--point", points), ("--box", boxes), ("--multimask/--single", multimask is not None))
        from evit_deploy.runtime.sam import EverythingOptions

        return Wish(everything=EverythingOptions(**dict(given.values())))
    if given:
        raise UsageError(f"{next(iter(given))} is for --everything", fix="add --everything, or leave it out")
    if not points and not boxes:
        if multimask is not None:
            raise UsageError("--multimask and --single are about prompts", found="no prompt", fix=_FIX)
        return None
    if points and len(boxes) > 1:
        raise UsageError(
            "points and several boxes do not go together",
            found=f"{len(boxes)} boxes",
            expected="all points and at most one box are of one object; boxes alone are an object each",
        )
    return Wish(
        tuple(_read_point(text) for text in points),
        tuple(_numbers(text, 4, "box", "x0,y0,x1,y1, such as 100,80,420,400") for text in boxes),
        multimask=multimask is not False,
    )


def _refuse(option: str, *others: tuple[str, Any]) -> None:
    for name, given in others:
        if given:
            raise UsageError(f"{option} and {name} do not go together", fix="leave one of them out")


def _read_point(text: str) -> tuple[float, ...]:
    form = "x,y or x,y,LABEL with label 1 (on the object) or 0 (not on it), such as 320,240,0"
    numbers = _numbers(text, 3 if text.count(",") == 2 else 2, "point", form)
    if len(numbers) == 3 and numbers[2] not in (0, 1):
        raise UsageError(f"'{text}' is no point", found=f"label {numbers[2]:g}", expected=form)
    return numbers if len(numbers) == 3 else (*numbers, 1)


def _numbers(text: str, count: int, what: str, form: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise UsageError(f"'{text}' is no {what}", expected=form)
    return numbers


def run(sam: SegmentAnything, frames: Iterable[Frame], wish: Wish | None, out: Out, as_json: bool) -> None:
    """Ask every frame, and write and print what was found.

    Raises:
        UsageError: No wish, or a prompt outside a frame.
    """
    from evit_deploy.data.coco import CocoFile

    if wish is None:
        raise UsageError(f"{sam.bundle.model.name} needs to know what to look for", expected=_FIX)
    document = CocoFile(f"masks of {sam.bundle.model.name} by evit-deploy run")
    try:
        for frame in frames:
            found = _answer_named(sam, frame, wish)
            height, width, _ = frame.image.shape
            if as_json or out.document is not None:
                document.add(frame.name, height, width, found)
            path = out.picture(frame)
            if path is not None:
                from evit_deploy.data.images import write_image

                write_image(path, draw(frame, found, wish))
            if not as_json:
                _print_found(frame, found, wish, path)
    finally:  # what was found stays, also where a later frame cannot be asked
        if out.document is not None and len(document):
            from evit_deploy.manifest.store import replace_file

            replace_file(out.document, json.dumps(document.to_json(), ensure_ascii=False, allow_nan=False).encode())
            if not as_json:
                typer.echo(f"masks: {out.document}")
    if as_json:
        print_json(document.to_json())


def _answer_named(sam: SegmentAnything, frame: Frame, wish: Wish) -> list[dict[str, Any]]:
    """`answer`, whose refusal of a prompt says for which frame."""
    try:
        return answer(sam, frame, wish)
    except UsageError as error:
        raise UsageError(
            f"{frame.name}: {error.what}", found=error.found, expected=error.expected, fix=error.fix
        ) from error


@dataclass(frozen=True)
class Out:
    """Where results go.

    Attributes:
        picture: The overlay of a frame; None writes none.
        document: The COCO file of all frames; None writes none.
    """

    picture: Callable[[Frame], Path | None]
    document: Path | None = None


def answer(sam: SegmentAnything, frame: Frame, wish: Wish) -> list[dict[str, Any]]:
    """The masks of a frame as annotations of COCO; those of prompts say which is the "best" of its prompt."""
    if wish.everything is not None:
        from evit_deploy.data.coco import record_annotation

        return [record_annotation(one) for one in sam.everything(frame.image, wish.everything, progress=Bars())]
    points, labels, boxes = _as_prompts(wish)
    masks = sam.predict(points, labels, boxes, multimask=wish.multimask, embedding=sam.embed(frame.image))
    best = masks.iou.argmax(axis=-1)
    return [{**one, "best": bool(best[one["prompt"]] == one["mask"])} for one in masks.coco()]


def _as_prompts(wish: Wish) -> tuple[Any, Any, Any]:
    """Points [1, N, 2], labels [1, N] and boxes [P, 4] as the predictor takes them, None where there are none."""
    import numpy as np

    boxes = np.array(wish.boxes, np.float32) if wish.boxes else None
    if not wish.points:
        return None, None, boxes
    table = np.array([wish.points], np.float32)
    return table[..., :2], table[..., 2].astype(np.int32), boxes


def draw(frame: Frame, found: Sequence[dict[str, Any]], wish: Wish) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The best mask of every prompt, or all masks of "everything", over the frame; small ones on top."""
    from evit_deploy.data.overlay import draw_boxes, draw_points, label_masks, paint_labels
    from evit_deploy.data.rle import from_dict

    height, width, _ = frame.image.shape
    shown = sorted((one for one in found if one.get("best", True)), key=lambda one: -one["area"])
    masks = (from_dict(one["segmentation"]).decode() for one in shown)
    picture = paint_labels(frame.image, label_masks(masks, height, width))
    draw_boxes(picture, wish.boxes)
    draw_points(picture, [point[:2] for point in wish.points], [point[2] for point in wish.points])
    return picture


def _print_found(frame: Frame, found: Sequence[dict[str, Any]], wish: Wish, path: Path | None) -> None:
    """A table of the masks, the first dozen of everything."""
    typer.echo(f"{frame.name}: {_count(len(found), 'mask')}{f' -> {path}' if path else ''}")
    if not found:
        return
    shown = found[:ROWS] if wish.everything else found
    names = ["mask", "stability" if wish.everything else "prompt", "predicted IoU", "pixels", "part", _BOX]
    height, width, _ = frame.image.shape
    rows = [
        {
            "mask": f"{number}{' *' if one.get('best') else ''}",
            "prompt": "" if wish.everything else _name_prompt(wish, one["prompt"]),
            "predicted IoU": f"{one['predicted_iou']:.3f}",
            "stability": "-" if one.get("stability_score") is None else f"{one['stability_score']:.3f}",
            "pixels": str(one["area"]),
            "part": f"{one['area'] / (height * width):.1%}",
            _BOX: ", ".join(map(str, one["bbox"])),
        }
        for number, one in enumerate(shown, start=1)
    ]
    print_table(names, [[row[name] for name in names] for row in rows])
    if len(shown) < len(found):
        typer.echo(f"… and {len(found) - len(shown)} more")


def _name_prompt(wish: Wish, index: int) -> str:
    if not wish.points:
        return f"box {','.join(f'{value:g}' for value in wish.boxes[index])}"
    return _count(len(wish.points), "point") + (" and a box" if wish.boxes else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
