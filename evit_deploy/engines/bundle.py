# SPDX-License-Identifier: Apache-2.0
"""Models of several graphs: every part is built as any engine is, and then they are proven together.

A segment-anything model is an image encoder and a mask decoder. On a CPU the decoder takes any number of prompts; for a
GPU it is built once for each of a few fixed numbers, so that kernels are chosen for that size and a CUDA graph can be
recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import evit_deploy
from evit_deploy.agreement import BUDGETS, require
from evit_deploy.engines.build import build_engine, choose_attention, lower_engine
from evit_deploy.engines.compilation import compile_checked
from evit_deploy.engines.int8_options import UNLIKE, Int8Options
from evit_deploy.engines.lowering import Fixed
from evit_deploy.engines.running import opened
from evit_deploy.errors import ArtifactError, CheckFailedError, UsageError
from evit_deploy.manifest import (
    DECODER,
    ENCODER,
    ITSELF,
    Agreement,
    Bundle,
    EngineInfo,
    Manifest,
    content_key,
    is_bundle,
    read_bundle,
    read_existing_bundle,
    read_manifest,
    utc_now,
    write_bundle,
)
from evit_deploy.manifest.bundle import BundleWriter
from evit_deploy.manifest.signing import read_trusted_bundle
from evit_deploy.manifest.store import MANIFEST
from evit_deploy.progress import Progress, named, silent
from evit_deploy.runtime.backends import obstacle
from evit_deploy.runtime.reference import Reference
from evit_deploy.runtime.sam.reference import PromptReference
from evit_deploy.runtime.sam.verify import verify_bundle
from evit_deploy.targets import TargetSpec, find_target

PROMPTS = (1, 8, 64)
POINTS = 8
MOST_PROMPTS, MOST_POINTS = 64, 64

BuildPart = Callable[[str, Path, Progress], tuple[Manifest, bool]]
"""Makes a part of a name in a folder: its manifest, and whether it was not there already."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the mask decoders for a GPU.

    Attributes:
        prompts: Prompts per run, one engine for each number.
        points: Points that every prompt has room for, beside a box.
    """

    prompts: tuple[int, ...] = PROMPTS
    points: int = POINTS

    def __post_init__(self) -> None:
        """Refuse sizes that make no sense.

        Raises:
            UsageError: No number, one twice, or one out of range.
        """
        if not self.prompts or any(not 1 <= count <= MOST_PROMPTS for count in self.prompts):
            raise UsageError(
                "the numbers of prompts are out of range", found=", ".join(map(str, self.prompts)) or "none",
                expected=f"numbers from 1 to {MOST_PROMPTS}",
            )  # fmt: skip
        if len(set(self.prompts)) < len(self.prompts):
            raise UsageError("a number of prompts is named twice", found=", ".join(map(str, self.prompts)))
        if not 1 <= self.points <= MOST_POINTS:
            raise UsageError(
                "the number of points is out of range", found=str(self.points), expected=f"1 to {MOST_POINTS}"
            )

    def parts(self) -> dict[str, Fixed | None]:
        """Names of the parts of an engine for a GPU, and what is fixed in them."""
        return {ENCODER: None} | {f"{DECODER}-{count}": Fixed(count, self.points) for count in sorted(self.prompts)}


def require_sizes_fit(spec: TargetSpec, sizes: Sizes | None) -> None:
    """Refuse a choice of sizes where none are fixed.

    Raises:
        UsageError: The target is a CPU.
    """
    if sizes is not None and spec.attention is None:
        raise UsageError(
            f"decoders for {spec.name} take any number of prompts and points",
            found="--prompts or --points", expected="a GPU", fix="leave them out",
        )  # fmt: skip


def build_bundle(
    export: Path,
    folder: Path,
    *,
    target: str,
    precision: str = "fp32",
    compiler: str | None = None,
    arch: str | None = None,
    attention: str | None = None,
    level: int | None = None,
    sizes: Sizes | None = None,
    int8: Int8Options | None = None,
    progress: Progress = silent,
) -> tuple[Bundle, bool]:
    """Build all parts of an export for a target, and write them only if they agree with PyTorch, also together.

    Args:
        export: Folder written by ``evit-deploy export``.
        folder: Where to write, such as ``engines/l0-sam.cpu.fp32``.
        target: Name of the target.
        precision: One of the target's. A CPU's decoder stays FP32 where BF16 does not agree, and its notes say so.
        compiler: As for `evit_deploy.engines.build.build_engine`, and so are the next ones.
        arch: GPU architecture.
        attention: Arrangement of the encoder's attention.
        level: How long the compiler searches for fast kernels.
        sizes: Of the decoders, for a GPU; None for the usual ones.
        int8: What to calibrate and judge an INT8 encoder with; its decoders are FP16.
        progress: Told about every step.

    Returns:
        What the bundle says about itself, and whether anything was written: False if the folder holds exactly this.

    Raises:
        UsageError: As for `build_engine`, or sizes for a CPU.
        ArtifactError: The export is damaged.
        UnavailableError: No compiler here can do it.
        CheckFailedError: A part does not agree with PyTorch, or the parts together do not.
    """
    spec = find_target(target)
    require_sizes_fit(spec, sizes)
    source = _read_export(export, progress)
    parts = _parts(spec, sizes)

    def build(name: str, place: Path, progress: Progress) -> tuple[Manifest, bool]:
        options: dict[str, Any] = {
            "target": target, "compiler": compiler, "arch": arch, "attention": attention, "level": level,
            "fixed": parts[name], "progress": progress,
        }  # fmt: skip
        try:
            return build_engine(export / _origin(name), place, **_typed(name, precision, int8), **options)
        except CheckFailedError as error:
            if (name, precision) != (DECODER, "bf16"):
                raise
            notes = (f"in FP32, because in BF16 it does not agree with PyTorch: {error.found}",)
            return build_engine(export / name, place, precision="fp32", notes=notes, **options)

    return _write(folder, source, tuple(parts), precision, build, progress)


def lower_bundle(
    export: Path,
    folder: Path,
    *,
    target: str,
    precision: str = "fp32",
    attention: str | None = None,
    sizes: Sizes | None = None,
    int8: Int8Options | None = None,
    progress: Progress = silent,
) -> tuple[Bundle, bool]:
    """Do the half of `build_bundle` for a GPU that needs no device; see `evit_deploy.engines.build.lower_engine`."""
    spec = find_target(target)
    choose_attention(spec, attention)
    source = _read_export(export, progress)
    parts = _parts(spec, sizes)

    def lower(name: str, place: Path, progress: Progress) -> tuple[Manifest, bool]:
        return lower_engine(
            export / _origin(name), place, target=target, **_typed(name, precision, int8), attention=attention,
            fixed=parts[name], progress=progress,
        )  # fmt: skip

    return _write(folder, source, tuple(parts), precision, lower, progress)


def compile_bundle(
    source: Path,
    folder: Path,
    *,
    compiler: str | None = None,
    arch: str | None = None,
    level: int | None = None,
    trusted_keys: str | Path | None = None,
    progress: Progress = silent,
) -> tuple[Bundle, bool]:
    """Compile all parts of a lowered bundle with what this machine has; see `compile_engine`.

    Args:
        source: Folder of an engine of several parts for a GPU, lowered or compiled.
        folder: Where to write; may be `source` itself, which then stays as it is until the new one is whole.
        compiler: Name of the compiler.
        arch: GPU architecture.
        level: How long the compiler searches for fast kernels.
        trusted_keys: Keys one of which must have signed `source`.
        progress: Told about every step.
    """
    with progress("check the lowered engines"):
        bundle, manifests = read_trusted_bundle(source, trusted_keys)

    def compile_part(name: str, place: Path, progress: Progress) -> tuple[Manifest, bool]:
        return compile_checked(source / name, manifests[name], place, compiler, arch, level, progress)

    return write_parts(folder, bundle, manifests, compile_part, progress)


def write_parts(
    folder: Path, bundle: Bundle, manifests: Mapping[str, Manifest], make: BuildPart, progress: Progress
) -> tuple[Bundle, bool]:
    """Write a bundle of parts that are made, one by one, from those of an engine.

    Args:
        folder: Where to write.
        bundle: What the engine says about itself.
        manifests: Of its parts.
        make: Makes a part.
        progress: Told about every step; the name of the part stands in front.

    Raises:
        UsageError: An export.
        CheckFailedError: The parts do not agree with PyTorch.
    """
    engine = manifests[next(iter(manifests))].engine
    if engine is None:
        raise UsageError(f"{folder.name} is an export, not an engine", fix="evit-deploy build MODEL --target orin")
    return _write(folder, bundle, tuple(manifests), engine.precision, make, progress)


def _write(
    folder: Path, source: Bundle, names: tuple[str, ...], precision: str, make: BuildPart, progress: Progress
) -> tuple[Bundle, bool]:
    """Make all parts, prove them together, and put them in place: all or nothing."""
    with write_bundle(folder) as writer:
        manifests, changed = {}, False
        for name in names:
            manifests[name], written = make(name, writer.part(name), named(progress, name))
            changed |= written
        key = content_key(
            parts={name: manifest.key for name, manifest in manifests.items()}, tool=evit_deploy.__version__
        )
        if not changed and (existing := read_existing_bundle(folder, key)) is not None:
            return existing, False
        agreement = _together(writer, source, manifests, precision, progress)
        bundle = replace(
            source, kind="engine", key=key, created=utc_now(), tool=evit_deploy.__version__, agreement=agreement
        )
        return writer.commit(bundle, names), True


def _together(
    writer: BundleWriter, source: Bundle, manifests: Mapping[str, Manifest], precision: str, progress: Progress
) -> Agreement:
    """Picture, encoder, decoder, masks: how all that compares with PyTorch.

    What cannot run here is emulated, if it has not been already: compiling changes nothing that emulation could show.

    Raises:
        CheckFailedError: It does not agree.
    """
    stays = all(_is_emulated(manifest) for manifest in manifests.values())
    if source.kind == "engine" and stays and source.agreement.method != ITSELF:
        return source.agreement
    encoder, decoder = manifests[ENCODER], smallest_decoder(manifests)
    places = [writer.part(ENCODER), writer.part(decoder)]
    with ExitStack() as stack:
        encode, method = stack.enter_context(opened(places[0], encoder, named(progress, ENCODER)))
        decode, other = stack.enter_context(opened(places[1], manifests[decoder], named(progress, decoder)))
        pictures, prompts = Reference.load(places[0]), PromptReference.load(places[1])
        with progress("verify from picture to masks", len(prompts.names)) as step:
            agreement = verify_bundle(
                encode, decode, encoder, manifests[decoder], pictures, prompts, BUDGETS[precision], step.advance
            )
    fix = UNLIKE if precision == "int8" else "build with --fp32, and report it"
    require(agreement, f"the {precision} encoder and decoder together", fix)
    return replace(agreement, method=method if other == ITSELF else other)


def smallest_decoder(manifests: Mapping[str, Manifest]) -> str:
    """Name of the decoder for the fewest prompts: every one is proven by itself, and this one is the cheapest to run.

    Raises:
        ArtifactError: There is none.
    """
    decoders = [name for name in manifests if name.startswith(DECODER)]
    if not decoders:
        raise ArtifactError("the model has no mask decoder", found=", ".join(manifests), fix="export it again")
    return min(decoders, key=lambda name: manifests[name].graph.batch[1])


def engine_info(folder: Path) -> EngineInfo | None:
    """What an engine says about how it is compiled; of several parts, the first one that is not; None of an export."""
    if not is_bundle(folder):
        return read_manifest(folder).engine
    places = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    found = [engine for place in places if (engine := read_manifest(place).engine) is not None]
    return next((engine for engine in found if engine.state == "lowered"), found[-1] if found else None)


def _is_emulated(manifest: Manifest) -> bool:
    """Whether this machine cannot run an engine."""
    engine = manifest.engine
    return engine is not None and (engine.state == "lowered" or obstacle(manifest) is not None)


def _read_export(export: Path, progress: Progress) -> Bundle:
    with progress("check the export"):
        bundle, _ = read_bundle(export)
    if bundle.kind != "export":
        raise UsageError(f"{export} is an engine, not an export", fix="name the model or its export folder")
    return bundle


def _parts(spec: TargetSpec, sizes: Sizes | None) -> dict[str, Fixed | None]:
    if spec.attention is None:
        return {ENCODER: None, DECODER: None}
    return (sizes or Sizes()).parts()


def _typed(name: str, precision: str, int8: Int8Options | None) -> dict[str, Any]:
    """Precision of a part: only an image encoder has an INT8 form, and decoders beside it are FP16."""
    if precision != "int8" or name == ENCODER:
        return {"precision": precision, "int8": int8}
    return {"precision": "fp16"}


def _origin(name: str) -> str:
    """The part of the export that a part of an engine is built from."""
    return name.partition("-")[0]
