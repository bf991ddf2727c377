# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy export``."""

from __future__ import annotations

import contextlib
import ctypes
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evit_deploy.cli.common import (
    HERE,
    Bars,
    Json,
    Workspace,
    agreement_table,
    parse_batch,
    parse_resolution,
    plain_name,
    print_json,
    range_table,
    warn,
)

if TYPE_CHECKING:
    from evit_deploy.manifest import Manifest
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
    sizes = parse_resolution(resolution)
    batches = parse_batch(batch)
    _keep_freed_memory()
    from evit_deploy.errors import extra
    from evit_deploy.manifest.model import to_json

    with extra("export", "Exporting"):
        from evit_deploy.export import ExportOptions, export_model

    options = ExportOptions(opset, weights, sizes, batches, input, output, images, seed)
    folder = workspace / "export" / plain_name(name or spec.name)
    manifest, written = export_model(spec.name, folder, options, Bars())
    warn(manifest)
    ranges = _ranges(folder, manifest) if check_range else None
    if json:
        from evit_deploy.profiles.files import plain

        found = {} if ranges is None else {"ranges": plain([asdict(row) for row in ranges])}
        return print_json({**to_json(manifest), **found})
    if not written:
        typer.echo(f"nothing to do: {folder} is exactly this export")
    agreement_table(manifest.agreement)
    size = manifest.files[manifest.graph.file].bytes / 1e6
    typer.echo(f"\n{folder}  opset {manifest.graph.opset}, {size:.1f} MB, agrees with {manifest.agreement.against}")
    if ranges is not None:
        range_table(ranges)
    typer.echo(f"next:  evit-deploy build {folder.name} --target cpu")


def _ranges(folder: Path, manifest: Manifest) -> tuple[TensorRange, ...]:
    from evit_deploy.precision.artifact import artifact_ranges

    return artifact_ranges(folder, manifest, Bars())


def _keep_freed_memory() -> None:
    """Let glibc keep the memory of freed tensors instead of handing it back after every layer.

    PyTorch asks for 100 MB per layer at 1024×2048; paging that in anew each time takes a third of its time and more on
    a virtual machine (3.1 s against 2.0 s for b1-seg). Nothing happens where there is no glibc.
    """
    m_trim_threshold, m_mmap_max = -1, -4
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
