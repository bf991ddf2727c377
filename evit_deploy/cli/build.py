# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy build``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evit_deploy.cli.common import (
    HERE,
    Bars,
    Json,
    Workspace,
    agreement_table,
    artifact_folder,
    print_json,
    warn,
)
from evit_deploy.errors import EvitError, UsageError
from evit_deploy.targets import PRECISIONS, find_target

if TYPE_CHECKING:
    from evit_deploy.manifest import Manifest


def command(
    model: Annotated[
        str | None, typer.Argument(help="Name of an export, or its folder. Default: all that have no such engine yet.")
    ] = None,
    target: Annotated[str, typer.Option(help="Machine to build for; see evit-deploy targets.")] = "cpu",
    fp32: Annotated[bool, typer.Option("--fp32", help="FP32, really FP32 (default).")] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="BF16, where the CPU has it.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="FP16.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="INT8.")] = False,
    compiler: Annotated[
        str | None, typer.Option(help="Take this compiler; its name becomes part of the engine's.")
    ] = None,
    arch: Annotated[
        str | None, typer.Option(help="GPU architecture, such as sm86 or 8.6. Default: that of the GPU here.")
    ] = None,
    attention: Annotated[
        str | None,
        typer.Option(help="Arrangement of the attention for a GPU: conv, matmul or portable. Default: the target's."),
    ] = None,
    workspace: Workspace = HERE,
    json: Json = False,
) -> None:
    """Compile an export for a machine, and check the engine against PyTorch before it is written."""
    chosen = [name for name, wanted in zip(PRECISIONS, (fp32, bf16, fp16, int8), strict=True) if wanted] or ["fp32"]
    if len(chosen) > 1:
        raise UsageError("an engine has one precision", found=" ".join(f"--{name}" for name in chosen))
    from evit_deploy.engines import choose_arch, choose_compiler
    from evit_deploy.engines.build import build_engine, choose_attention, engine_name
    from evit_deploy.manifest.model import to_json

    spec = find_target(target)
    # Before anything is looked for, and before they become part of a folder's name.
    arch = choose_arch(choose_compiler(spec, chosen[0], compiler), spec, arch)
    choose_attention(spec, attention)
    results, failures = [], []
    for export in [artifact_folder(workspace, "export", model)] if model else _exports(workspace):
        folder = workspace / "engines" / engine_name(export, target, chosen[0], compiler, arch, attention)
        typer.echo(f"{folder}", err=True)
        try:
            manifest, written = build_engine(
                export, folder, target=target, precision=chosen[0], compiler=compiler, arch=arch, attention=attention,
                progress=Bars(),
            )  # fmt: skip
        except EvitError as error:
            if model:
                raise
            typer.echo(f"evit-deploy: {error}", err=True)
            failures.append(error)
            continue
        warn(manifest)
        results.append(to_json(manifest))
        if not json:
            _report(folder, manifest, written)
    if json:
        print_json(results)
    if failures:
        raise typer.Exit(max(error.exit_code for error in failures))


def _report(folder: Path, manifest: Manifest, written: bool) -> None:
    from evit_deploy.manifest import ITSELF

    if not written:
        typer.echo(f"nothing to do: {folder} is exactly this engine")
    agreement_table(manifest.agreement)
    engine = manifest.engine
    assert engine is not None
    for note in engine.notes:
        typer.echo(note)
    if engine.state == "lowered":
        typer.echo(f"\n{folder}  lowered, checked by {manifest.agreement.method}")
        typer.echo("next, on the device (TensorRT 10; 11 needs no --stronglyTyped):")
        typer.echo(f"  {trtexec(folder, manifest)}")
        return
    typer.echo(f"\n{folder}  by {engine.compiler} {engine.compiler_version}")
    if manifest.agreement.method != ITSELF:
        typer.echo(f"checked by {manifest.agreement.method}; no GPU has run it")
        typer.echo(f"next:  evit-deploy inspect {folder}")
        return
    typer.echo(f"next:  evit-deploy run {folder} IMAGE    or    evit-deploy profile {folder}")


def trtexec(folder: Path, manifest: Manifest) -> str:
    """The command that compiles a lowered engine on its device, for TensorRT 10."""
    graph, (low, high) = manifest.graph, manifest.graph.batch
    parts = ["trtexec", f"--onnx={folder / graph.file}", "--stronglyTyped", "--saveEngine=engine.plan"]
    if graph.precision == "fp32":
        parts.append("--noTF32")  # what was verified is FP32
    if low != high:
        shape = "x".join(map(str, graph.inputs[0].shape[1:]))
        for option, batch in (("min", low), ("opt", high), ("max", high)):
            parts.append(f"--{option}Shapes={graph.inputs[0].name}:{batch}x{shape}")
    return shlex.join(parts)


def _exports(workspace: Path) -> list[Path]:
    # Hidden folders are those of writers at work, or killed at it.
    found = sorted(path.parent for path in (workspace / "export").glob("[!.]*/manifest.json"))
    if not found:
        raise UsageError(f"there is no export in {workspace / 'export'}", fix="evit-deploy export MODEL")
    return found
