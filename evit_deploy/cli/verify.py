# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evit_deploy.cli.common import HERE, Bars, Json, Workspace, agreement_table, artifact_folder, print_json, warn


def command(
    engine: Annotated[str, typer.Argument(help="Folder of an engine, or its name in engines/.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of images; needs PyTorch. Default: the reference in the engine.")
    ] = None,
    workspace: Workspace = HERE,
    json: Json = False,
) -> None:
    """Compare an engine with PyTorch; exit 1 when it is outside its budget."""
    from evit_deploy.agreement import require
    from evit_deploy.profiles.verify import verify_engine

    folder = artifact_folder(workspace, "engines", engine)
    manifest, agreement, report = verify_engine(folder, workspace / "profiles", images, Bars())
    warn(manifest)
    if json:
        from evit_deploy.profiles.verify import agreement_record

        print_json({"engine": str(folder), "report": str(report), **agreement_record(agreement)})
    else:
        agreement_table(agreement)
        typer.echo(f"\n{'passed' if agreement.passed else 'FAILED'} against {agreement.against}; stored in {report}")
    require(agreement, f"the engine {folder}", "build it again; if it fails again, build with --fp32")
