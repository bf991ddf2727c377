# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy build``: an export in, a verified engine out."""

from __future__ import annotations

import shutil
from pathlib import Path

from evit_deploy.engines.compilation import (
    as_lowered,
    compile_into,
    compiled_key,
    copy_lowered,
    read_compiled,
    run_compiler,
    verified,
)
from evit_deploy.engines.compiler import Compiler, Job, choose_arch, choose_compiler, require_precision
from evit_deploy.engines.int8_options import Int8Options
from evit_deploy.engines.lowered import Lowering, engine_manifest, inputs_key
from evit_deploy.engines.lowering import Fixed, check_opset
from evit_deploy.errors import ArtifactError, UsageError, extra
from evit_deploy.manifest import (
    EngineInfo,
    Manifest,
    content_key,
    read_artifact,
    read_existing,
    write_artifact,
)
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime.reference import REFERENCE
from evit_deploy.targets import TargetSpec, find_target
from evit_deploy.targets.machine import describe

CPU_FORM = 2
"""Raised whenever what is made of a graph for a CPU changes, so that earlier engines are built again."""


def build_engine(
    export: Path,
    folder: Path,
    *,
    target: str,
    precision: str = "fp32",
    compiler: str | None = None,
    arch: str | None = None,
    attention: str | None = None,
    level: int | None = None,
    fixed: Fixed | None = None,
    int8: Int8Options | None = None,
    notes: tuple[str, ...] = (),
    progress: Progress = silent,
) -> tuple[Manifest, bool]:
    """Compile an export for a target, and write the engine only if it agrees with PyTorch.

    For a GPU the graph is lowered first: rearranged, typed, and proven by faithful emulation. Where no compiler of the
    target works on this machine, the engine stays in that state, "lowered".

    Args:
        export: Folder written by ``evit-deploy export``.
        folder: Where to write, such as ``engines/b1-seg.cpu.fp32``.
        target: Name of the target.
        precision: One of the target's.
        compiler: Name of the compiler; None takes the target's best one that works here.
        arch: GPU architecture to compile for, such as "sm86", where the compiler can be told; None takes that of the
            GPU at hand.
        attention: Arrangement of the attention, for GPUs; None takes the target's.
        level: How long the compiler searches for fast kernels, in its own scale; None takes its default.
        fixed: Sizes of a mask decoder for a GPU; None for any other graph.
        int8: What to calibrate and judge an INT8 engine with; None for another precision.
        notes: What the manifest of an engine for a CPU shall say of how it came about.
        progress: Told about every step.

    Returns:
        The manifest, and whether anything was written: False if the folder already holds exactly this engine.

    Raises:
        UsageError: No such export or target, or a precision or architecture that the target does not have.
        ArtifactError: The export is damaged.
        UnavailableError: No compiler here can do it.
        CheckFailedError: The engine does not agree with PyTorch, or INT8 is not worth having.
    """
    spec = find_target(target)
    chosen = choose_compiler(spec, precision, compiler)
    arch = choose_arch(chosen, spec, arch)
    form = choose_attention(spec, attention)
    source = _read_export(export, spec, progress)
    if form is None:
        assert chosen is not None
        if level is not None:
            raise UsageError(
                f"{chosen.name} has no optimisation level", found=f"--optimization-level {level}", fix="leave it out"
            )
        return _build_as_exported(source, export, folder, spec, precision, chosen, notes, progress)
    lowering = Lowering(export, source, spec, precision, form, attention is not None, fixed, int8)
    if chosen is None:
        existing = _read_lowered(folder, lowering.key)
    else:
        existing = read_compiled(folder, compiled_key(lowering.key, chosen, arch, level))
    if existing is not None and _is_searched(existing):
        return existing, False
    with write_artifact(folder) as writer:
        if (before := _read_lowered(folder, lowering.key)) is not None and _is_searched(before):
            manifest = as_lowered(folder, before)
            copy_lowered(folder, manifest, writer.folder)
        else:
            manifest = lowering.write(writer.folder, progress)
        if chosen is not None:
            manifest = compile_into(writer.folder, manifest, chosen, arch, level, progress)
        return writer.commit(manifest), True


def lower_engine(
    export: Path,
    folder: Path,
    *,
    target: str,
    precision: str = "fp32",
    attention: str | None = None,
    fixed: Fixed | None = None,
    int8: Int8Options | None = None,
    progress: Progress = silent,
) -> tuple[Manifest, bool]:
    """Do the half of `build_engine` for a GPU that needs no device, even where this machine could compile.

    An engine in the folder that was compiled from exactly this graph stays: it holds the lowered one.
    """
    spec = find_target(target)
    require_precision(spec, precision)
    form = choose_attention(spec, attention)
    if form is None:
        raise UsageError(f"{spec.name} runs graphs as exported", fix=f"evit-deploy build … --target {spec.name}")
    source = _read_export(export, spec, progress)
    lowering = Lowering(export, source, spec, precision, form, attention is not None, fixed, int8)
    if (existing := _read_lowered(folder, lowering.key)) is not None and _is_searched(existing):
        return existing, False
    with write_artifact(folder) as writer:
        return writer.commit(lowering.write(writer.folder, progress)), True


def choose_attention(spec: TargetSpec, name: str | None) -> str | None:
    """The arrangement of the attention for a target; None where graphs run as exported.

    Raises:
        UsageError: No such arrangement, or a choice for a target that has none.
        MissingExtraError: A choice where nothing can be lowered.
    """
    if name is None:
        return spec.attention
    if spec.attention is None:
        raise UsageError(f"{spec.name} runs graphs as exported", found=f"--attention {name}", fix="leave it out")
    with extra("export", "Lowering a graph"):
        from evit_deploy.precision.attention import find_form
    find_form(name)
    return name


def engine_name(
    export: Path,
    target: str,
    precision: str,
    compiler: str | None = None,
    arch: str | None = None,
    attention: str | None = None,
) -> str:
    """Folder name of an engine; the architecture, and what was asked for explicitly, become part of it."""
    machine = f"{target}-{arch}" if arch else target
    return ".".join([export.resolve().name, machine, precision, *filter(None, (compiler, attention))])


def _read_export(export: Path, spec: TargetSpec, progress: Progress) -> Manifest:
    with progress("check the export"):
        source = read_artifact(export)
        if source.kind != "export":
            raise UsageError(f"{export} is an engine, not an export", fix="name the model or its export folder")
        if REFERENCE not in source.files:
            raise ArtifactError(f"{export} lists no {REFERENCE}", fix="write the export again, or copy it again")
        check_opset(source.graph.opset, spec)
    return source


def _read_lowered(folder: Path, key: str) -> Manifest | None:
    """The engine in a folder, if it is whole and holds the lowered engine of a key, compiled or not; else None."""
    try:
        manifest = read_artifact(folder)
        return manifest if as_lowered(folder, manifest).key == key else None
    except (UsageError, ArtifactError):
        return None


def _is_searched(manifest: Manifest) -> bool:
    """Whether nothing is left to search for: where time was up, building again goes on."""
    int8 = manifest.engine.int8 if manifest.engine else None
    return int8 is None or int8.complete


def _build_as_exported(
    source: Manifest,
    export: Path,
    folder: Path,
    spec: TargetSpec,
    precision: str,
    compiler: Compiler,
    notes: tuple[str, ...],
    progress: Progress,
) -> tuple[Manifest, bool]:
    """Build for a machine whose compiler takes the export as it is."""
    key = content_key(
        **inputs_key(source), target=spec.name, precision=precision, compiler=[compiler.name, compiler.version()],
        machine=describe()["processor"], form=CPU_FORM,
    )  # fmt: skip
    if (existing := read_existing(folder, key)) is not None:
        return existing, False
    with write_artifact(folder) as writer:
        for name in (REFERENCE, source.graph.file):
            shutil.copyfile(export / name, writer.folder / name)
        job = Job(writer.folder / source.graph.file, writer.folder, precision, batch=source.graph.batch)
        entry = run_compiler(compiler, job, progress)
        engine = EngineInfo(
            spec.name, precision, "compiled", compiler.name, compiler.version() or "", compiler.backend, entry,
            describe(), notes=notes,
        )  # fmt: skip
        manifest = engine_manifest(source, key, engine)
        return writer.commit(verified(writer.folder, manifest, progress)), True
