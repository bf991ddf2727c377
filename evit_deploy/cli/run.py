# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evit_deploy.cli.common import HERE, Workspace, artifact_folder, warn
from evit_deploy.cli.sign import TrustedKeys

if TYPE_CHECKING:
    from evit_deploy.data.images import Frame


def command(
    engine: Annotated[str, typer.Argument(help="Folder of an engine, or its name in engines/.")],
    source: Annotated[str, typer.Argument(help="Image, folder of images, or scene:SEED for a drawn street.")],
    out: Annotated[Path | None, typer.Option(help="Picture to write; a folder for several images.")] = None,
    trusted_keys: TrustedKeys = None,
    workspace: Workspace = HERE,
) -> None:
    """Run an engine on images and write overlay pictures (segmentation) or print the classes."""
    import evit_deploy
    from evit_deploy.data.images import read_source

    folder = artifact_folder(workspace, "engines", engine)
    with evit_deploy.load(folder, trusted_keys=trusted_keys) as task:
        warn(task.manifest)
        many = Path(source).is_dir()
        taken: set[Path] = set()
        for frame in read_source(source):
            path = _free_path(_overlay_path(frame, out, many), taken)
            typer.echo(f"{frame.name}: {_answer(task, frame, path)}")


def _answer(task: Any, frame: Frame, path: Path) -> str:
    """Run one frame, write its overlay, and put the result into a line."""
    from evit_deploy.data.images import write_image

    if task.manifest.model.task == "cls":
        best = task(frame.image)
        return ", ".join(f"{name} {p:.1%}" for name, p in zip(best.names, best.probabilities, strict=True))
    result = task(frame.image)
    write_image(path, result.overlay(frame.image))
    parts = list(result.fractions().items())[:5]
    return f"{', '.join(f'{name} {part:.0%}' for name, part in parts)} -> {path}"


def _overlay_path(frame: Frame, out: Path | None, many: bool) -> Path:
    stem = Path(frame.name.replace(":", "-")).stem
    if out is None:
        return Path(f"{stem}.overlay.png")
    return out / f"{stem}.overlay.png" if many or out.is_dir() else out


def _free_path(path: Path, taken: set[Path]) -> Path:
    """The path, or a numbered one where an earlier frame of this run has it: folders hold a.jpg beside a.png."""
    free, number = path, 1
    while free in taken:
        number += 1
        free = path.with_name(f"{path.name.removesuffix('.overlay.png')}-{number}.overlay.png")
    taken.add(free)
    return free
