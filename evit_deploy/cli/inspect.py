# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy inspect``."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evit_deploy.cli.common import HERE, Json, Workspace, artifact_folder, print_json, print_table
from evit_deploy.cli.int8_report import print_int8
from evit_deploy.errors import UsageError

if TYPE_CHECKING:
    from evit_deploy.engines.plan import Kernel, Plan
    from evit_deploy.manifest import Manifest

_ROWS = 20
_NAME, _LAYERS = 27, 51


def command(
    engine: Annotated[str, typer.Argument(help="Folder of an engine, or its name in engines/.")],
    sort: Annotated[str, typer.Option(help="bytes (activation traffic), flops or order.")] = "bytes",
    top: Annotated[
        int | None, typer.Option(min=1, help=f"Number of kernels to show. Default: {_ROWS}, and all with --json.")
    ] = None,
    workspace: Workspace = HERE,
    json: Json = False,
) -> None:
    """Show what the compiler made of the graph: every kernel, what it moves and computes; of INT8, what it gains."""
    from evit_deploy.engines.plan import ORDERS, PLAN
    from evit_deploy.manifest import is_bundle, read_artifact

    if sort not in ORDERS:
        raise UsageError(f"kernels cannot be sorted by '{sort}'", expected=f"one of {', '.join(ORDERS)}")
    folder = artifact_folder(workspace, "engines", engine)
    if is_bundle(folder):
        return _inspect_parts(folder, sort, top, json)
    manifest = read_artifact(folder)
    info = manifest.engine.int8 if manifest.engine else None
    planned = PLAN in manifest.files
    if info is None:  # nothing else to show
        _require_plan(folder, manifest)
    if json:
        plan = _plan_json(folder, sort, top) if planned else {}
        return print_json({"engine": str(folder), **plan, **_int8_json(manifest)})
    if planned:
        _print_plan(folder, sort, top)
    if info is not None:
        typer.echo("" if planned else f"{folder} holds no plan of its kernels yet: it is {_kind(manifest)}")
        print_int8(info)


def _inspect_parts(folder: Path, sort: str, top: int | None, json: bool) -> None:
    """The parts of an engine, and the plan of each that keeps one."""
    from evit_deploy.engines.plan import PLAN
    from evit_deploy.manifest import read_bundle

    _, parts = read_bundle(folder)
    planned = [name for name, manifest in parts.items() if PLAN in manifest.files]
    if json:
        data = {name: _part_json(manifest) for name, manifest in parts.items()}
        for name in planned:
            data[name] |= {"plan": _plan_json(folder / name, sort, top)}
        return print_json({"engine": str(folder), "parts": data})
    headers = ["part", "input", "output", "batch", "precision", "MB", "compiled by"]
    print_table(headers, [_part_row(name, manifest) for name, manifest in parts.items()])
    for name in planned:
        typer.echo(f"\n{name}\n")
        _print_plan(folder / name, sort, top)
    if not planned:
        typer.echo("\nno part holds a plan of its kernels")
    for name, manifest in parts.items():
        if manifest.engine and manifest.engine.int8:
            typer.echo(f"\n{name}\n")
            print_int8(manifest.engine.int8)


def _part_row(name: str, manifest: Manifest) -> list[str]:
    info = _part_json(manifest)
    batch = " to ".join(map(str, sorted(set(info["batch"]))))
    return [
        name, info["input"], info["output"], batch, info["precision"], f"{info['bytes'] / 1e6:.1f}", info["compiler"]
    ]  # fmt: skip


def _part_json(manifest: Manifest) -> dict[str, Any]:
    graph, engine = manifest.graph, manifest.engine
    made = "-" if engine is None else "not yet" if engine.state == "lowered" else engine.compiler
    return {
        "input": graph.input,
        "output": graph.output,
        "batch": graph.batch,
        "precision": graph.precision if engine is None else engine.precision,
        "bytes": sum(file.bytes for file in manifest.files.values()),
        "compiler": made,
        **_int8_json(manifest),
    }


def _int8_json(manifest: Manifest) -> dict[str, Any]:
    """What there is to say of INT8; nothing of another precision."""
    info = manifest.engine.int8 if manifest.engine else None
    return {} if info is None else {"int8": asdict(info)}


def _plan_json(folder: Path, sort: str, top: int | None) -> dict[str, Any]:
    from evit_deploy.engines.plan import ranked, read_plan, to_json

    plan = read_plan(folder)
    data = to_json(plan)
    shown = [{"number": number, **data["kernels"][number]} for number, _ in ranked(plan, sort)[:top]]
    return {**data, "kernels": shown}


def _print_plan(folder: Path, sort: str, top: int | None) -> None:
    from evit_deploy.engines.plan import ranked, read_plan

    plan = read_plan(folder)
    kernels = ranked(plan, sort)[: top or _ROWS]
    headers = ["#", "kernel", "type", "layers", "MB read", "MB written", "GFLOP"]
    print_table(headers, [_row(number, kernel) for number, kernel in kernels])
    typer.echo(f"\n{_summary(plan, [kernel for _, kernel in kernels])}")


def _require_plan(folder: Path, manifest: Manifest) -> None:
    from evit_deploy.engines import COMPILERS, get_compiler
    from evit_deploy.engines.plan import PLAN

    if PLAN in manifest.files:
        return
    keepers = [name for name in COMPILERS if get_compiler(name).keeps_plan]
    raise UsageError(
        f"{folder} holds no plan of its kernels",
        found=_kind(manifest),
        expected=f"an engine compiled by {' or '.join(keepers)}",
        fix="evit-deploy build MODEL --target rtx --arch sm86",
    )


def _kind(manifest: Manifest) -> str:
    if manifest.engine is None:
        return "an export"
    if manifest.engine.state == "lowered":
        return "a lowered engine, which its device compiles"
    return f"an engine compiled by {manifest.engine.compiler}"


def _row(number: int, kernel: Kernel) -> list[str]:
    return [
        str(number),
        _kernel_name(kernel.name),
        kernel.type,
        _layers(kernel.layers),
        f"{kernel.bytes_read / 1e6:.2f}",
        f"{kernel.bytes_written / 1e6:.2f}",
        f"{kernel.flops / 1e9:.3f}" if kernel.flops else "-",
    ]


def _kernel_name(name: str) -> str:
    """The last part of a kernel's name, without the marks that the compiler puts around it."""
    bare = re.sub(r"_myl\d+_\d+$", "", name.rpartition("/")[2])
    return _shortened(bare.removeprefix("__myl_"), _NAME)


def _layers(layers: tuple[str, ...]) -> str:
    """The first ONNX node in full, of the others the last part: they are its neighbours."""
    if not layers:
        return "-"
    others = (layer.rpartition("/")[2] for layer in layers[1:])
    return _shortened(" +".join([layers[0].strip("/"), *others]), _LAYERS)


def _shortened(text: str, width: int) -> str:
    """Cut out of the middle: the beginning says where in the network, the end says what."""
    half = (width - 1) // 2
    return text if len(text) <= width else f"{text[:half]}…{text[-half:]}"


def _summary(plan: Plan, shown: list[Kernel]) -> str:
    traffic = sum(kernel.traffic for kernel in shown)
    share = f"; the {len(shown)} shown carry {traffic / plan.traffic:.0%} of it" if plan.traffic else ""
    return (
        f"{plan.compiler} {plan.version} for {plan.arch}: {len(plan.working)} kernels, "
        f"{plan.flops / 1e9:.1f} GFLOP, {plan.traffic / 1e6:.1f} MB of activation traffic{share}"
    )
