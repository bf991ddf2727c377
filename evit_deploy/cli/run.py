# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evit_deploy.cli import run_sam
from evit_deploy.cli.common import HERE, Json, Workspace, artifact_folder, print_json, warn
from evit_deploy.cli.sign import TrustedKeys
from evit_deploy.errors import UsageError

if TYPE_CHECKING:
    from evit_deploy.data.images import Frame


def command(
    engine: Annotated[str, typer.Argument(help="Folder of an engine, or its name in engines/.")],
    source: Annotated[str, typer.Argument(help="Image, folder of images, or scene:SEED for a drawn street.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Picture to write, a folder for several images, or NAME.json for masks in COCO's form."),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y[,LABEL]",
            help="Point on the object, or off it with label 0; repeatable, all of one object.",
        ),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(metavar="X0,Y0,X1,Y1", help="Box around an object; repeatable, each is an object of its own."),
    ] = None,
    multimask: Annotated[
        bool | None,
        typer.Option("--multimask/--single", help="Three candidates for a prompt (default), or one mask."),
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Find all objects.")] = False,
    points_per_side: Annotated[
        int | None, typer.Option(help="Points of the grid, along each side. [default: 32]", min=1, max=256)
    ] = None,
    pred_iou: Annotated[
        float | None, typer.Option(help="Least quality that the model predicts for a mask. [default: 0.88]")
    ] = None,
    stability: Annotated[
        float | None, typer.Option(help="Least stability of a mask, from 0 to 1. [default: 0.95]")
    ] = None,
    crop_layers: Annotated[
        int | None, typer.Option(help="Also look at crops: 4, then 16 more, …. [default: 0]", min=0, max=4)
    ] = None,
    min_area: Annotated[
        int | None, typer.Option(help="Fill holes and drop islands smaller than this, in pixels. [default: 0]", min=0)
    ] = None,
    trusted_keys: TrustedKeys = None,
    workspace: Workspace = HERE,
    json: Json = False,
) -> None:
    """Run an engine on images: overlay pictures of classes or of prompted masks, or the names of classes."""
    import evit_deploy
    from evit_deploy.data.images import read_source
    from evit_deploy.runtime.sam import SegmentAnything

    settings = {
        "--points-per-side": ("points_per_side", points_per_side), "--pred-iou": ("pred_iou_thresh", pred_iou),
        "--stability": ("stability_score_thresh", stability), "--crop-layers": ("crop_n_layers", crop_layers),
        "--min-area": ("min_mask_region_area", min_area),
    }  # fmt: skip
    wish = run_sam.read_wish(point or [], box or [], everything, multimask, settings)
    folder = artifact_folder(workspace, "engines", engine)
    with evit_deploy.load(folder, trusted_keys=trusted_keys) as task:
        if isinstance(task, SegmentAnything):
            warn(task.bundle)
            return run_sam.run(task, read_source(source), wish, _sam_out(source, out), json)
        warn(task.manifest)
        if wish is not None:
            raise UsageError(
                f"{task.manifest.model.name} takes no prompts",
                found="--everything" if everything else "--point or --box",
                expected="an engine of a Segment Anything model, such as l0-sam",
            )
        _run_plain(task, source, out, json)


def _run_plain(task: Any, source: str, out: Path | None, json: bool) -> None:
    """Classes of frames."""
    from evit_deploy.data.images import read_source

    paths, answers = _Paths(source, out), []
    for frame in read_source(source):
        answer, words = _answer(task, frame, paths)
        answers.append(answer)
        if not json:
            typer.echo(f"{frame.name}: {words}")
    if json:
        print_json(answers)


def _answer(task: Any, frame: Frame, paths: _Paths) -> tuple[dict[str, Any], str]:
    """Run one frame, write its overlay, and put the result into words for programs and for people."""
    from evit_deploy.data.images import write_image

    result = task(frame.image)
    if task.manifest.model.task == "cls":
        best = {name: float(part) for name, part in zip(result.names, result.probabilities, strict=True)}
        return {"frame": frame.name, "classes": best}, ", ".join(f"{name} {part:.1%}" for name, part in best.items())
    path = paths.picture(frame)
    write_image(path, result.overlay(frame.image))
    parts = result.fractions()
    words = ", ".join(f"{name} {part:.0%}" for name, part in list(parts.items())[:5])
    return {"frame": frame.name, "fractions": parts, "overlay": str(path)}, f"{words} -> {path}"


def _sam_out(source: str, out: Path | None) -> run_sam.Out:
    """A file that ends in .json takes all masks; a folder takes pictures and masks."""
    from evit_deploy.data.images import SUFFIXES

    if out is not None and out.suffix.lower() == ".json" and not out.is_dir():
        return run_sam.Out(lambda frame: None, out)
    many = out is not None and (Path(source).is_dir() or out.is_dir())
    if out is not None and not many and out.suffix.lower() not in SUFFIXES:  # before anything is computed
        raise UsageError(
            f"cannot write {out}", found=f"format '{out.suffix}'", expected=", ".join((".json", *SUFFIXES))
        )
    return run_sam.Out(_Paths(source, out).picture, out / "masks.json" if out is not None and many else None)


class _Paths:
    """Names of overlay pictures, a free one for each: folders hold a.jpg beside a.png."""

    def __init__(self, source: str, out: Path | None) -> None:
        self._many, self._out = Path(source).is_dir(), out
        self._taken: set[Path] = set()

    def picture(self, frame: Frame) -> Path:
        """Where the frame's overlay goes."""
        path = self._overlay_path(frame)
        free, number = path, 1
        while free in self._taken:
            number += 1
            free = path.with_name(f"{path.name.removesuffix('.overlay.png')}-{number}.overlay.png")
        self._taken.add(free)
        return free

    def _overlay_path(self, frame: Frame) -> Path:
        name = f"{Path(frame.name.replace(':', '-')).stem}.overlay.png"
        if self._out is None:
            return Path(name)
        return self._out / name if self._many or self._out.is_dir() else self._out
