# SPDX-License-Identifier: Apache-2.0
"""Frames from files: one image, a folder of images, a drawn scene, or the photos that installed packages ship."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evit_deploy.errors import MissingExtraError, UsageError, first_line
from evit_deploy.manifest.store import replace_file

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")

_PHOTOS = (
    ("sklearn", "datasets/images/china.jpg"),
    ("skimage", "data/astronaut.png"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/chelsea.png"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)


@dataclass(frozen=True)
class Frame:
    """A named image.

    Attributes:
        name: File name, or "scene:SEED".
        image: uint8 [H, W, 3] RGB.
        real: Whether it is a photo rather than a drawn scene.
    """

    name: str
    image: npt.NDArray[np.uint8]
    real: bool = True


def read_image(path: Path, *, upright: bool = True) -> npt.NDArray[np.uint8]:
    """Read an image file as uint8 [H, W, 3] RGB.

    Args:
        path: The file.
        upright: Turn it as its EXIF tag says; otherwise the pixels come as they are stored, as in training.

    Raises:
        UsageError: No such file, or not an image.
    """
    _require_pillow("Reading image files")
    if not _may_be_file(path):
        raise UsageError(f"there is no image {path}", fix="check the path")
    return _decode(path, str(path), upright=upright)


def inspect_image(content: bytes) -> tuple[int, int]:
    """(height, width) of an image file that can be read to its end.

    Raises:
        ValueError: It is no image, a damaged one, or one of more than 8 bits.
    """
    _require_pillow("Reading image files")
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            _refuse_deep(image.mode)
            image.draft("RGB", (1, 1))  # a JPEG then takes an eighth of the time, and is still read to its end
            image.load()
    except Exception as error:  # Pillow has many kinds
        raise ValueError(str(error)) from error
    return height, width


def decode_image(content: bytes, name: str, most_pixels: int) -> npt.NDArray[np.uint8]:
    """Read the bytes of an image file as `read_image` reads a file.

    Args:
        content: The file's bytes.
        name: What to call it in errors.
        most_pixels: Larger images are refused before they are unpacked.

    Raises:
        UsageError: Not an image, or too large.
    """
    _require_pillow("Reading images")
    return _decode(io.BytesIO(content), name, most_pixels)


def _decode(
    source: Path | io.BytesIO, name: str, most_pixels: int | None = None, *, upright: bool = True
) -> npt.NDArray[np.uint8]:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(source) as image:
            _refuse_deep(image.mode)
            if most_pixels is not None and image.width * image.height > most_pixels:
                raise ValueError(f"{image.width}x{image.height}, more than {most_pixels / 1e6:.0f} million pixels")
            turned = ImageOps.exif_transpose(image) if upright else image
            return np.array(turned if turned.mode == "RGB" else turned.convert("RGB"), np.uint8)
    except (UnidentifiedImageError, OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(
            f"{name} is not an image that can be read",
            found=first_line(error),
            expected=f"an 8-bit image, one of {', '.join(SUFFIXES)}",
        ) from error


def _refuse_deep(mode: str) -> None:
    """Depth or thermal: squeezing it into 8 bits would be a guess."""
    if mode.startswith(("I", "F")):
        raise ValueError(f"pixels of more than 8 bits (mode {mode})")


def _may_be_file(path: Path) -> bool:
    """False where there is certainly no file; whoever opens one that may not be looked at learns why."""
    try:
        return path.is_file()
    except OSError:
        return True


def _require_pillow(purpose: str) -> None:
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise MissingExtraError("pillow", "images", purpose) from None


def write_image(path: Path, image: npt.NDArray[np.uint8]) -> None:
    """Write uint8 [H, W, 3] RGB or [H, W] grey; the suffix names the format.

    Raises:
        UsageError: Unknown format, or the place cannot be written.
    """
    _require_pillow("Writing image files")
    from PIL import Image

    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"cannot write {path}", found=f"format '{path.suffix}'", expected=", ".join(SUFFIXES))
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, Image.registered_extensions()[suffix])
    replace_file(path, buffer.getvalue())


def list_images(folder: Path) -> list[Path]:
    """All image files of a folder and its subfolders, sorted.

    Raises:
        UsageError: No such folder, or no image in it.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", fix="check the path")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UsageError(f"there is no image in {folder}", expected=f"files ending in {', '.join(SUFFIXES)}")
    return paths


def read_source(source: str, size: tuple[int, int] = (1024, 2048)) -> Iterator[Frame]:
    """Frames of an image file, of a folder, or of a drawn street scene ("scene:SEED").

    Args:
        source: Path, or "scene:SEED".
        size: (height, width) of a drawn scene.
    """
    if not source:
        raise UsageError("the source is empty", expected="an image, a folder of images, or scene:SEED")
    kind, _, seed = source.partition(":")
    if kind == "scene" and not Path(source).exists():
        if not seed.isdigit():
            raise UsageError(f"'{source}' names no scene", expected="scene:SEED with a whole number, such as scene:7")
        yield scene_frame(int(seed), size)
        return
    path = Path(source)
    for file in list_images(path) if path.is_dir() else [path]:
        yield Frame(file.name, read_image(file))


def scene_frame(seed: int, size: tuple[int, int]) -> Frame:
    """A drawn street scene as a frame."""
    from evit_deploy.data.scenes import render_scene

    return Frame(f"scene:{seed}", render_scene(seed, *size).image, real=False)


def installed_photos() -> list[Path]:
    """Real photos that ship with installed packages (scikit-learn, scikit-image, Matplotlib); may be empty."""
    found = []
    for package, name in _PHOTOS:
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec else []:
            if (path := Path(root) / name).is_file():
                found.append(path)
    return found
