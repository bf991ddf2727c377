# SPDX-License-Identifier: Apache-2.0
"""Training data of the demo checkpoints: a disk cache of rendered scenes, and random crops from it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from evit_deploy.data.scenes import render_scene
from evit_deploy.export.exporter import preprocess_rules
from evit_deploy.models.zoo import find_model

CLASSES = 19
RULES = preprocess_rules(find_model("b1-seg"))
MEAN, STD = np.array(RULES.mean, np.float32), np.array(RULES.std, np.float32)
Image = NDArray[np.uint8]


def fingerprint() -> str:
    """Eight hex digits that change when the generator draws anything differently."""
    digest = hashlib.sha256()
    for seed in range(4):
        scene = render_scene(seed, 96, 192)
        digest.update(scene.image.tobytes() + scene.labels.tobytes())
    return digest.hexdigest()[:8]


@dataclass(frozen=True)
class SceneCache:
    """Rendered scenes of seeds 0..N-1 at one size, memory-mapped.

    Attributes:
        images: uint8 [N, H, W, 3].
        labels: uint8 [N, H, W].
        shares: float32 [N, 19], share of the pixels of each class.
    """

    images: Image
    labels: Image
    shares: NDArray[np.float32]


def open_cache(folder: Path, scenes: int, height: int, width: int, progress: bool = True) -> SceneCache:
    """Open the cache of `scenes` scenes, rendering what is missing.

    An interrupted run continues where it stopped: the number of finished scenes is written after each one.
    """
    home = folder / f"{height}x{width}-{scenes}-{fingerprint()}"
    home.mkdir(parents=True, exist_ok=True)
    images = _memmap(home / "images.npy", (scenes, height, width, 3))
    labels = _memmap(home / "labels.npy", (scenes, height, width))
    counter = home / "finished.txt"
    finished = int(counter.read_text()) if counter.is_file() else 0
    for seed in tqdm(range(finished, scenes), f"render {height}x{width}", mininterval=5.0, disable=not progress):
        scene = render_scene(seed, height, width)
        images[seed], labels[seed] = scene.image, scene.labels
        counter.write_text(str(seed + 1))
    return SceneCache(images, labels, _class_shares(labels))


def _memmap(path: Path, shape: tuple[int, ...]) -> Image:
    mode = "r+" if path.is_file() else "w+"
    array: Image = np.lib.format.open_memmap(path, mode=mode, dtype=np.uint8, shape=shape)
    return array


def _class_shares(labels: Image) -> NDArray[np.float32]:
    rows = [np.bincount(label[::4, ::4].ravel(), minlength=256)[:CLASSES] for label in labels]
    return (np.stack(rows) / labels[0, ::4, ::4].size).astype(np.float32)


@dataclass(frozen=True)
class Recipe:
    """How crops are drawn.

    Attributes:
        crop: (height, width) of the crops, pixels.
        batch: Crops per step.
        seed: Seed of all choices; the crops of a step depend on seed and step only, so a resumed run sees what an
            uninterrupted one would have seen.
        focus: Share of the crops centred on a class drawn evenly, so that rare classes are seen often.
    """

    crop: tuple[int, int]
    batch: int
    seed: int = 0
    focus: float = 0.5


def draw_batch(
    caches: list[SceneCache], scales: list[tuple[float, float]], recipe: Recipe, step: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw the crops of one step.

    Args:
        caches: Caches to draw from, equally often.
        scales: Range of the zoom factor for each cache.
        recipe: Crop size, batch size and seed.
        step: Training step.

    Returns:
        Normalised float32 [B, 3, h, w] and int64 [B, h, w] labels.
    """
    rng = np.random.default_rng([recipe.seed, step])
    images, labels = [], []
    for _ in range(recipe.batch):
        which = int(rng.integers(len(caches)))
        image, label = _crop(caches[which], scales[which], recipe, rng)
        images.append(_normalise(_distort(image, rng)))
        labels.append(label.astype(np.int64))
    return np.stack(images), np.stack(labels)


def _crop(
    cache: SceneCache, scales: tuple[float, float], recipe: Recipe, rng: np.random.Generator
) -> tuple[Image, Image]:
    height, width = cache.labels.shape[1:]
    scale = scales[0] * (scales[1] / scales[0]) ** rng.random()
    rows = min(height, round(recipe.crop[0] / scale))
    columns = min(width, round(recipe.crop[1] / scale))
    index, (v, u) = _centre(cache, recipe.focus, rng)
    top = int(np.clip(v - rows // 2, 0, height - rows))
    left = int(np.clip(u - columns // 2, 0, width - columns))
    image = cache.images[index, top : top + rows, left : left + columns]
    label = cache.labels[index, top : top + rows, left : left + columns]
    size = (recipe.crop[1], recipe.crop[0])
    kernel = cv2.INTER_AREA if rows > recipe.crop[0] else cv2.INTER_CUBIC
    image = cv2.resize(np.ascontiguousarray(image), size, interpolation=kernel).astype(np.uint8)
    label = cv2.resize(np.ascontiguousarray(label), size, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.uint8)
    if rng.random() < 0.5:
        image, label = image[:, ::-1], label[:, ::-1]
    return image, label


def _centre(cache: SceneCache, focus: float, rng: np.random.Generator) -> tuple[int, tuple[int, int]]:
    """A scene and the (row, column) the crop is centred on."""
    height, width = cache.labels.shape[1:]
    if rng.random() < focus:
        wanted = int(rng.integers(CLASSES))
        candidates = np.flatnonzero(cache.shares[:, wanted] > 0.001)
        if len(candidates):
            index = int(rng.choice(candidates))
            v, u = np.nonzero(cache.labels[index, ::8, ::8] == wanted)
            if len(v):
                at = int(rng.integers(len(v)))
                jitter = rng.integers(-40, 41, size=2)
                return index, (int(v[at]) * 8 + int(jitter[0]), int(u[at]) * 8 + int(jitter[1]))
    return int(rng.integers(len(cache.labels))), (int(rng.integers(height)), int(rng.integers(width)))


def _distort(image: Image, rng: np.random.Generator) -> NDArray[np.float32]:
    """Brightness, contrast, saturation, colour cast, blur and noise."""
    pixels: NDArray[np.float32] = image.astype(np.float32)
    pixels *= (rng.uniform(0.7, 1.35) * rng.uniform(0.92, 1.08, size=3)).astype(np.float32)
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + (pixels - grey) * np.float32(rng.uniform(0.5, 1.4))
    pixels = (pixels - 110.0) * np.float32(rng.uniform(0.75, 1.3)) + np.float32(110.0 + rng.uniform(-15, 15))
    if rng.random() < 0.25:
        pixels[:] = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.4, 1.2))
    if rng.random() < 0.4:
        pixels += rng.standard_normal(pixels.shape[:2], dtype=np.float32)[..., None] * np.float32(rng.uniform(1, 9))
    np.clip(pixels, 0.0, 255.0, out=pixels)
    return pixels


def _normalise(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """RGB 0..255 [H, W, 3] to the model's normalised [3, H, W]."""
    return np.ascontiguousarray(((pixels / np.float32(255.0) - MEAN) / STD).transpose(2, 0, 1))


def model_input(image: Image) -> NDArray[np.float32]:
    """Normalised float32 [1, 3, H, W] of a uint8 RGB image."""
    return _normalise(image.astype(np.float32))[None]
