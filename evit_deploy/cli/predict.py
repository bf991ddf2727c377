# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy predict``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from evit_deploy.cli.common import (
    HERE,
    Bars,
    Json,
    Workspace,
    keep_freed_memory,
    parse_resolution,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from evit_deploy.profiles.predict import Prediction, Terms, WhatIf

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
    workspace: Workspace = HERE,
    json: Json = False,
) -> None:
    """Predict the latency on a machine that is not at hand. A prediction, not a measurement."""
    from evit_deploy.profiles.predict import Asked, predict, predict_changes

    keep_freed_memory()
    asked = Asked(
        target=target, mode=mode, variant=variant, resolution=parse_resolution(resolution), output=output, batch=batch,
        plain=plain,
    )  # fmt: skip
    found = predict(what, workspace, asked, Bars())
    changes = predict_changes(what, workspace, asked, what_if or (), Bars())
    if json:
        return print_json(
            {
                "predictions": [item.to_json() for item in found.parts],
                "total_ms": found.ms,
                "what_if": [
                    {
                        "change": item.change,
                        "total_ms": item.whole.ms,
                        "low_ms": item.whole.low_ms,
                        "high_ms": item.whole.high_ms,
                    }
                    for item in changes
                ],
            }
        )
    for item in found.parts:
        _print_prediction(item, kernels)
    if len(found.parts) > 1:
        typer.echo(f"\nall of it, one prompt: {found.ms:.2f} ms per frame ({found.low_ms:.2f} to {found.high_ms:.2f})")
    if changes:
        _print_changes(found.ms, changes)


def _print_prediction(item: Prediction, count: int) -> None:
    """One graph: the number, its breakdown, the slowest kernels, and what to know."""
    from evit_deploy.profiles.predict import PREDICTED

    machine, (height, width) = item.conditions, item.resolution
    mode = f", {machine.mode}" if machine.mode else ""
    typer.echo(
        f"{item.subject}, {item.precision.upper()}, {height}x{width}, batch {item.batch}, {item.input} to {item.output}"
    )
    typer.echo(
        f"{machine.target} {machine.variant}{mode}: {machine.multiprocessors} multiprocessors, "
        f"{_clock(machine.clock_mhz)}, {machine.bandwidth_gbs:g} GB/s, {machine.fp16_tflops:.1f} TFLOP/s FP16"
    )
    share = (
        ""
        if item.coverage is None
        else f", {item.coverage:.0%} of held-out published latencies lie in such an interval"
    )
    interval = f"{item.low_ms:.2f} to {item.high_ms:.2f} ms{share}"
    typer.secho(f"\n{item.ms:.2f} ms per run, {item.fps:.0f} frames/s: {PREDICTED}\n{interval}\n", bold=True)
    rows = [_row(name, terms, item.ms) for name, terms in item.stages.items() if terms.total]
    print_table(
        ["stage", "ms", "share", "traffic", "arithmetic", "launches", "copies"],
        [*rows, _row("all", item.terms, item.ms)],
    )
    if count:
        typer.echo()
        slowest = sorted(item.kernels, key=lambda one: -one.ms)[:count]
        headers = ["kernel", "computes", "ms", "bound by", "MB", "GFLOP"]
        print_table(
            headers,
            [
                [str(one.number), _short(", ".join(one.layers) or one.name), f"{one.ms:.3f}", one.bound,
                 f"{one.bytes / 1e6:.2f}", f"{one.flops / 1e9:.2f}"]
                for one in slowest
            ],
        )  # fmt: skip
    typer.echo(f"\nplan of {len(item.kernels)} kernels: {item.plan}")
    for note in item.notes:
        typer.echo(f"note: {note}")


def _print_changes(ms: float, changes: tuple[WhatIf, ...]) -> None:
    typer.echo("\nwhat if:\n")
    rows = [
        [change.change, f"{one.ms:.2f}", f"{one.ms - ms:+.2f}", f"{one.low_ms:.2f} to {one.high_ms:.2f}"]
        for change, one in ((change, change.whole) for change in changes)
    ]
    print_table(["change", "ms", "difference", "interval"], rows)


def _row(name: str, terms: Terms, whole: float) -> list[str]:
    parts = (terms.traffic, terms.arithmetic, terms.launches, terms.copies)
    return [name, f"{terms.total:.2f}", f"{terms.total / whole:.0%}", *(f"{part:.2f}" for part in parts)]


def _clock(mhz: float | None) -> str:
    return "clock unknown" if mhz is None else f"{mhz:.0f} MHz"


def _short(text: str) -> str:
    return text if len(text) <= _NAME else f"{text[: _NAME - 1]}…"
