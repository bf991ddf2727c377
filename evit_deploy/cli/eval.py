# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy eval``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evit_deploy.cli.bars import Bars
from evit_deploy.cli.common import HERE, Json, Workspace, artifact_folder, print_json, print_table
from evit_deploy.cli.sign import TrustedKeys

if TYPE_CHECKING:
    from evit_deploy.profiles.evaluate import Evaluation
    from evit_deploy.profiles.evaluate.task import ClassScore

_SHOWN = 10
_MOST_CLASSES = 30


def command(
    engine: Annotated[str, typer.Argument(help="Folder of an engine, or its name in engines/.")],
    dataset: Annotated[
        str, typer.Option(metavar="KIND:DIR", help="cityscapes:DIR, ade20k:DIR, imagenet:DIR, coco:DIR, or scenes.")
    ],
    split: Annotated[str | None, typer.Option(help="Part of the data set. Default: the validation set.")] = None,
    prompts: Annotated[
        str | None, typer.Option(help="Segment Anything: how it is asked; see docs/evaluation.md.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Evaluate this many images, spread evenly.", min=1)] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out images that cannot be read, and list them.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew, even where an interrupted evaluation could go on.")
    ] = False,
    trusted_keys: TrustedKeys = None,
    workspace: Workspace = HERE,
    json: Json = False,
) -> None:
    """Evaluate an engine's accuracy on a data set; goes on where an earlier call was interrupted."""
    from evit_deploy.profiles.evaluate import Options, evaluate_engine, parse_dataset

    request = parse_dataset(dataset, split, prompts)
    folder = artifact_folder(workspace, "engines", engine)
    try:
        evaluation, path = evaluate_engine(
            folder,
            request,
            workspace / "profiles",
            Options(limit, skip_broken, fresh),
            progress=Bars(),
            say=lambda text: typer.echo(f"note: {text}", err=True),
            trusted_keys=trusted_keys,
        )
    except KeyboardInterrupt:
        same = "the same command without --fresh" if fresh else "the same command"
        typer.echo(f"interrupted; what is done is kept, and {same} goes on from there", err=True)
        raise
    for text in evaluation.warnings:
        typer.secho(f"warning: {text}", fg="yellow", err=True)
    if json:
        print_json(evaluation.to_json())
    else:
        _print(evaluation, path)


def _print(evaluation: Evaluation, path: Path) -> None:
    """The classes, what is confused most, the metrics beside the published ones, and how fast it went."""
    score, speed = evaluation.score, evaluation.speed
    if score.classes:
        _print_classes(score.classes)
    if score.mistakes:
        rows = [[item.truth, item.predicted, f"{item.count}"] for item in score.mistakes[:_SHOWN]]
        print_table(["taken", "for", "count"], rows)
        typer.echo()
    published = score.published or {}
    rows = [[name, f"{value:.2%}", _percent(published.get(name))] for name, value in score.metrics.items()]
    print_table(["", "measured", "published"], rows)
    typer.echo(f"\n{evaluation.images} of {evaluation.dataset.images} images", nl=False)
    if speed.frames_per_second and speed.bare_frames_per_second:
        typer.echo(f", {speed.frames_per_second:.1f} per second; the engine alone {speed.bare_frames_per_second:.1f}")
    else:
        typer.echo()
    if evaluation.skipped:
        typer.secho(f"\n{len(evaluation.skipped)} images were left out:", fg="yellow")
        for item in evaluation.skipped[:_SHOWN]:
            typer.echo(f"  {item.file}: {item.why}")
    typer.echo(f"record: {path}")


def _print_classes(classes: tuple[ClassScore, ...]) -> None:
    """All classes in their order; of many, those that fare worst."""
    shown = list(classes)
    if len(shown) > _MOST_CLASSES:
        shown = sorted((item for item in shown if item.value is not None), key=lambda item: item.value or 0.0)
        shown = shown[:_MOST_CLASSES]
    measure = "accuracy" if any(item.accuracy is not None for item in shown) else "IoU"
    print_table(["class", measure, "count"], [[item.name, _percent(item.value), f"{item.count}"] for item in shown])
    if len(shown) < len(classes):
        typer.echo(f"the worst of {len(classes)} classes; the record has all of them")
    typer.echo()


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
