# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy doctor``."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from evit_deploy.cli.common import HERE, Json, Workspace, print_json

if TYPE_CHECKING:
    from evit_deploy.engines.doctor import Check, Report

Target = Annotated[str | None, typer.Option("--target", help="Say how this machine differs from a target.")]


def command(target: Target = None, workspace: Workspace = HERE, json: Json = False) -> None:
    """Say what this machine is and can do, and what is missing for the rest."""
    from evit_deploy.engines.doctor import examine
    from evit_deploy.profiles.power.checks import power_checks

    report = examine(workspace, target)
    report = replace(report, checks=(*report.checks, *power_checks()))
    if json:
        return print_json(asdict(report))
    for name, value in report.machine.items():
        typer.echo(f"{name:<20}{value}")
    typer.echo("")
    _print_target(report)
    typer.echo("")
    _print_checks(report.checks)


def _print_target(report: Report) -> None:
    """Which target the machine is, and how it differs from the one that it was compared with."""
    typer.echo(f"this machine is     {report.target or 'none of the targets, as far as it says'}")
    if not report.compared:
        return
    if not report.differences:
        typer.echo(f"{'':<20}as --target {report.compared} expects")
        return
    verdict = ", so its engines do not run here" if report.blocked else ""
    typer.echo(f"{'':<20}other than --target {report.compared} in its best state{verdict}:")
    for row in report.differences:
        mark = "--" if row.blocks else "! "
        typer.echo(f"{mark}  {row.what:<20}  {row.found}; expected {row.expected}")
        if row.fix:
            typer.echo(f"{'':<24}  fix: {row.fix}")


def _print_checks(checks: tuple[Check, ...]) -> None:
    """Everything that was looked at: "--" is missing, ".." is missing and optional."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        typer.echo(f"{'ok' if check.ok else '..' if check.optional else '--'}  {check.name:<{width}}  {check.found}")
        if check.fix:
            typer.echo(f"{'':<{width + 4}}  fix: {check.fix}")
