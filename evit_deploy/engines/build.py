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
from evit_deploy.engines.compiler import Compiler, choose_compiler
from evit_deploy.errors import ArtifactError, EvitError, UnavailableError, UsageError
from evit_deploy.manifest import (
    EngineInfo,
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
    progress: Progress = silent,
) -> tuple[Manifest, bool]:
    """Compile an export for a target, and write the engine only if it agrees with PyTorch.

    Args:
        export: Folder written by ``evit-deploy export``.
        folder: Where to write, such as ``engines/b1-seg.cpu.fp32``.
        target: Name of the target.
        precision: "fp32" or "bf16".
        compiler: Name of the compiler; None takes the target's best one that is installed.
        progress: Told about every step.

    Returns:
        The manifest, and whether anything was written: False if the folder already holds exactly this engine.

    Raises:
        UsageError: No such export or target, or a precision that the target does not have.
        ArtifactError: The export is damaged.
        UnavailableError: No compiler here can do it.
        CheckFailedError: The engine does not agree with PyTorch.
    """
    spec = find_target(target)
    chosen = choose_compiler(spec, precision, compiler)
    with progress("check the export"):
        source = read_artifact(export)
        if source.kind != "export":
            raise UsageError(f"{export} is an engine, not an export", fix="name the model or its export folder")
        if REFERENCE not in source.files:
            raise ArtifactError(f"{export} lists no {REFERENCE}", fix="write the export again, or copy it again")
    key = _key(source, spec, precision, chosen)
    if (existing := read_existing(folder, key)) is not None:
        return existing, False
    with write_artifact(folder) as writer:
        for file in (source.graph.file, REFERENCE):
            shutil.copyfile(export / file, writer.folder / file)
        with progress(f"compile with {chosen.name}"):
            entry = _compile(chosen, writer.folder / source.graph.file, precision)
        manifest = _manifest(source, spec, precision, chosen, entry, key)
        manifest = _verified(writer.folder, manifest, progress)
        return writer.commit(manifest), True


def engine_name(export: Path, target: str, precision: str, compiler: str | None = None) -> str:
    """Folder name of an engine; a compiler that was named explicitly becomes part of it."""
    return ".".join([export.resolve().name, target, precision, *([compiler] if compiler else [])])


def _key(source: Manifest, spec: TargetSpec, precision: str, compiler: Compiler) -> str:
    return content_key(
        export=source.key,
        graph=source.files[source.graph.file].sha256,
        reference=source.files[REFERENCE].sha256,
        target=spec.name,
        precision=precision,
        compiler=[compiler.name, compiler.version()],
        machine=describe()["processor"],
        tool=evit_deploy.__version__,
    )


def _compile(compiler: Compiler, graph: Path, precision: str) -> str:
    """Compile a graph into its own folder; what compilers raise is put into words."""
    try:
        return compiler.compile(graph, graph.parent, precision)
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


def _manifest(source: Manifest, spec: TargetSpec, precision: str, compiler: Compiler, entry: str, key: str) -> Manifest:
    engine = EngineInfo(
        target=spec.name,
        precision=precision,
        state="compiled",
        compiler=compiler.name,
        compiler_version=compiler.version() or "",
        backend=compiler.backend,
        entry=entry,
        machine=describe(),
    )
    created = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return replace(source, kind="engine", key=key, created=created, tool=evit_deploy.__version__, engine=engine)


def _verified(folder: Path, manifest: Manifest, progress: Progress) -> Manifest:
    """Load the engine as a robot would, run the reference frames, and keep the comparison."""
    assert manifest.engine is not None
    reference = Reference.load(folder)
    with progress("load the engine"):
        engine = open_engine(folder, manifest)
    precision = manifest.engine.precision
    with engine, progress("verify against PyTorch", len(reference.names)) as step:
        agreement = verify(engine.infer, manifest, reference, BUDGETS[precision], step.advance)
    fix = "build with --fp32" if precision != "fp32" else "try another --compiler, and report it"
    require(agreement, f"the {precision} engine compiled by {manifest.engine.compiler}", fix)
    return replace(manifest, agreement=agreement)
