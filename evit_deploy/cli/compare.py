# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy compare``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from evit_deploy.cli.common import HERE, Json, Workspace, print_json, print_table

if TYPE_CHECKING:
    from evit_deploy.profiles.compare import Comparison, Ratio, Row


def command(
    profiles: Annotated[
        list[str],
        typer.Argument(metavar="A B [C…]", help="Profiles: names in profiles/, folders, or report.json files."),
    ],
    fail_if_slower: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="Exit 1 where one is slower than A by more than this, such as 5%."),
    ] = None,
    workspace: Workspace = HERE,
    json: Json = False,
) -> None:
    """Show profiles side by side, each held against the first; exit 1 where one is slower than accepted."""
    from evit_deploy.profiles.compare import compare, find_profiles, require_not_slower
    from evit_deploy.profiles.compare.gate import parse_share

    share = None if fail_if_slower is None else parse_share(fail_if_slower)
    items = find_profiles(profiles, workspace / "profiles")
    found = compare([item.report for item in items], [item.evaluations for item in items])
    if json:
        print_json(found.to_json())
    else:
        _print_comparison(found)
    if share is not None:
        require_not_slower(found, share)


def _print_comparison(found: Comparison) -> None:
    from evit_deploy.profiles.compare.remarks import letter, title

    for index, report in enumerate(found.reports):
        typer.echo(f"{letter(index)}  {title(report)}")
    letters = [letter(index) for index in range(len(found.reports))]
    typer.echo("\nmedian per frame; in brackets 95 % confidence\n")
    _print_rows(found.latencies, letters, "slower", "faster")
    typer.echo("\nother figures; without brackets: measured once, so chance is not known\n")
    _print_rows(found.figures, letters, "more", "less")
    for name, items in zip(letters, found.differences, strict=True):
        if items:
            typer.echo(f"\nfrom A to {name}:")
        for item in items:
            typer.secho(f"  {item}", fg="yellow" if item.decisive else None)
    for text in found.warnings:
        typer.secho(f"warning: {text}", fg="yellow", err=True)


def _print_rows(rows: Sequence[Row], letters: Sequence[str], more: str, less: str) -> None:
    cells = [
        [
            f"{row.name} {row.unit}".strip(),
            *("-" if value is None else f"{value:.4g}" for value in row.values),
            *(_ratio(ratio, more, less) for ratio in row.ratios[1:]),
        ]
        for row in rows
    ]
    print_table(["", *letters, *(f"{name} / A" for name in letters[1:])], cells)


def _ratio(ratio: Ratio | None, more: str, less: str) -> str:
    if ratio is None:
        return "-"
    if ratio.low is None:
        return f"{ratio.value:.3f}"
    verdict = more if ratio.is_more else less if ratio.is_less else "the same within chance"
    return f"{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f}) {verdict}"
