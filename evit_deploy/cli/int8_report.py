# SPDX-License-Identifier: Apache-2.0
"""What ``build`` and ``inspect`` print about an INT8 engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from evit_deploy.manifest import Int8Info


def print_int8(info: Int8Info) -> None:
    """Print what INT8 gains, what it loses, and who says so; what must be known of the calibration is a warning."""
    for line in int8_lines(info):
        typer.echo(line)
    for text in info.warnings:
        typer.secho(f"warning: {text}", fg="yellow", err=True)


def int8_lines(info: Int8Info) -> list[str]:
    """The sentences of `print_int8`."""
    from evit_deploy.profiles.pages.words import milliseconds, points

    methods = ", ".join(f"{name} ({count})" for name, count in info.methods.items())
    same = "overlap of masks" if info.metric == "mask IoU" else "of classes equal"
    doubt = "; whether it is faster is not certain" if info.ratio_low < 1 <= info.ratio_high else ""
    lines = [
        f"INT8: {info.ratio:.3f} × the time of FP16 ({info.ratio_low:.2f} to {info.ratio_high:.2f}{doubt}),"
        f" {milliseconds(info.ms)} ms in place of {milliseconds(info.fp16_ms)} ms, {info.oracle}",
        f"INT8: {points(info.drop, info.spread)}, of {info.metric}, where {info.max_drop:g} may be lost;"
        f" {info.agreement:.2%} {same}, relative L2 {info.error:.1e}",
        f"judged on {info.judged_frames} frames ({info.judged}), calibrated with {info.images} others"
        f" ({info.calibration}); ranges by {methods}",
        f"in INT8: {len(info.layers)} of the {info.eligible} convolutions that may be, {info.mac_share:.0%} of all"
        f" multiply-adds; all {info.eligible} would take {info.full.ratio:.3f} ×, with {points(info.full.drop)}",
        f"{len(info.curve)} assignments were judged: engine.int8.curve in its manifest.json,"
        " drawn by evit-deploy profile",
    ]
    if not info.complete:
        lines.append("time was up before everything was searched: --search-minutes gives it more")
    return lines
