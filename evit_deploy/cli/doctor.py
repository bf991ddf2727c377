# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy doctor``."""

from __future__ import annotations

from dataclasses import asdict

import typer

from evit_deploy.cli.common import HERE, Json, Workspace, print_json


def command(workspace: Workspace = HERE, json: Json = False) -> None:
    """Say what this machine can do, and what is missing for the rest."""
    from evit_deploy.engines.doctor import examine

    report = examine(workspace)
    if json:
        return print_json(asdict(report))
    for name, value in report.machine.items():
        typer.echo(f"{name:<14}{value}")
    typer.echo("")
    width = max(len(check.name) for check in report.checks)
    for check in report.checks:
        typer.echo(f"{'ok' if check.ok else '--'}  {check.name:<{width}}  {check.found}")
        if check.fix:
            typer.echo(f"{'':<{width + 4}}  fix: {check.fix}")
