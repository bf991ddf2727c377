# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy sign``, and the option that names the keys a command trusts."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from evit_deploy.cli.common import HERE, Json, Workspace, artifact_folder, print_json
from evit_deploy.errors import UsageError

TrustedKeys = Annotated[
    str | None,  # of an empty one, a Path would make the current folder
    typer.Option(
        "--trusted-keys",
        envvar="EVIT_TRUSTED_KEYS",
        help="Public key, or folder of them: refuse an engine that none of them signed.",
    ),
]


def command(
    engines: Annotated[
        list[str] | None, typer.Argument(help="Folders of engines, or their names in engines/.", metavar="ENGINE")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Private Ed25519 key: PEM, or as ssh-keygen -t ed25519 writes it.")
    ] = None,
    new_key: Annotated[
        Path | None, typer.Option("--new-key", help="Make a key: FILE, which stays here, and FILE.pub for the robots.")
    ] = None,
    workspace: Workspace = HERE,
    json: Json = False,
) -> None:
    """Sign engines, so that robots can refuse all others. A key's password is asked for, or in EVIT_KEY_PASSWORD."""
    if new_key is not None:
        if engines or key is not None:
            raise UsageError("--new-key makes a key and does nothing else", fix="sign with it afterwards: --key FILE")
        return _make_key(new_key, json)
    if not engines or key is None:
        raise UsageError(
            "signing needs engines and a key",
            found="no engine" if not engines else "no --key",
            expected="evit-deploy sign ENGINE --key FILE",
            fix=None if key else "evit-deploy sign --new-key FILE makes a key",
        )
    from evit_deploy.manifest.keys import read_private_key, short
    from evit_deploy.manifest.signing import SIGNATURE, sign

    folders = [artifact_folder(workspace, "engines", name) for name in engines]
    private = read_private_key(key, lambda: _ask(f"password of {key}: "))
    signed = {folder: sign(folder, private) for folder in folders}
    if json:
        return print_json([{"engine": str(folder), "key": identity} for folder, identity in signed.items()])
    for folder, identity in signed.items():
        typer.echo(f"{folder / SIGNATURE}  by {short(identity)}")


def _make_key(path: Path, json: bool) -> None:
    from evit_deploy.manifest.keys import PASSWORD, make_key

    password = _new_password(PASSWORD)
    made = make_key(path, password)
    if json:
        return print_json({"private": str(path), "public": f"{path}.pub", "key": made.id})
    typer.echo(f"{path}  signs; keep it{'' if password else ' safe: it has no password'}")
    typer.echo(f"{path}.pub  is for whoever checks, with --trusted-keys")
    typer.echo(f"its id: {made.id}")


def _new_password(variable: str) -> str | None:
    if variable in os.environ or not sys.stdin.isatty():
        return os.environ.get(variable)
    password = _ask("new password (empty for none): ")
    if password != _ask("again: "):
        raise UsageError("the two passwords differ", fix="run the command again")
    return password


def _ask(words: str) -> str | None:
    """Ask a person for a password; None where there is nobody."""
    return getpass.getpass(words) if sys.stdin.isatty() else None
