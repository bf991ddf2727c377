# SPDX-License-Identifier: Apache-2.0
"""What ``evit-deploy build`` was asked for, and the way it is done: here, on devices over SSH, or lowered only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evit_deploy.engines.build import build_engine, choose_attention, engine_name, lower_engine
from evit_deploy.engines.bundle import (
    Sizes,
    build_bundle,
    compile_bundle,
    engine_info,
    lower_bundle,
    require_sizes_fit,
)
from evit_deploy.engines.compilation import compile_engine
from evit_deploy.engines.compiler import choose_arch, choose_compiler, require_compiler, require_precision
from evit_deploy.engines.int8_options import Int8Options
from evit_deploy.engines.remote import Outcome, build_on_all
from evit_deploy.errors import UsageError
from evit_deploy.manifest import ENCODER, Bundle, Manifest, is_bundle, kind_of, read_bundle, read_manifest
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
    manifest: Manifest | Bundle
    written: bool

    @property
    def engines(self) -> dict[Path, Manifest]:
        """The engine itself, or its parts, by their folders."""
        if isinstance(self.manifest, Manifest):
            return {self.folder: self.manifest}
        return {self.folder / name: read_manifest(self.folder / name) for name in self.manifest.parts}


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
        sizes: Of the mask decoders of a model that segments by prompts, or None for the usual ones.
        int8: What to calibrate and judge INT8 with, or None for another precision, or an engine.
    """

    target: str | None = None
    precision: str | None = None
    compiler: str | None = None
    arch: str | None = None
    attention: str | None = None
    level: int | None = None
    sizes: Sizes | None = None
    int8: Int8Options | None = None

    @property
    def spec(self) -> TargetSpec:
        """The target itself."""
        return find_target(self.target or "cpu")

    def of_engine(self, folder: Path) -> Request:
        """The request for an engine, which has its target, precision and attention already.

        Raises:
            UsageError: Something else was asked for.
        """
        engine = engine_info(folder)
        assert engine is not None
        if self.sizes is not None:
            raise UsageError(f"{folder} has its sizes already", fix="build from the export to change them")
        # The attention is arranged in the encoder; decoders have another one.
        attention = read_manifest(folder / ENCODER).engine if is_bundle(folder) else engine
        assert attention is not None
        for name, asked, has in (
            ("target", self.target, engine.target),
            ("precision", self.precision, engine.precision),
            ("attention", self.attention, attention.attention),
        ):
            if asked is not None and asked != has:
                raise UsageError(
                    f"{folder} has its {name} already", found=f"{asked} asked for", expected=has,
                    fix="build from the export to change it",
                )  # fmt: skip
        if self.int8 is not None:
            raise UsageError(f"{folder} is calibrated already", fix="build from the export to calibrate again")
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
        require_sizes_fit(self.spec, self.sizes)

    def folder(self, engines: Path, export: Path, *, remote: bool = False) -> Path:
        """Where the engine of an export, or of that name, stands in a folder of engines."""
        precision = self.precision or "fp32"
        compiler = None if remote else choose_compiler(self.spec, precision, self.compiler)
        arch = choose_arch(compiler, self.spec, self.arch)
        return engines / engine_name(export, self.spec.name, precision, self.compiler, arch, self.attention)

    def place(self, source: Path, engines: Path, *, remote: bool = False) -> Path:
        """Where `build` or `lower` puts what becomes of an export or an engine."""
        return source if kind_of(source) == "engine" else self.folder(engines, source, remote=remote)

    def build(self, source: Path, engines: Path, progress: Progress = silent) -> Built:
        """Build an export into a folder of engines, or compile an engine for a GPU where it stands."""
        choices: dict[str, Any] = {"compiler": self.compiler, "arch": self.arch, "level": self.level}
        several = is_bundle(source)
        if kind_of(source) == "engine":
            compile_again = compile_bundle if several else compile_engine
            return Built(source, *compile_again(source, source, **choices, progress=progress))
        folder = self.folder(engines, source)
        choices |= {**self._lowering(source), "progress": progress}
        return Built(folder, *(build_bundle if several else build_engine)(source, folder, **choices))

    def lower(self, source: Path, engines: Path, progress: Progress = silent) -> Built:
        """The half of `build` that another machine goes on with; of an engine nothing is left to do."""
        several = is_bundle(source)
        if kind_of(source) == "engine":
            return Built(source, read_bundle(source)[0] if several else read_manifest(source), False)
        folder = self.folder(engines, source, remote=True)
        lower = lower_bundle if several else lower_engine
        return Built(folder, *lower(source, folder, **self._lowering(source), progress=progress))

    def _lowering(self, source: Path) -> dict[str, Any]:
        """The options that decide a graph.

        Raises:
            UsageError: Sizes of decoders for a model that has none.
        """
        options = {
            "target": self.spec.name, "precision": self.precision or "fp32", "attention": self.attention,
            "int8": self.int8,
        }  # fmt: skip
        if is_bundle(source):
            return {**options, "sizes": self.sizes}
        if self.sizes is not None:
            raise UsageError(
                f"{source} takes no prompts", found="--prompts or --points",
                expected="a model that segments by prompts, such as l0-sam", fix="leave them out",
            )  # fmt: skip
        return options

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
