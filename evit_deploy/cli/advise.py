# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy advise``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evit_deploy.cli.bars import Bars
from evit_deploy.cli.common import HERE, Json, Workspace, print_json, print_table
from evit_deploy.errors import CheckFailedError, UsageError

if TYPE_CHECKING:
    from evit_deploy.profiles.advise import Advice, Choice


def command(
    target: Annotated[str, typer.Option(help="Machine; see evit-deploy targets.")],
    budget: Annotated[str, typer.Option(help="Time that a frame may take, such as 15ms, or a rate such as 30fps.")],
    task: Annotated[str | None, typer.Option(help="cls, seg or sam. Default: all.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="imagenet, cityscapes, ade20k or sa-1b: what the models know. Default: all.")
    ] = None,
    mode: Annotated[str | None, typer.Option(help="Power mode, such as 30W. Default: the unlimited one.")] = None,
    variant: Annotated[
        str | None, typer.Option(help="Size of the machine, such as '32 GB'. Default: the largest.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also draw accuracy over latency, as an SVG file.")] = None,
    workspace: Workspace = HERE,
    json: Json = False,
) -> None:
    """Which model is the most accurate within a frame budget? Exit 1 when none is within it."""
    from evit_deploy.profiles.advise import Wanted, advise

    wanted = Wanted(target, parse_budget(budget), task, dataset, mode, variant)
    if out is not None and (not out.name or out.is_dir()):
        raise UsageError(f"{out} is a folder", expected="a file to draw into, such as --out frontier.svg")
    found = advise(wanted, workspace, Bars())
    if out is not None:
        _draw(found, out)
    if json:
        print_json([item.to_json() for item in found])
    else:
        for item in found:
            _print_advice(item)
    _require_chosen(found)


def parse_budget(text: str) -> float:
    """Read "15ms", "15" or "30fps", in milliseconds.

    Raises:
        UsageError: Something else, or nothing above zero.
    """
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)(ms|fps)?", text.replace(" ", "").lower())
    number = float(match[1]) if match else 0.0
    if match is None or number <= 0:
        raise UsageError(f"'{text}' is no budget", expected="milliseconds such as 15ms, or a rate such as 30fps")
    return 1000 / number if match[2] == "fps" else number


def _print_advice(advice: Advice) -> None:
    wanted = advice.wanted
    mode = f", {wanted.mode}" if wanted.mode else ""
    typer.secho(f"{advice.metric} on {wanted.target}{mode}, within {wanted.budget_ms:g} ms per frame\n", bold=True)
    headers = ["", "model", "resolution", "precision", "accuracy %", "ms", "interval", "latency is", "budget"]
    print_table(headers, [_row(advice, choice) for choice in advice.choices])
    typer.echo("\n* frontier: nothing is both faster and more accurate")
    if advice.chosen is None:
        typer.secho("\nnothing of known accuracy is within the budget", bold=True)
    else:
        chosen = advice.chosen
        typer.secho(
            f"\nmost accurate within the budget: {chosen.model} at {chosen.size}, {chosen.accuracy:.2f} %, "
            f"{chosen.timing.ms:.2f} ms ({chosen.timing.source})",
            bold=True,
        )
        if chosen.fit(wanted.budget_ms) == "may fit":
            typer.echo("its interval reaches beyond the budget: measure before you decide")
        for line in chosen.commands(wanted.target):
            typer.echo(f"  {line}")
    for note in advice.notes:
        typer.echo(f"note: {note}")
    typer.echo()


def _row(advice: Advice, choice: Choice) -> list[str]:
    timing = choice.timing
    return [
        "*" if choice in advice.frontier else " ",
        choice.model,
        choice.size,
        choice.precision,
        "unknown" if choice.accuracy is None else f"{choice.accuracy:.2f}",
        f"{timing.ms:.2f}",
        f"{timing.low_ms:.2f} to {timing.high_ms:.2f}",
        "predicted" if timing.is_predicted else f"measured: {timing.source}",
        choice.fit(advice.wanted.budget_ms),
    ]


def _draw(found: tuple[Advice, ...], out: Path) -> None:
    """One file per metric; of several, each has its metric in its name."""
    from evit_deploy.manifest import replace_file
    from evit_deploy.profiles.advise import draw_frontier

    for item in found:
        words = item.metric.lower().replace(" ", "-")
        path = out if len(found) == 1 else out.with_stem(f"{out.stem}.{words}")
        replace_file(path, draw_frontier(item).encode())
        typer.echo(f"drawn: {path}", err=True)


def _require_chosen(found: tuple[Advice, ...]) -> None:
    if any(item.chosen for item in found):
        return
    fastest = min((choice for item in found for choice in item.choices), key=lambda one: one.timing.ms)
    raise CheckFailedError(
        f"nothing of known accuracy is within {found[0].wanted.budget_ms:g} ms per frame",
        found=f"the fastest is {fastest.model} at {fastest.size}: {fastest.timing.ms:.2f} ms ({fastest.timing.source})",
        fix="a larger budget, a faster machine, or a smaller resolution: evit-deploy eval measures its accuracy",
    )
