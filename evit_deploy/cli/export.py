# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy export``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evit_deploy.cli.bars import Bars
from evit_deploy.cli.common import (
    HERE,
    Json,
    Workspace,
    agreement_table,
    keep_freed_memory,
    parse_batch,
    parse_resolution,
    plain_name,
    print_json,
    range_table,
    warn,
)

if TYPE_CHECKING:
    from evit_deploy.manifest import Bundle, Manifest
    from evit_deploy.precision.ranges import TensorRange


def command(
    model: Annotated[str, typer.Argument(help="Name of a model; see evit-deploy models.")],
    opset: Annotated[int, typer.Option(help="ONNX opset, 17 to 20.")] = 17,
    weights: Annotated[
        str | None,
        typer.Option(help="official, demo, random or a path. Default: official if it can be had, else demo."),
    ] = None,
    resolution: Annotated[str | None, typer.Option(help="HxW, multiples of 32. Default: the model's own.")] = None,
    batch: Annotated[str, typer.Option(help="N, or A..B for a dynamic batch.")] = "1",
    input: Annotated[str, typer.Option(help="image (uint8 NHWC RGB) or tensor (normalised float NCHW).")] = "image",
    output: Annotated[
        str | None, typer.Option(help="classes, confidence or logits. Default: classes for segmentation, else logits.")
    ] = None,
    frame: Annotated[
        str | None,
        typer.Option(help="HxW of your camera: a Segment Anything decoder that also gives masks at its pixels."),
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of images to prove agreement on.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the folder in export/. Default: the model's.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of random weights.")] = 0,
    check_range: Annotated[
        bool, typer.Option("--check-range", help="Show which tensors come closest to FP16's limits, on those images.")
    ] = False,
    workspace: Workspace = HERE,
    json: Json = False,
) -> None:
    """Export a model to ONNX, and check it against PyTorch before it is written."""
    from evit_deploy.models import find_model

    spec = find_model(model)
    sizes, camera = parse_resolution(resolution), parse_resolution(frame)
    batches = parse_batch(batch)
    keep_freed_memory()
    from evit_deploy.errors import extra
    from evit_deploy.manifest.model import to_json

    with extra("export", "Exporting"):
        from evit_deploy.export import ExportOptions, export_model

    options = ExportOptions(opset, weights, sizes, batches, input, output, images, seed, camera)
    folder = workspace / "export" / plain_name(name or spec.name)
    manifest, written = export_model(spec.name, folder, options, Bars())
    warn(manifest)
    ranges = _ranges(folder) if check_range else {}
    if json:
        from evit_deploy.profiles.files import plain

        found = {"ranges": plain([asdict(row) for rows in ranges.values() for row in rows])} if check_range else {}
        return print_json({**to_json(manifest), **found})
    if not written:
        typer.echo(f"nothing to do: {folder} is exactly this export")
    agreement_table(manifest.agreement)
    typer.echo(f"\n{folder}  {_summary(folder, manifest)}, agrees with {manifest.agreement.against}")
    for part, rows in ranges.items():
        if part:
            typer.echo(f"\n{part}")
        range_table(rows)
    typer.echo(f"next:  evit-deploy build {folder.name} --target cpu")


def _summary(folder: Path, manifest: Manifest | Bundle) -> str:
    from evit_deploy.manifest import Manifest, read_bundle

    if isinstance(manifest, Manifest):
        return f"opset {manifest.graph.opset}, {_megabytes(manifest)}"
    _, parts = read_bundle(folder)
    return ", ".join(f"{name}: opset {part.graph.opset}, {_megabytes(part)}" for name, part in parts.items())


def _megabytes(manifest: Manifest) -> str:
    return f"{manifest.files[manifest.graph.file].bytes / 1e6:.1f} MB"


def _ranges(folder: Path) -> dict[str, tuple[TensorRange, ...]]:
    """Ranges of a graph, or of each part of a bundle by its name."""
    from evit_deploy.manifest import is_bundle, read_artifact, read_bundle
    from evit_deploy.precision.artifact import artifact_ranges

    if not is_bundle(folder):
        return {"": artifact_ranges(folder, read_artifact(folder), Bars())}
    _, parts = read_bundle(folder)
    return {name: artifact_ranges(folder / name, part, Bars()) for name, part in parts.items()}
