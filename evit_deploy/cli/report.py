# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy report``."""

from __future__ import annotations

from typing import Annotated

import typer

from evit_deploy.cli.common import HERE, Json, Workspace, print_json


def command(
    engines: Annotated[
        list[str] | None, typer.Argument(metavar="[ENGINE…]", help="Names in profiles/; without any, all of them.")
    ] = None,
    workspace: Workspace = HERE,
    json: Json = False,
) -> None:
    """Make the pages of profiles again from what is recorded, and the index over all of them."""
    from evit_deploy.profiles.pages import remake, require_page_packages

    require_page_packages()
    made = remake(workspace / "profiles", engines or [])
    if json:
        broken = {item.name: item.why for item in made.broken}
        print_json({"index": str(made.index), "pages": list(map(str, made.pages)), "unreadable": broken})
        return
    for item in made.broken:
        typer.secho(f"warning: {item.name} is left out: {item.why}", fg="yellow", err=True)
    for page in made.pages:
        typer.echo(f"report: {page}")
    typer.echo(f"index: {made.index}")
