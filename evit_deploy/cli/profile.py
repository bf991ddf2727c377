# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy profile``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evit_deploy.cli.common import HERE, Bars, Json, Workspace, artifact_folder, print_json, print_table, warn
from evit_deploy.cli.sign import TrustedKeys

if TYPE_CHECKING:
    from evit_deploy.profiles import ProfileReport


def command(
    engine: Annotated[str, typer.Argument(help="Folder of an engine, or its name in engines/.")],
    runs: Annotated[int, typer.Option(help="Timed runs, at least 100.", min=100)] = 100,
    pytorch: Annotated[bool, typer.Option(help="Also time PyTorch eager, if it is installed.")] = True,
    trusted_keys: TrustedKeys = None,
    workspace: Workspace = HERE,
    json: Json = False,
) -> None:
    """Measure an engine beside PyTorch, and write report.json and report.html; exit 1 when they disagree."""
    from evit_deploy.agreement import require
    from evit_deploy.profiles import profile_engine

    folder = artifact_folder(workspace, "engines", engine)
    report, path = profile_engine(
        folder, workspace / "profiles", runs=runs, pytorch=pytorch, progress=Bars(), trusted_keys=trusted_keys
    )
    warn(report.manifest)
    if json:
        print_json(report.to_json())
    else:
        _print_report(report, path)
    require(report.agreement, f"the engine {folder}", "build it again; if it fails again, build with --fp32")


def _print_report(report: ProfileReport, path: Path) -> None:
    """Latencies, what they cost, and where to read more."""
    rows = [
        [item.name, *(f"{value:.1f}" for value in (item.p50, item.p90, item.p99, item.max, item.throughput))]
        for item in report.latencies
    ]
    print_table(["", "p50 ms", "p90 ms", "p99 ms", "max ms", "frames/s"], rows)
    if report.speedup:
        typer.echo(f"\n{report.speedup:.1f} times as fast as PyTorch eager, in the same run")
    for text in report.notes:
        typer.secho(f"note: {text}", err=True)
    typer.echo(f"peak memory of the engine: {report.peak_memory_mb:.0f} MB")
    typer.echo(f"report: {path}")
