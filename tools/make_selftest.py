# SPDX-License-Identifier: Apache-2.0
"""Write the small engines of ``evit-deploy selftest``: ``python tools/make_selftest.py``.

Three folders from b0-seg's demo weights, in one archive: the two lowered engines have mostly the same weights, and one
compressed stream holds them once. To be run again whenever the export's form or the lowering changes; a test says so.
"""

from __future__ import annotations

import io
import json
import lzma
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import evit_deploy
from evit_deploy.data.images import scene_frame, write_image
from evit_deploy.engines.build import lower_engine
from evit_deploy.engines.lowering import LOWERING
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.export.forms import FORM
from evit_deploy.export.reference import HELD_OUT_SEED
from evit_deploy.profiles.shipped import ABOUT, ARCHIVE, CLASSES, EXPORT, FOLDERS, LOGITS

MODEL = "b0-seg"
TARGET = "orin"
"""Lowered graphs are the same for all GPUs, and are renamed to the one at hand."""


def make(work: Path) -> None:
    """Export and lower into a folder: one subfolder per shipped name."""
    large, small = (256, 512), (128, 256)
    _export(work / "large", ExportOptions(resolution=large), frames=1)
    _export(work / "batch", ExportOptions(resolution=small, batch=(1, 2), output="logits"), frames=2)
    _export(work / EXPORT, ExportOptions(resolution=small), frames=2)
    lower_engine(work / "large", work / CLASSES, target=TARGET, precision="fp16")
    lower_engine(work / "batch", work / LOGITS, target=TARGET, precision="fp16")


def _export(folder: Path, options: ExportOptions, frames: int) -> None:
    """Export with the demo weights, proven on drawn scenes: photos differ from machine to machine."""
    assert options.resolution is not None
    with tempfile.TemporaryDirectory() as images:
        for index in range(frames):
            frame = scene_frame(HELD_OUT_SEED + index, options.resolution)
            write_image(Path(images) / f"scene-{index}.png", frame.image)
        export_model(MODEL, folder, replace(options, weights="demo", images=Path(images)))


def pack(work: Path, archive: Path) -> None:
    """Write the shipped folders and a note of what made them; equal folders give equal archives."""
    about = {"form": FORM, "lowering": LOWERING, "tool": evit_deploy.__version__}
    with (
        lzma.open(archive, "wb", preset=9 | lzma.PRESET_EXTREME) as stream,
        tarfile.open(mode="w", fileobj=stream) as tar,
    ):
        _add(tar, ABOUT, (json.dumps(about, indent=2) + "\n").encode())
        for name in FOLDERS:
            for path in sorted((work / name).iterdir()):
                _add(tar, f"{name}/{path.name}", path.read_bytes())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(content))


def main() -> None:
    """Make the archive anew."""
    with tempfile.TemporaryDirectory() as work:
        make(Path(work))
        pack(Path(work), ARCHIVE)
    print(f"{ARCHIVE}: {ARCHIVE.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
