# SPDX-License-Identifier: Apache-2.0
"""``build --remote``: a lowered engine compiled and verified on a device, and fetched from there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from evit_deploy.engines.bundle import write_parts
from evit_deploy.engines.remote.client import AgentClient, Result
from evit_deploy.engines.remote.device import examine, require_able, require_installed
from evit_deploy.engines.remote.install import install_there
from evit_deploy.engines.remote.job import PROFILE
from evit_deploy.engines.remote.package import pack, travelling
from evit_deploy.engines.remote.ssh import Cancelled
from evit_deploy.engines.remote.store import Store, cache_folder, old_entries
from evit_deploy.errors import ArtifactError
from evit_deploy.manifest import Bundle, Manifest, content_key, read_bundle, read_existing, write_artifact
from evit_deploy.manifest.store import sha256_of
from evit_deploy.progress import Progress, silent
from evit_deploy.targets import find_target


def build_remote(
    lowered: Path,
    folder: Path,
    host: str,
    *,
    arch: str | None = None,
    compiler: str | None = None,
    level: int | None = None,
    install: bool = False,
    progress: Progress = silent,
    cancelled: Cancelled | None = None,
) -> tuple[Manifest, bool]:
    """Compile a lowered engine on a device, and write what it built here.

    After a lost link the same call goes on where the last one stopped, here and there.

    Args:
        lowered: Folder of an engine for a GPU, lowered or compiled.
        folder: Where to write; may be `lowered` itself, which then stays as it is until the new one is whole.
        host: "user@host", a name of the user's ssh configuration, or "ssh://user@host:port".
        arch: GPU architecture, where the compiler can be told; None takes that of the GPU there.
        compiler: Name of the compiler; None takes the target's best one that works there.
        level: How long the compiler searches for fast kernels, in its own scale.
        install: Install this version of evit-deploy there, in a virtual environment of its own, if it is not there.
        progress: Told about every step, here and there.
        cancelled: Set by another thread to end the build there, as Ctrl-C does in the main one.

    Returns:
        The manifest, and whether anything was written: False if the folder already holds exactly this engine.

    Raises:
        UsageError: Not such an engine or host, or an option that its target does not have.
        ArtifactError: The engine is damaged, or what came from the device is.
        UnavailableError: The device cannot be reached, or cannot build it; the message says why.
        CheckFailedError: The compiled engine does not agree with PyTorch there.
        KeyboardInterrupt: Ctrl-C, or `cancelled`; the build there was ended.
    """
    sent = travelling(lowered)
    engine = sent.engine
    assert engine is not None
    spec = find_target(engine.target)
    options = {"compiler": compiler, "arch": arch, "level": level}
    with progress("examine the device"):
        report = examine(host, cancelled)
    if install and install_there(host, progress, cancelled):
        report = examine(host, cancelled)
    require_installed(report)
    require_able(report, spec, engine.precision, compiler)
    with AgentClient(host, cancelled) as agent:
        key = agent.key(target=spec.name, precision=engine.precision, lowered=sent.key, **options)
        if (existing := read_existing(folder, key)) is not None:
            return existing, False
        package = pack(lowered)
        agent.put(package, progress)
        result = agent.build(package, progress, **options)
        _require_ours(host, result.manifest, sent)
        return _fetch(agent, result, lowered, folder, progress), True


def build_bundle_remote(
    lowered: Path,
    folder: Path,
    host: str,
    *,
    install: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> tuple[Bundle, bool]:
    """`build_remote` for an engine of several parts: one after another, and written here when all are there.

    Every part is run on the device and compared with PyTorch there. All of them together are not: what the bundle says
    of that was found by emulation, and ``evit-deploy verify`` on the device says it of the engines themselves.
    """
    bundle, manifests = read_bundle(lowered)
    first = next(iter(manifests))

    def build(name: str, place: Path, progress: Progress) -> tuple[Manifest, bool]:
        return build_remote(
            lowered / name, place, host, install=install and name == first, progress=progress, **options
        )

    return write_parts(folder, bundle, manifests, build, progress)


def _require_ours(host: str, found: Manifest, sent: Manifest) -> None:
    """Refuse an engine that was made from something else.

    Raises:
        ArtifactError: It was.
    """
    engine = found.engine
    before = engine.lowered.key if engine is not None and engine.lowered is not None else None
    same = all(found.files.get(name) == info for name, info in sent.files.items())
    if before != sent.key or not same or not found.agreement.passed:
        raise ArtifactError(
            f"{host}: what it built is not made from what was sent",
            found=f"an engine of {before}", expected=f"of {sent.key}", fix="install the same evit-deploy on both sides",
        )  # fmt: skip


def _fetch(agent: AgentClient, result: Result, lowered: Path, folder: Path, progress: Progress) -> Manifest:
    """Put an engine together: what is here already is copied, the rest comes from the device."""
    manifest = result.manifest
    root = cache_folder() / "fetched"
    store = Store(root / content_key(host=agent.host, folder=folder.name, lowered=str(lowered.resolve())))
    with write_artifact(folder) as writer:
        for left in old_entries(root):
            shutil.rmtree(left, ignore_errors=True)
        for name, info in manifest.files.items():
            path = lowered / name
            if not path.is_file() or sha256_of(path) != info.sha256:
                path = agent.get(result, name, store, progress)
            shutil.copyfile(path, writer.folder / name)
        (writer.folder / PROFILE).write_text(result.profile, encoding="utf-8")
        written = writer.commit(manifest)
    shutil.rmtree(store.folder, ignore_errors=True)
    return written
