# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evit_deploy.cli.common import (
    HERE,
    Bars,
    Json,
    Workspace,
    agreement_table,
    artifact_folder,
    layer_table,
    print_json,
    warn,
)
from evit_deploy.cli.sign import TrustedKeys


def command(
    engine: Annotated[str, typer.Argument(help="Folder of an engine, or its name in engines/.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of images; needs PyTorch. Default: the reference in the engine.")
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Typed engines: show what FP16 does to every tensor of the reference.")
    ] = False,
    trusted_keys: TrustedKeys = None,
    workspace: Workspace = HERE,
    json: Json = False,
) -> None:
    """Compare an engine with PyTorch; exit 1 when it is outside its budget."""
    from evit_deploy.agreement import require
    from evit_deploy.manifest import ITSELF
    from evit_deploy.profiles.layers import engine_layers, layer_part
    from evit_deploy.profiles.verify import agreement_record, verify_engine

    folder = artifact_folder(workspace, "engines", engine)
    rows = engine_layers(folder, Bars(), trusted_keys) if layers else None
    manifest, agreement, report = verify_engine(
        folder, workspace / "profiles", images, Bars(), layers=rows, trusted_keys=trusted_keys
    )
    warn(manifest)
    if json:
        print_json({"engine": str(folder), "report": str(report), **agreement_record(agreement), **layer_part(rows)})
    else:
        agreement_table(agreement)
        if rows is not None:
            layer_table(rows, agreement.budget.relative_l2)
        typer.echo(f"\n{'passed' if agreement.passed else 'FAILED'} against {agreement.against}; stored in {report}")
        if agreement.method != ITSELF:
            typer.echo(f"by {agreement.method}")
    require(agreement, f"the engine {folder}", "build it again; if it fails again, build with --fp32")
