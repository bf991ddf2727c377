# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evit_deploy.cli.bars import Bars
from evit_deploy.cli.common import (
    HERE,
    Json,
    Workspace,
    agreement_table,
    artifact_folder,
    layer_table,
    print_json,
    warn,
)
from evit_deploy.cli.sign import TrustedKeys
from evit_deploy.errors import UsageError

if TYPE_CHECKING:
    from evit_deploy.manifest import Agreement

_CURE = "build it again; if it fails again, build with --fp32"


def command(
    engine: Annotated[str, typer.Argument(help="Folder of an engine, or its name in engines/.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of images; needs PyTorch. Default: the reference in the engine.")
    ] = None,
    layers: Annotated[
        bool,
        typer.Option("--layers", help="Typed engines: show what FP16 or INT8 does to every tensor of the reference."),
    ] = False,
    trusted_keys: TrustedKeys = None,
    workspace: Workspace = HERE,
    json: Json = False,
) -> None:
    """Compare an engine with PyTorch; exit 1 when it is outside its budget."""
    from evit_deploy.agreement import require
    from evit_deploy.manifest import is_bundle
    from evit_deploy.profiles.layers import engine_layers, layer_part
    from evit_deploy.profiles.verify import agreement_record, verify_engine

    folder = artifact_folder(workspace, "engines", engine)
    if is_bundle(folder):
        return _verify_parts(folder, workspace / "profiles", images, layers, trusted_keys, json)
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
        _say_outcome(agreement, report)
    require(agreement, f"the engine {folder}", _CURE)


def _verify_parts(
    folder: Path, profiles: Path, images: Path | None, layers: bool, trusted_keys: str | None, json: bool
) -> None:
    """Compare all parts of an engine, and the whole."""
    from evit_deploy.agreement import require
    from evit_deploy.profiles.sam.verify import verify_parts

    if layers:
        raise UsageError(
            "layers are shown of one graph at a time", found=f"{folder}, which has several",
            fix=f"evit-deploy verify {folder / 'encoder'} --layers",
        )  # fmt: skip
    verdict, report = verify_parts(folder, profiles, images, Bars(), trusted_keys)
    warn(verdict.bundle)
    if json:
        print_json({"engine": str(folder), "report": str(report), **verdict.to_json()})
    else:
        for name, agreement in verdict.parts.items():
            typer.echo(f"{name}\n")
            agreement_table(agreement)
            typer.echo()
        typer.echo("from picture to masks\n")
        agreement_table(verdict.whole)
        _say_outcome(verdict.whole, report, verdict.passed)
    for name, agreement in verdict.parts.items():
        require(agreement, f"the engine {folder / name}", _CURE)
    require(verdict.whole, f"the engine {folder}", _CURE)


def _say_outcome(agreement: Agreement, report: Path, passed: bool | None = None) -> None:
    from evit_deploy.manifest import ITSELF

    passed = agreement.passed if passed is None else passed
    typer.echo(f"\n{'passed' if passed else 'FAILED'} against {agreement.against}; stored in {report}")
    if agreement.method != ITSELF:
        typer.echo(f"by {agreement.method}")
