# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy build``: an export in, a verified engine out."""

from __future__ import annotations

import datetime
import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import evit_deploy
from evit_deploy.agreement import BUDGETS, require
from evit_deploy.engines.compiler import Compiler, choose_arch, choose_compiler
from evit_deploy.engines.lowering import check_opset, emulated, lower_graph, lowering_key
from evit_deploy.errors import ArtifactError, EvitError, UnavailableError, UsageError, extra
from evit_deploy.manifest import (
    EngineInfo,
    GraphInfo,
    Manifest,
    content_key,
    read_artifact,
    read_existing,
    write_artifact,
)
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime.engine import open_engine
from evit_deploy.runtime.verify import REFERENCE, Reference, verify
from evit_deploy.targets import TargetSpec, find_target
from evit_deploy.targets.machine import describe


def build_engine(
    export: Path,
    folder: Path,
    *,
    target: str,
    precision: str = "fp32",
    compiler: str | None = None,
    arch: str | None = None,
    attention: str | None = None,
    progress: Progress = silent,
) -> tuple[Manifest, bool]:
    """Compile an export for a target, and write the engine only if it agrees with PyTorch.

    For a GPU the graph is lowered first: rearranged, typed, and proven by faithful emulation. Where the target compiles
    on the device itself, the engine stays in that state, "lowered".

    Args:
        export: Folder written by ``evit-deploy export``.
        folder: Where to write, such as ``engines/b1-seg.cpu.fp32``.
        target: Name of the target.
        precision: One of the target's.
        compiler: Name of the compiler; None takes the target's best one that is installed.
        arch: GPU architecture to compile for, such as "sm86", where the compiler can be told; None takes that of the
            GPU at hand.
        attention: Arrangement of the attention, for GPUs; None takes the target's.
        progress: Told about every step.

    Returns:
        The manifest, and whether anything was written: False if the folder already holds exactly this engine.

    Raises:
        UsageError: No such export or target, or a precision or architecture that the target does not have.
        ArtifactError: The export is damaged.
        UnavailableError: No compiler here can do it.
        CheckFailedError: The engine does not agree with PyTorch.
    """
    spec = find_target(target)
    chosen = choose_compiler(spec, precision, compiler)
    arch = choose_arch(chosen, spec, arch)
    form = choose_attention(spec, attention)
    with progress("check the export"):
        source = read_artifact(export)
        if source.kind != "export":
            raise UsageError(f"{export} is an engine, not an export", fix="name the model or its export folder")
        if REFERENCE not in source.files:
            raise ArtifactError(f"{export} lists no {REFERENCE}", fix="write the export again, or copy it again")
        check_opset(source.graph.opset, spec)
    if form == "conv" and source.graph.batch != (1, 1):
        form = "matmul"  # a convolution has one set of weights for the whole batch
    key = _key(source, spec, precision, chosen, arch, form)
    if (existing := read_existing(folder, key)) is not None:
        return existing, False
    with write_artifact(folder) as writer:
        shutil.copyfile(export / REFERENCE, writer.folder / REFERENCE)
        graph, notes = _graph(source, export, writer.folder, precision, form, progress)
        source = replace(source, graph=graph)
        entry = graph.file
        if chosen is not None:
            with progress(f"compile with {chosen.name}"):
                entry = _compile(chosen, writer.folder / graph.file, precision, arch)
        manifest = _manifest(source, spec, precision, chosen, arch, entry, key)
        assert manifest.engine is not None
        if form is not None:
            reason = f"the choice for {spec.name}"
            if form != (attention or spec.attention):
                reason = "because 'conv' is for batch 1"
            elif attention:
                reason = "as asked for"
            notes = (f"attention arranged as '{form}', {reason}", *notes)
            manifest = replace(manifest, engine=replace(manifest.engine, attention=form, notes=notes))
        manifest = _verified(writer.folder, manifest, spec, progress)
        return writer.commit(manifest), True


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
        from evit_deploy.precision.attention import FORMS
    if name not in FORMS:
        raise UsageError(f"there is no attention '{name}'", expected=f"one of {', '.join(FORMS)}")
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


def _key(
    source: Manifest, spec: TargetSpec, precision: str, compiler: Compiler | None, arch: str | None, form: str | None
) -> str:
    return content_key(
        export=source.key,
        graph=source.files[source.graph.file].sha256,
        reference=source.files[REFERENCE].sha256,
        target=spec.name,
        precision=precision,
        compiler=[compiler.name, compiler.version()] if compiler else None,
        arch=arch,
        attention=form,
        lowering=lowering_key() if form else None,
        machine=describe()["processor"],
        tool=evit_deploy.__version__,
    )


def _graph(
    source: Manifest, export: Path, folder: Path, precision: str, form: str | None, progress: Progress
) -> tuple[GraphInfo, tuple[str, ...]]:
    """Put the graph that is compiled into the engine's folder: the export's own, or typed for a GPU."""
    path = export / source.graph.file
    if form is None:
        shutil.copyfile(path, folder / source.graph.file)
        return source.graph, ()
    with progress(f"lower to {precision}"):
        return lower_graph(path, folder / source.graph.file, source.graph, precision, form)


def _compile(compiler: Compiler, graph: Path, precision: str, arch: str | None) -> str:
    """Compile a graph into its own folder; what compilers raise is put into words."""
    try:
        return compiler.compile(graph, graph.parent, precision, arch)
    except (EvitError, OSError):
        raise
    except Exception as error:  # every compiler has kinds of its own
        if shutil.disk_usage(graph.parent).free < graph.stat().st_size:
            # OpenVINO calls it "iostream error", ONNX Runtime "serialization failed".
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(graph.parent)) from error
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UnavailableError(
            f"{compiler.name} {compiler.version()} cannot compile the graph in {precision}",
            found=reason[-1],
            fix="try another --compiler; --debug shows all that it says",
        ) from error


def _manifest(
    source: Manifest,
    spec: TargetSpec,
    precision: str,
    compiler: Compiler | None,
    arch: str | None,
    entry: str,
    key: str,
) -> Manifest:
    engine = EngineInfo(
        target=spec.name,
        precision=precision,
        state="compiled" if compiler else "lowered",
        compiler=compiler.name if compiler else "",
        compiler_version=(compiler.version() or "") if compiler else "",
        backend=compiler.backend if compiler else "",
        entry=entry,
        machine={**describe(), **({"arch": arch} if arch else {})},
    )
    created = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return replace(source, kind="engine", key=key, created=created, tool=evit_deploy.__version__, engine=engine)


def _verified(folder: Path, manifest: Manifest, spec: TargetSpec, progress: Progress) -> Manifest:
    """Run the reference frames, by the engine as a robot would or by its graph's emulation, and keep the comparison."""
    assert manifest.engine is not None
    precision, compiler = manifest.engine.precision, manifest.engine.compiler
    reference = Reference.load(folder)
    if spec.attention is None:
        with progress("load the engine"):
            engine = open_engine(folder, manifest)
        with engine, progress("verify against PyTorch", len(reference.names)) as step:
            agreement = verify(engine.infer, manifest, reference, BUDGETS[precision], step.advance)
        subject, fix = f"the {precision} engine compiled by {compiler}", "try another --compiler, and report it"
    else:
        with progress("prepare the emulation"):
            infer, method = emulated(folder, manifest)
        with progress("verify against PyTorch", len(reference.names)) as step:
            agreement = verify(infer, manifest, reference, BUDGETS[precision], step.advance)
        agreement = replace(agreement, method=method)
        subject, fix = (
            f"the typed {precision} graph",
            "evit-deploy export … --check-range shows which tensors are large",
        )
    require(agreement, subject, "build with --fp32" if precision == "bf16" else fix)
    return replace(manifest, agreement=agreement)
