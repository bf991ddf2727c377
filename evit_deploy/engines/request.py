# SPDX-License-Identifier: Apache-2.0
"""What ``evit-deploy build`` was asked for, and the way it is done: here, on devices over SSH, or lowered only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evit_deploy.engines.build import build_engine, choose_attention, engine_name, lower_engine
from evit_deploy.engines.compilation import compile_engine
from evit_deploy.engines.compiler import choose_arch, choose_compiler, require_compiler, require_precision
from evit_deploy.engines.remote import Outcome, build_on_all
from evit_deploy.errors import UsageError
from evit_deploy.manifest import Manifest, read_manifest
from evit_deploy.progress import Progress, silent
from evit_deploy.targets import TargetSpec, find_target


@dataclass(frozen=True)
class Built:
    """One engine that was asked for.

    Attributes:
        folder: Where it is.
        manifest: What it says about itself.
        written: False if exactly this engine was there already.
    """

    folder: Path
    manifest: Manifest
    written: bool


@dataclass(frozen=True)
class Request:
    """The options of a build, checked before anything is looked for.

    Attributes:
        target: Name of the target, or None for what an engine says, else "cpu".
        precision: Precision, or None for what an engine says, else "fp32".
        compiler: Name of the compiler, or None for the target's best one.
        arch: GPU architecture, or None for that of the GPU at hand.
        attention: Arrangement of the attention, or None for the target's.
        level: How long the compiler searches for fast kernels, or None for its default.
    """

    target: str | None = None
    precision: str | None = None
    compiler: str | None = None
    arch: str | None = None
    attention: str | None = None
    level: int | None = None

    @property
    def spec(self) -> TargetSpec:
        """The target itself."""
        return find_target(self.target or "cpu")

    def of_engine(self, folder: Path) -> Request:
        """The request for an engine, which has its target, precision and attention already.

        Raises:
            UsageError: Something else was asked for.
        """
        engine = read_manifest(folder).engine
        assert engine is not None
        for name, asked, has in (
            ("target", self.target, engine.target),
            ("precision", self.precision, engine.precision),
            ("attention", self.attention, engine.attention),
        ):
            if asked is not None and asked != has:
                raise UsageError(
                    f"{folder} has its {name} already", found=f"{asked} asked for", expected=has,
                    fix="build from the export to change it",
                )  # fmt: skip
        return replace(self, target=engine.target, precision=engine.precision, attention=None)

    def check(self, *, remote: bool = False) -> None:
        """Refuse what no export could be built as, here or, if `remote`, elsewhere.

        Raises:
            UsageError: A target, precision, compiler, architecture or arrangement that does not exist or fit.
            UnavailableError: No compiler here can do it.
        """
        require_precision(self.spec, self.precision or "fp32")
        require_compiler(self.spec, self.compiler)
        compiler = None if remote else choose_compiler(self.spec, self.precision or "fp32", self.compiler)
        choose_arch(compiler, self.spec, self.arch)
        choose_attention(self.spec, self.attention)

    def folder(self, engines: Path, export: Path, *, remote: bool = False) -> Path:
        """Where the engine of an export, or of that name, stands in a folder of engines."""
        precision = self.precision or "fp32"
        compiler = None if remote else choose_compiler(self.spec, precision, self.compiler)
        arch = choose_arch(compiler, self.spec, self.arch)
        return engines / engine_name(export, self.spec.name, precision, self.compiler, arch, self.attention)

    def place(self, source: Path, engines: Path, *, remote: bool = False) -> Path:
        """Where `build` or `lower` puts what becomes of an export or an engine."""
        return source if read_manifest(source).kind == "engine" else self.folder(engines, source, remote=remote)

    def build(self, source: Path, engines: Path, progress: Progress = silent) -> Built:
        """Build an export into a folder of engines, or compile an engine for a GPU where it stands."""
        if read_manifest(source).kind == "engine":
            choices = {"compiler": self.compiler, "arch": self.arch}
            return Built(source, *compile_engine(source, source, **choices, level=self.level, progress=progress))
        folder = self.folder(engines, source)
        manifest, written = build_engine(
            source, folder, target=self.spec.name, precision=self.precision or "fp32", compiler=self.compiler,
            arch=self.arch, attention=self.attention, level=self.level, progress=progress,
        )  # fmt: skip
        return Built(folder, manifest, written)

    def lower(self, source: Path, engines: Path, progress: Progress = silent) -> Built:
        """The half of `build` that another machine goes on with; of an engine nothing is left to do."""
        if (manifest := read_manifest(source)).kind == "engine":
            return Built(source, manifest, False)
        folder = self.folder(engines, source, remote=True)
        precision = self.precision or "fp32"
        options = {"target": self.spec.name, "precision": precision, "attention": self.attention}
        return Built(folder, *lower_engine(source, folder, **options, progress=progress))  # type: ignore[arg-type]

    def build_remote(
        self, source: Path, engines: Path, hosts: Sequence[str], *, install: bool = False, progress: Progress = silent
    ) -> list[Outcome]:
        """Lower here, and compile on every device at once; the device's name becomes part of its engine's."""
        lowered = self.lower(source, engines, progress).folder
        folders = {host: engines / f"{lowered.resolve().name}.{name}" for host, name in host_names(hosts).items()}
        return build_on_all(
            lowered, folders, arch=self.arch, compiler=self.compiler, level=self.level, install=install,
            progress=progress,
        )  # fmt: skip


def host_names(hosts: Sequence[str]) -> dict[str, str]:
    """A plain name for each device: without user, scheme and port where that tells them apart."""
    short = {host: re.sub(r"^(ssh://)?([^@/]*@)?|:[0-9]+/?$|/$", "", host) for host in hosts}
    if len(set(short.values())) < len(short):
        short = {host: host.removeprefix("ssh://") for host in hosts}
    return {host: re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") for host, name in short.items()}
