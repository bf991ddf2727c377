# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy selftest``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evit_deploy.cli.bars import Bars
from evit_deploy.cli.common import Json, print_table


def command(
    gpu: Annotated[bool, typer.Option("--gpu", help="Test the GPU: compile two small engines for it.")] = False,
    out: Annotated[Path, typer.Option(help="File to write everything to, for a bug report.")] = Path("selftest.json"),
    json: Json = False,
) -> None:
    """Build, load, verify and profile two small models on this machine; exit 1 when anything fails.

    On a CPU without PyTorch it is one model, which travels with the package.
    """
    from evit_deploy.profiles.selftest import run_selftest

    outcome = run_selftest(out, gpu=gpu, progress=Bars())
    if json:
        typer.echo(out.read_text(encoding="utf-8"), nl=False)
        return outcome.require()
    if outcome.steps:
        rows = [[step.model, step.name, step.result, f"{step.seconds:.1f}", step.detail] for step in outcome.steps]
        print_table(["model", "step", "result", "seconds", ""], rows)
    typer.echo(f"everything is in {outcome.path}")
    outcome.require()
    typer.echo("passed")
