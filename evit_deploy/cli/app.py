# SPDX-License-Identifier: Apache-2.0
"""All commands of ``evit-deploy``, in the order a user needs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

import evit_deploy
from evit_deploy.cli import (
    advise,
    agent,
    build,
    compare,
    demo_sam,
    doctor,
    eval,  # noqa: A004  the command is called so
    export,
    inspect,
    models,
    predict,
    profile,
    report,
    run,
    selftest,
    sign,
    targets,
    verify,
)


@dataclass
class State:
    """Options of the application itself."""

    debug: bool = False


state = State()
app = typer.Typer(
    name="evit-deploy",
    help="EfficientViT from PyTorch weights to a verified engine, and the runtime to embed it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"evit-deploy {evit_deploy.__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """EfficientViT from PyTorch weights to a verified engine, and the runtime to embed it."""
    state.debug = debug


_BEFORE = (models, targets, doctor, advise, predict, selftest)
_ARTIFACTS = (export, build, sign)
_ENGINES = (verify, profile, eval, compare, report, inspect, run, demo_sam)
for module in (*_BEFORE, *_ARTIFACTS, *_ENGINES):
    app.command(module.__name__.rpartition(".")[2].replace("_", "-"))(module.command)
app.command("agent", hidden=True)(agent.command)
