# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evit_deploy.cli.bars import Bars
from evit_deploy.cli.common import HERE, Json, Workspace, keep_freed_memory, parse_resolution, print_json, print_table
from evit_deploy.errors import UsageError

if TYPE_CHECKING:
    from evit_deploy.profiles.predict import KernelTime, Prediction, Terms, WhatIf, Whole

_NAME = 48


def command(
    what: Annotated[str, typer.Argument(metavar="MODEL|EXPORT|ENGINE", help="A model's name, or a folder.")],
    target: Annotated[str, typer.Option(help="Machine to predict for: orin, orin-nx, orin-nano, thor, a100, h100.")],
    mode: Annotated[str | None, typer.Option(help="Power mode, such as 30W. Default: the unlimited one.")] = None,
    variant: Annotated[
        str | None, typer.Option(help="Size of the machine, such as '32 GB'. Default: the largest.")
    ] = None,
    resolution: Annotated[str | None, typer.Option(help="HxW. Default: the model's.")] = None,
    output: Annotated[str | None, typer.Option(help="classes, confidence or logits. Default: the model's.")] = None,
    batch: Annotated[int | None, typer.Option(help="Frames per run.", min=1, max=64)] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            help="Also with this changed; may be repeated: cuda-graph, zero-copy, mode=30W, resolution=512x1024, "
            "output=classes.",
        ),
    ] = None,
    kernels: Annotated[int, typer.Option(help="Number of kernels to show, slowest first.", min=0)] = 10,
    plain: Annotated[
        bool, typer.Option("--plain", help="The graph as the reference exports it, in place of ours.")
    ] = False,
    page: Annotated[
        Path | None, typer.Option(help="Also write a page: where the time goes, and every kernel on a roofline.")
    ] = None,
    workspace: Workspace = HERE,
    json: Json = False,
) -> None:
    """Predict the latency on a machine that is not at hand. A prediction, not a measurement."""
    from evit_deploy.profiles.predict import PREDICTED, Asked, predict_changes

    if page is not None and (not page.name or page.is_dir()):
        raise UsageError(f"{page} is a folder", expected="a file to write, such as --page b1-seg.html")
    keep_freed_memory()
    asked = Asked(
        target=target, mode=mode, variant=variant, resolution=parse_resolution(resolution), output=output, batch=batch,
        plain=plain,
    )  # fmt: skip
    found, changes = predict_changes(what, workspace, asked, what_if or (), Bars())
    if page is not None:
        _write_page(found, page)
    if json:
        changed = [{"change": one.change, **one.whole.to_json()} for one in changes]
        parts = [one.to_json() for one in found.parts]
        return print_json({**found.to_json(), "predictions": parts, "what_if": changed})
    for item in found.parts:
        _print_prediction(item, kernels)
    if len(found.parts) > 1:
        whole = f"{found.ms:.2f} ms per frame ({found.low_ms:.2f} to {found.high_ms:.2f})"
        typer.echo(f"\nall of it, one prompt: {whole}: {PREDICTED}")
    if changes:
        _print_changes(found.ms, changes)


def _write_page(found: Whole, page: Path) -> None:
    from evit_deploy.profiles.pages import write_prediction_page

    typer.echo(f"page: {write_prediction_page(found, page)}", err=True)


def _print_prediction(item: Prediction, count: int) -> None:
    """One graph: the number, its breakdown, the slowest kernels, and what to know."""
    from evit_deploy.profiles.predict import PREDICTED

    typer.echo(_graph_words(item))
    typer.echo(_machine_words(item))
    share = ""
    if item.coverage is not None:
        share = (
            f", {item.coverage:.0%} of held-out published latencies of the reference's graphs lie in such an interval"
        )
    interval = f"{item.low_ms:.2f} to {item.high_ms:.2f} ms{share}"
    typer.secho(f"\n{item.ms:.2f} ms per run, {item.fps:.0f} frames/s: {PREDICTED}\n{interval}\n", bold=True)
    rows = [_row(name, terms, item.ms) for name, terms in item.stages.items() if terms.total]
    headers = ["stage", "ms", "share", "traffic", "arithmetic", "launches", "copies"]
    print_table(headers, [*rows, _row("all", item.terms, item.ms)])
    if count:
        _print_kernels(sorted(item.kernels, key=lambda one: -one.ms)[:count])
    typer.echo(f"\nplan of {len(item.kernels)} kernels: {item.plan}")
    for note in item.notes:
        typer.echo(f"note: {note}")


def _graph_words(item: Prediction) -> str:
    height, width = item.resolution
    return (
        f"{item.subject}, {item.precision.upper()}, {height}x{width}, batch {item.batch}, {item.input} to {item.output}"
    )


def _machine_words(item: Prediction) -> str:
    machine = item.conditions
    mode = f", {machine.mode}" if machine.mode else ""
    clock = "clock unknown" if machine.clock_mhz is None else f"{machine.clock_mhz:.0f} MHz"
    return (
        f"{machine.target} {machine.variant}{mode}: {machine.multiprocessors} multiprocessors, {clock}, "
        f"{machine.bandwidth_gbs:g} GB/s, {machine.peak_tflops:.1f} TFLOP/s in {item.precision.upper()}"
    )


def _print_kernels(slowest: list[KernelTime]) -> None:
    typer.echo()
    rows = [
        [str(one.number), _short(", ".join(one.layers) or one.name), f"{one.ms:.3f}", one.bound,
         f"{one.bytes / 1e6:.2f}", f"{one.flops / 1e9:.2f}"]
        for one in slowest
    ]  # fmt: skip
    print_table(["kernel", "computes", "ms", "bound by", "MB", "GFLOP"], rows)


def _print_changes(ms: float, changes: tuple[WhatIf, ...]) -> None:
    from evit_deploy.profiles.predict import PREDICTED

    typer.echo(f"\nwhat if, {PREDICTED}:\n")
    rows = [
        [change.change, f"{one.ms:.2f}", f"{one.ms - ms:+.2f}", f"{one.low_ms:.2f} to {one.high_ms:.2f}"]
        for change, one in ((change, change.whole) for change in changes)
    ]
    print_table(["change", "ms", "difference", "interval"], rows)


def _row(name: str, terms: Terms, whole: float) -> list[str]:
    parts = (terms.traffic, terms.arithmetic, terms.launches, terms.copies)
    return [name, f"{terms.total:.2f}", f"{terms.total / whole:.0%}", *(f"{part:.2f}" for part in parts)]


def _short(text: str) -> str:
    return text if len(text) <= _NAME else f"{text[: _NAME - 1]}…"
