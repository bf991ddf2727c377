# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy profile``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evit_deploy.cli.bars import Bars
from evit_deploy.cli.common import HERE, Json, Workspace, artifact_folder, print_json, print_table, warn
from evit_deploy.cli.sign import TrustedKeys
from evit_deploy.errors import UsageError

if TYPE_CHECKING:
    from evit_deploy.profiles import ProfileReport
    from evit_deploy.profiles.insight import Wanted
    from evit_deploy.profiles.latency import Latency
    from evit_deploy.profiles.layer_times.stages import StageTime
    from evit_deploy.profiles.predict.prediction import Prediction
    from evit_deploy.profiles.sam.report import PartsReport

_CURE = "build it again; if it fails again, build with --fp32"


def command(
    engine: Annotated[str, typer.Argument(help="Folder of an engine, or its name in engines/.")],
    runs: Annotated[int, typer.Option(help="Timed runs, at least 100.", min=100)] = 100,
    pytorch: Annotated[bool, typer.Option(help="Also time PyTorch eager, if it is installed.")] = True,
    layers: Annotated[bool, typer.Option(help="Also time every layer.")] = True,
    power: Annotated[bool, typer.Option(help="Also measure power, where the machine tells it.")] = True,
    trusted_keys: TrustedKeys = None,
    workspace: Workspace = HERE,
    json: Json = False,
) -> None:
    """Measure an engine beside PyTorch, and write report.json and report.html; exit 1 when they disagree."""
    from evit_deploy.agreement import require
    from evit_deploy.manifest import is_bundle
    from evit_deploy.profiles import profile_engine
    from evit_deploy.profiles.insight import Wanted

    wanted = Wanted(layers, power)
    folder = artifact_folder(workspace, "engines", engine)
    if is_bundle(folder):
        return _profile_parts(folder, workspace / "profiles", runs, pytorch, wanted, trusted_keys, json)
    if is_bundle(folder.parent):
        raise UsageError(
            "a part is measured with the others", found=str(folder), fix=f"evit-deploy profile {folder.parent}"
        )
    report, path = profile_engine(
        folder, workspace / "profiles",
        runs=runs, pytorch=pytorch, wanted=wanted, progress=Bars(), trusted_keys=trusted_keys,
    )  # fmt: skip
    warn(report.manifest)
    if json:
        print_json(report.to_json())
    else:
        _print_report(report, path)
    require(report.agreement, f"the engine {folder}", _CURE)


def _profile_parts(
    folder: Path, profiles: Path, runs: int, pytorch: bool, wanted: Wanted, trusted_keys: str | None, json: bool
) -> None:
    """Measure an engine of several parts."""
    from evit_deploy.agreement import require
    from evit_deploy.profiles.sam.profile import profile_parts

    report, path = profile_parts(
        folder, profiles, runs=runs, pytorch=pytorch, wanted=wanted, progress=Bars(), trusted_keys=trusted_keys
    )
    warn(report.verdict.bundle)
    if json:
        print_json(report.to_json())
    else:
        _print_times(report.latencies, "per second")
        typer.echo()
        for work in (work for work in report.works if work.speedup):
            typer.echo(f"{work.name}: {work.speedup:.1f} times as fast as PyTorch eager, in the same run")
        for prediction, work in zip(report.predictions, report.works, strict=False):  # encoder, decoder for one prompt
            _print_prediction(prediction, work.engine, work.name)
        _print_rest(report, path, f", with 64 prompts {report.many_peak_memory_mb:.0f} MB")
    for name, agreement in report.verdict.parts.items():
        require(agreement, f"the engine {folder / name}", _CURE)
    require(report.verdict.whole, f"the engine {folder}", _CURE)


def _print_report(report: ProfileReport, path: Path) -> None:
    """Latencies, what they cost, where they go, and where to read more."""
    _print_times((*report.latencies, *report.modes), "frames/s")
    typer.echo()
    if report.speedup:
        typer.echo(f"{report.speedup:.1f} times as fast as PyTorch eager, in the same run")
    if report.frames_per_second:
        typer.echo(f"throughput with two runs in flight: {report.frames_per_second:.1f} frames/s")
    if report.wrapper_ms is not None:
        typer.echo(f"checks and lock of Engine.infer, in every run: {1000 * report.wrapper_ms:.0f} µs")
    if report.prediction:
        _print_prediction(report.prediction, report.engine_infer, "the raw graph")
    _print_stages(report.stages)
    _print_rest(report, path)


def _print_prediction(prediction: Prediction, measured: Latency, what: str) -> None:
    from evit_deploy.profiles.pages.words import milliseconds
    from evit_deploy.profiles.predict.prediction import PREDICTED

    place = "inside" if prediction.low_ms <= measured.p50 <= prediction.high_ms else "outside"
    typer.echo(
        f"{prediction.subject}: {milliseconds(prediction.ms)} ms {PREDICTED}, between"
        f" {milliseconds(prediction.low_ms)} and {milliseconds(prediction.high_ms)};"
        f" the measured median of {what} is {place}"
    )


def _print_stages(stages: Sequence[StageTime]) -> None:
    """Layers by part of the network, beside what was predicted for them."""
    if not stages:
        return
    from evit_deploy.profiles.pages.words import milliseconds

    predicted = any(stage.predicted_ms is not None for stage in stages)
    rows = [
        [item.stage, milliseconds(item.measured_ms), *([_or_dash(item.predicted_ms)] if predicted else [])]
        for item in stages
    ]
    typer.echo()
    print_table(["layers of", "ms", *(["ms, predicted"] if predicted else [])], rows)
    typer.echo()


def _or_dash(ms: float | None) -> str:
    from evit_deploy.profiles.pages.words import milliseconds

    return "–" if ms is None else milliseconds(ms)


def _print_times(latencies: Sequence[Latency], unit: str) -> None:
    from evit_deploy.profiles.pages.words import milliseconds

    rows = [
        [item.name, *map(milliseconds, (item.p50, item.p90, item.p99, item.max)), f"{item.throughput:,.1f}"]
        for item in latencies
    ]
    print_table(["", "p50 ms", "p90 ms", "p99 ms", "max ms", unit], rows)


def _print_rest(report: ProfileReport | PartsReport, path: Path, more: str = "") -> None:
    from evit_deploy.profiles.pages.words import energy, interval, milliseconds

    for text in report.notes:
        typer.secho(f"note: {text}", err=True)
    if report.power:
        power = report.power
        typer.echo(
            f"power: {interval(power.total_w, power.total_sigma_w)} W ({power.total_is}),"
            f" {energy(power.energy_mj, power.energy_sigma_mj)} per frame"
        )
    if report.first_call_ms is not None:
        typer.echo(
            f"load: {report.load_seconds:.1f} s, then {milliseconds(report.first_call_ms)} ms for the first frame"
        )
    typer.echo(f"peak memory of the engine: {report.peak_memory_mb:.0f} MB{more}")
    typer.echo(f"report: {path}")
