# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy build``."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evit_deploy.cli.bars import Bars
from evit_deploy.cli.common import HERE, Json, Workspace, agreement_table, artifact_folder, print_json, warn
from evit_deploy.cli.int8_options import (
    AllowSlower,
    Calibrate,
    Images,
    JudgeImages,
    MaxDrop,
    MaxError,
    Method,
    Minutes,
    Timings,
    int8_options,
)
from evit_deploy.cli.int8_report import print_int8
from evit_deploy.errors import EvitError, UnavailableError, UsageError
from evit_deploy.targets import PRECISIONS, find_target

if TYPE_CHECKING:
    from evit_deploy.engines.bundle import Sizes
    from evit_deploy.engines.remote import Outcome
    from evit_deploy.engines.request import Built, Request
    from evit_deploy.manifest import Bundle, Manifest


def command(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Name of an export, or its folder; or an engine for a GPU, to compile it here. "
            "Default: all exports that have no such engine yet."
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Machine to build for; see evit-deploy targets. Default: cpu.")
    ] = None,
    fp32: Annotated[bool, typer.Option("--fp32", help="FP32, really FP32 (default).")] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="BF16, where the CPU has it.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="FP16.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="INT8 where it pays, with --calibrate.")] = False,
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
    level: Annotated[
        int | None,
        typer.Option("--optimization-level", min=0, max=5, help="How long TensorRT searches for fast kernels, 0 to 5."),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(help="Prompts per run of the mask decoders for a GPU, one decoder each. Default: 1,8,64."),
    ] = None,
    points: Annotated[
        int | None, typer.Option(help="Points that every prompt has room for in them, beside a box. Default: 8.")
    ] = None,
    calibrate: Calibrate = None,
    calibration_images: Images = None,
    calibration: Method = None,
    max_drop: MaxDrop = None,
    max_error: MaxError = None,
    judge_images: JudgeImages = None,
    allow_slower: AllowSlower = False,
    search_minutes: Minutes = None,
    timings: Timings = None,
    remote: Annotated[
        list[str] | None, typer.Option(help="Compile on this device over SSH, as user@host; may be repeated.")
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Install evit-deploy on the remote device where it is missing.")
    ] = False,
    require_compiled: Annotated[
        bool, typer.Option("--require-compiled", help="Exit with 3 where an engine stays lowered.")
    ] = False,
    workspace: Workspace = HERE,
    json: Json = False,
) -> None:
    """Compile an export for a machine, and check the engine against PyTorch before it is written."""
    precision = _precision(fp32, bf16, fp16, int8)
    if install and not remote:
        raise UsageError("--install is for --remote", fix="leave it out, or name the device with --remote USER@HOST")
    asked = {
        "--calibrate": calibrate, "--calibration-images": calibration_images, "--calibration": calibration,
        "--max-drop": max_drop, "--max-error": max_error, "--judge-images": judge_images,
        "--allow-slower": allow_slower, "--search-minutes": search_minutes, "--timings": timings,
    }  # fmt: skip
    from evit_deploy.engines.request import Request
    from evit_deploy.manifest.model import to_json

    quantised = int8_options(int8, asked, workspace)
    request = Request(target, precision, compiler, arch, attention, level, _sizes(prompts, points), quantised)
    found = _engine(workspace, model, request) if model else None
    request = _checked(request, found, remote=bool(remote))
    engines, bars, results = workspace / "engines", Bars(), []
    failures: list[EvitError] = []
    for source in [found or artifact_folder(workspace, "export", model)] if model else _exports(workspace):
        typer.echo(f"{request.place(source, engines, remote=bool(remote))}", err=True)
        try:
            if remote:
                outcomes = request.build_remote(source, engines, remote, install=install, progress=bars)
                built = _successes(outcomes, failures)
            else:
                built = [request.build(source, engines, bars)]
        except EvitError as error:
            if model:
                raise
            typer.echo(f"evit-deploy: {error}", err=True)
            failures.append(error)
            continue
        results += built
        for one in built:
            warn(one.manifest)
            if not json:
                _report(one, level)
    if json:
        print_json([to_json(one.manifest) for one in results])
    if failures:
        raise typer.Exit(max(error.exit_code for error in failures))
    if require_compiled:
        _require_compiled(results)


def _successes(outcomes: list[Outcome], failures: list[EvitError]) -> list[Built]:
    """The engines that devices built; what went wrong on others is said, and kept."""
    from evit_deploy.engines.request import Built

    built = []
    for outcome in outcomes:
        if outcome.error is not None:
            typer.echo(f"evit-deploy: {outcome.error}", err=True)
            failures.append(outcome.error)
        elif outcome.manifest is not None:
            built.append(Built(outcome.folder, outcome.manifest, outcome.written))
    return built


def _precision(*wanted: bool) -> str | None:
    """The one precision asked for, if any."""
    chosen = [name for name, is_wanted in zip(PRECISIONS, wanted, strict=True) if is_wanted]
    if len(chosen) > 1:
        raise UsageError("an engine has one precision", found=" ".join(f"--{name}" for name in chosen))
    return chosen[0] if chosen else None


def _sizes(prompts: str | None, points: int | None) -> Sizes | None:
    """The sizes of mask decoders that were asked for, if any."""
    if prompts is None and points is None:
        return None
    from evit_deploy.engines.bundle import POINTS, PROMPTS, Sizes

    try:
        counts = PROMPTS if prompts is None else tuple(int(count) for count in prompts.split(","))
    except ValueError:
        raise UsageError(
            "these are no numbers of prompts", found=f"--prompts {prompts}", expected="such as 1,8,64"
        ) from None
    return Sizes(counts, POINTS if points is None else points)


def _engine(workspace: Path, name: str, request: Request) -> Path | None:
    """The engine that a name or path stands for, if there is no such export; a device has engines only."""
    from evit_deploy.manifest import kind_of
    from evit_deploy.manifest.store import MANIFEST

    places = [Path(name), workspace / "export" / name, workspace / "engines" / name]
    if request.target is not None:  # the name of the export it was lowered from
        wanted = (request, replace(request, arch=None))
        places += [one.folder(workspace / "engines", Path(name), remote=True) for one in wanted]
    for place in places:
        if (place / MANIFEST).is_file():
            return place if kind_of(place) == "engine" else None
    return None


def _checked(request: Request, engine: Path | None, *, remote: bool) -> Request:
    """What is left to do, with an engine that is there or else from an export."""
    from evit_deploy.engines.int8_options import require_options

    if engine is not None:
        request = request.of_engine(engine)
    request.check(remote=remote)
    if engine is None:
        require_options(request.precision or "fp32", request.int8)
    return request


def _exports(workspace: Path) -> list[Path]:
    # Hidden folders are those of writers at work, or killed at it.
    found = sorted(path.parent for path in (workspace / "export").glob("[!.]*/manifest.json"))
    if not found:
        raise UsageError(f"there is no export in {workspace / 'export'}", fix="evit-deploy export MODEL")
    return found


def _report(built: Built, level: int | None) -> None:
    from evit_deploy.manifest import Bundle

    folder, manifest, engines = built.folder, built.manifest, built.engines
    if not built.written:
        typer.echo(f"nothing to do: {folder} is exactly this engine")
    if isinstance(manifest, Bundle):
        typer.echo("from picture to masks:")
    agreement_table(manifest.agreement)
    for place, part in engines.items():
        for note in part.engine.notes if part.engine else ():
            typer.echo(f"{place.name}: {note}" if len(engines) > 1 else note)
        if part.engine and part.engine.int8:
            print_int8(part.engine.int8)
    open_parts = [place for place, part in engines.items() if part.engine and part.engine.state == "lowered"]
    if open_parts:
        _report_lowered(built, open_parts, level)
    else:
        _report_compiled(folder, manifest, engines)


def _report_compiled(folder: Path, manifest: Manifest | Bundle, engines: dict[Path, Manifest]) -> None:
    from evit_deploy.manifest import ITSELF

    first, info = next((place, part.engine) for place, part in engines.items())
    assert info is not None
    typer.echo(f"\n{folder}  by {info.compiler} {info.compiler_version}")
    if manifest.agreement.method != ITSELF:
        typer.echo(f"checked by {manifest.agreement.method}; no GPU has run it")
        typer.echo(f"next:  evit-deploy inspect {first}")
        return
    typer.echo(f"next:  evit-deploy run {folder} IMAGE    or    evit-deploy profile {folder}")


def _report_lowered(built: Built, parts: list[Path], level: int | None) -> None:
    from evit_deploy.engines.compiler import obstacles

    folder, engine = built.folder, built.engines[parts[0]].engine
    assert engine is not None
    typer.echo(f"\n{folder}  lowered, checked by {built.manifest.agreement.method}")
    for reason in obstacles(find_target(engine.target), engine.precision):
        typer.echo(f"not compiled here: {reason}")
    options = "" if level is None else f" --optimization-level {level}"
    typer.echo(f"next:  evit-deploy build {folder} --remote USER@HOST{options}")
    typer.echo(f"or copy {folder} to the device, and there:  evit-deploy build {folder.name}{options}")
    typer.echo("or there with TensorRT's own tool (TensorRT 10; 11 needs no --stronglyTyped):")
    for part in parts:
        typer.echo(f"  {trtexec(part, built.engines[part])}")


def trtexec(folder: Path, manifest: Manifest) -> str:
    """The command that compiles a lowered engine on its device, for TensorRT 10."""
    graph, (low, high) = manifest.graph, manifest.graph.batch
    parts = ["trtexec", f"--onnx={folder / graph.file}", "--stronglyTyped", "--saveEngine=engine.plan"]
    if graph.precision == "fp32":
        parts.append("--noTF32")  # what was verified is FP32
    if low != high:
        for option, batch in (("min", low), ("opt", high), ("max", high)):
            shapes = [(t.name, "x".join(map(str, (batch, *t.shape[1:])))) for t in graph.inputs if t.shape[0] == -1]
            parts.append(f"--{option}Shapes={','.join(f'{name}:{shape}' for name, shape in shapes)}")
    return shlex.join(parts)


def _require_compiled(results: list[Built]) -> None:
    """Fail where an engine stays lowered; it has been written, and said how to go on."""
    from evit_deploy.engines.compiler import obstacles

    for built in results:
        infos = [part.engine for part in built.engines.values() if part.engine]
        engine = next((info for info in infos if info.state == "lowered"), None)
        if engine is not None:
            raise UnavailableError(
                f"{built.folder} is lowered, not compiled",
                found="; ".join(obstacles(find_target(engine.target), engine.precision)) or None,
                fix=f"evit-deploy build {built.folder} --remote USER@HOST",
            )
