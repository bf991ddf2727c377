# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy profile``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evit_deploy.cli.common import HERE, Bars, Json, Workspace, artifact_folder, print_json, print_table, warn
from evit_deploy.cli.sign import TrustedKeys
from evit_deploy.errors import UsageError

if TYPE_CHECKING:
    from evit_deploy.profiles import ProfileReport
    from evit_deploy.profiles.latency import Latency
    from evit_deploy.profiles.sam.report import PartsReport

_CURE = "build it again; if it fails again, build with --fp32"


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
    from evit_deploy.manifest import is_bundle
    from evit_deploy.profiles import profile_engine

    folder = artifact_folder(workspace, "engines", engine)
    if is_bundle(folder):
        return _profile_parts(folder, workspace / "profiles", runs, pytorch, trusted_keys, json)
    if is_bundle(folder.parent):
        raise UsageError(
            "a part is measured with the others", found=str(folder), fix=f"evit-deploy profile {folder.parent}"
        )
    report, path = profile_engine(
        folder, workspace / "profiles", runs=runs, pytorch=pytorch, progress=Bars(), trusted_keys=trusted_keys
    )
    warn(report.manifest)
    if json:
        print_json(report.to_json())
    else:
        _print_report(report, path)
    require(report.agreement, f"the engine {folder}", _CURE)


def _profile_parts(
    folder: Path, profiles: Path, runs: int, pytorch: bool, trusted_keys: str | None, json: bool
) -> None:
    """Measure an engine of several parts."""
    from evit_deploy.agreement import require
    from evit_deploy.profiles.sam.profile import profile_parts

    report, path = profile_parts(
        folder, profiles, runs=runs, pytorch=pytorch, progress=Bars(), trusted_keys=trusted_keys
    )
    warn(report.verdict.bundle)
    if json:
        print_json(report.to_json())
    else:
        _print_times(report.latencies, "per second")
        typer.echo()
        for work in (work for work in report.works if work.speedup):
            typer.echo(f"{work.name}: {work.speedup:.1f} times as fast as PyTorch eager, in the same run")
        _print_rest(report, path, f", with 64 prompts {report.many_peak_memory_mb:.0f} MB")
    for name, agreement in report.verdict.parts.items():
        require(agreement, f"the engine {folder / name}", _CURE)
    require(report.verdict.whole, f"the engine {folder}", _CURE)


def _print_report(report: ProfileReport, path: Path) -> None:
    """Latencies, what they cost, and where to read more."""
    _print_times(report.latencies, "frames/s")
    if report.speedup:
        typer.echo(f"\n{report.speedup:.1f} times as fast as PyTorch eager, in the same run")
    _print_rest(report, path)


def _print_times(latencies: Sequence[Latency], unit: str) -> None:
    rows = [
        [item.name, *(f"{value:.1f}" for value in (item.p50, item.p90, item.p99, item.max, item.throughput))]
        for item in latencies
    ]
    print_table(["", "p50 ms", "p90 ms", "p99 ms", "max ms", unit], rows)


def _print_rest(report: ProfileReport | PartsReport, path: Path, more: str = "") -> None:
    for text in report.notes:
        typer.secho(f"note: {text}", err=True)
    typer.echo(f"peak memory of the engine: {report.peak_memory_mb:.0f} MB{more}")
    typer.echo(f"report: {path}")
