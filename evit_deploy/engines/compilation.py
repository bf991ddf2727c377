# SPDX-License-Identifier: Apache-2.0
"""The half of a build that belongs to a device: a lowered engine compiled, and run there where it can run.

Needs neither PyTorch nor onnx: what a device must know travels with the lowered engine, and stays beside the compiled
one, so that any of them can be compiled again.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import evit_deploy
from evit_deploy.agreement import budget_for, require
from evit_deploy.engines.compiler import Compiler, Job, choose_arch, choose_compiler
from evit_deploy.engines.flops import MATH
from evit_deploy.errors import ArtifactError, EvitError, UnavailableError, UsageError
from evit_deploy.manifest import (
    ITSELF,
    LoweredInfo,
    Manifest,
    content_key,
    file_info,
    read_existing,
    utc_now,
    write_artifact,
)
from evit_deploy.manifest.signing import read_trusted
from evit_deploy.precision.merging import FACTORS
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime.backends import obstacle
from evit_deploy.runtime.engine import open_engine
from evit_deploy.runtime.reference import REFERENCE
from evit_deploy.runtime.verify import load_reference, verify
from evit_deploy.targets import find_target
from evit_deploy.targets.device import Device, machine_record, this_device
from evit_deploy.targets.differences import differences
from evit_deploy.targets.machine import describe

_FIXES = {"int8": "build with --fp16, and report it: docs/int8.md names what TensorRT has had no INT8 kernels for"}


def compile_engine(
    source: Path,
    folder: Path,
    *,
    compiler: str | None = None,
    arch: str | None = None,
    level: int | None = None,
    trusted_keys: str | Path | None = None,
    progress: Progress = silent,
) -> tuple[Manifest, bool]:
    """Compile a lowered engine with what this machine has, run its reference frames, and write it if they agree.

    Where the result cannot run on this machine, the agreement stays that of the typed graph's emulation.

    Args:
        source: Folder of an engine for a GPU, lowered or already compiled somewhere.
        folder: Where to write; may be `source` itself, which then stays as it is until the new one is whole.
        compiler: Name of the compiler; None takes the target's best one that works here.
        arch: GPU architecture, where the compiler can be told; None takes that of the GPU at hand.
        level: How long the compiler searches for fast kernels, in its own scale.
        trusted_keys: Keys one of which must have signed `source`, as for `evit_deploy.load`.
        progress: Told about every step.

    Returns:
        The manifest, and whether anything was written: False if the folder already holds exactly this engine.

    Raises:
        UsageError: Not such an engine, or an option that its target does not have.
        ArtifactError: It is damaged.
        UnavailableError: This machine cannot compile it; the message says why.
        CheckFailedError: The compiled engine does not agree with PyTorch.
    """
    with progress("check the lowered engine"):
        manifest = read_trusted(source, trusted_keys)
    return compile_checked(source, manifest, folder, compiler, arch, level, progress)


def compile_checked(
    source: Path,
    manifest: Manifest,
    folder: Path,
    compiler: str | None,
    arch: str | None,
    level: int | None,
    progress: Progress,
) -> tuple[Manifest, bool]:
    """`compile_engine` for an engine whose manifest was read, and whose files and signature were checked, already."""
    manifest = as_lowered(source, manifest)
    assert manifest.engine is not None
    spec = find_target(manifest.engine.target)
    chosen = choose_compiler(spec, manifest.engine.precision, compiler, required=True)
    assert chosen is not None
    arch = choose_arch(chosen, spec, arch)
    key = compiled_key(manifest.key, chosen, arch, level)
    if (existing := read_compiled(folder, key)) is not None:
        return existing, False
    with write_artifact(folder) as writer:
        copy_lowered(source, manifest, writer.folder)
        return writer.commit(compile_into(writer.folder, manifest, chosen, arch, level, progress)), True


def compiled_key(lowered: str, compiler: Compiler, arch: str | None, level: int | None) -> str:
    """Hash of everything a compiled engine is made from, among it the key of the lowered one.

    What compiles for the GPU at hand depends on that too, and on what its power mode leaves of it.
    """
    return content_key(
        lowered=lowered,
        compiler=[compiler.name, compiler.version()],
        arch=arch,
        level=level,
        device=None if compiler.archs() else _identity(this_device()),
        tool=evit_deploy.__version__,
    )


def read_compiled(folder: Path, key: str) -> Manifest | None:
    """The compiled engine in a folder, if it is whole and exactly that of a key; else None.

    One that was never run is not it where it can be run: it is compiled again, and proven then.
    """
    existing = read_existing(folder, key)
    if existing is None or existing.agreement.method == ITSELF or obstacle(existing) is not None:
        return existing
    return None


def as_lowered(folder: Path, manifest: Manifest) -> Manifest:
    """What the manifest of an engine said, or would say, before it was compiled.

    Raises:
        UsageError: Not an engine for a GPU.
        ArtifactError: Compiled by a version that did not keep what is needed.
    """
    engine = manifest.engine
    if engine is None or find_target(engine.target).attention is None:
        raise UsageError(
            f"{folder} cannot be compiled",
            found="an export" if engine is None else f"an engine for {engine.target}, which runs graphs as exported",
            expected="an engine for a GPU, lowered or compiled",
            fix=f"evit-deploy build {manifest.model.name} --target {engine.target if engine else 'orin --fp16'}",
        )
    if engine.state == "lowered":
        return manifest
    if engine.lowered is None:
        raise ArtifactError(
            f"{folder} does not say what it was compiled from",
            found=f"written by evit-deploy {manifest.tool}",
            fix="build it from its export again",
        )
    info = replace(
        engine, state="lowered", compiler="", compiler_version="", backend="", entry=manifest.graph.file,
        machine={}, notes=engine.lowered.notes, lowered=None,
    )  # fmt: skip
    files = {name: manifest.files[name] for name in lowered_files(manifest)}
    return replace(manifest, key=engine.lowered.key, agreement=engine.lowered.agreement, engine=info, files=files)


def lowered_files(manifest: Manifest) -> tuple[str, ...]:
    """Names of the files of a lowered engine: its graph, the reference, what it computes, factors of its weights."""
    return tuple(name for name in (manifest.graph.file, REFERENCE, MATH, FACTORS) if name in manifest.files)


def copy_lowered(source: Path, manifest: Manifest, folder: Path) -> None:
    """Copy what an engine has of the lowered one; `manifest` is that of `as_lowered`.

    Raises:
        ArtifactError: A file is not the one that the manifest lists.
    """
    for name in lowered_files(manifest):
        shutil.copyfile(source / name, folder / name)
        if file_info(folder / name) != manifest.files[name]:
            raise ArtifactError(f"{source / name} changed while it was copied", fix="run the command again")


def compile_into(
    folder: Path, lowered: Manifest, compiler: Compiler, arch: str | None, level: int | None, progress: Progress
) -> Manifest:
    """Compile the lowered engine whose files are in a folder; return the manifest of the result.

    Raises:
        UnavailableError: The compiler cannot.
        CheckFailedError: The result runs here and does not agree with PyTorch.
    """
    assert lowered.engine is not None
    graph, engine = lowered.graph, lowered.engine
    job = Job(folder / graph.file, folder, engine.precision, arch, graph.batch, level)
    entry = run_compiler(compiler, job, progress)
    device = None if compiler.archs() else this_device()
    before = LoweredInfo(lowered.key, engine.notes, lowered.agreement)
    engine = replace(
        engine,
        state="compiled",
        compiler=compiler.name,
        compiler_version=compiler.version() or "",
        backend=compiler.backend,
        entry=entry,
        machine={**describe(), **({"arch": arch} if arch else {}), **(machine_record(device) if device else {})},
        notes=(*engine.notes, *_notes(device, engine.target)),
        lowered=before,
    )
    manifest = replace(
        lowered, key=compiled_key(lowered.key, compiler, arch, level), created=utc_now(), tool=evit_deploy.__version__,
        engine=engine, files={entry: file_info(folder / entry)},
    )  # fmt: skip
    reason = obstacle(manifest)
    if reason is None:
        return verified(folder, manifest, progress)
    if not compiler.archs():  # it compiles for the GPU at hand, so it is for nothing else to run
        raise UnavailableError(
            f"what {compiler.name} compiled cannot be verified here", found=reason, fix="evit-deploy doctor"
        )
    return replace(manifest, engine=replace(engine, notes=(*engine.notes, f"not run where it was compiled: {reason}")))


def _notes(device: Device | None, target: str) -> Iterator[str]:
    """How the device that compiled differs from the target; clocks that follow the load are no difference for long."""
    for row in differences(device, find_target(target)) if device else ():
        if row.what != "clocks":
            yield f"compiled on a device whose {row.what} is {row.found}, where {target} has {row.expected}"


def run_compiler(compiler: Compiler, job: Job, progress: Progress) -> str:
    """Compile a graph; what compilers raise is put into words."""
    try:
        return compiler.compile(job, progress)
    except (EvitError, OSError):
        raise
    except Exception as error:  # every compiler has kinds of its own
        if shutil.disk_usage(job.folder).free < job.graph.stat().st_size:
            # OpenVINO calls it "iostream error", ONNX Runtime "serialization failed".
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(job.folder)) from error
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UnavailableError(
            f"{compiler.name} {compiler.version()} cannot compile the graph in {job.precision}",
            found=reason[-1],
            fix=_FIXES.get(job.precision, "try another --compiler; --debug shows all that it says"),
        ) from error


def verified(folder: Path, manifest: Manifest, progress: Progress) -> Manifest:
    """Run the reference frames by the engine, as a robot would, and keep the comparison.

    Raises:
        CheckFailedError: It does not agree with PyTorch.
    """
    assert manifest.engine is not None
    engine_info, reference = manifest.engine, load_reference(folder, manifest)
    with progress("load the engine"):
        engine = open_engine(folder, manifest)
    with engine, progress("verify against PyTorch", len(reference.names)) as step:
        agreement = verify(
            engine.infer, manifest, reference, budget_for(engine_info.precision, manifest.model.task), step.advance
        )
    fix = "build with --fp32" if engine_info.precision == "bf16" else "try another --compiler, and report it"
    if engine_info.lowered is not None:  # the typed graph was right, so it is what the compiler made of it
        fix = "lower it again with --attention matmul or portable, or --fp32, and report it"
    subject = f"the {engine_info.precision} engine compiled by {engine_info.compiler}"
    require(agreement, subject, fix)
    return replace(manifest, agreement=agreement)


def _identity(device: Device | None) -> dict[str, str] | None:
    """What a plan depends on: the GPU and its board, what the power mode leaves of it, and the release that runs it."""
    kept = ("gpu", "board", "compute capability", "multiprocessors", "power mode", "l4t")
    return None if device is None else {name: text for name, text in machine_record(device).items() if name in kept}
