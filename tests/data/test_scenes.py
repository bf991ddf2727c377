# SPDX-License-Identifier: Apache-2.0
"""Procedural scenes: same seed, same bytes; same street at any size; every class; nothing but numpy."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evit_deploy.data.scenes import IGNORE, canvas, render_scene
from evit_deploy.data.scenes.dice import rgb_from_hsv
from evit_deploy.errors import UsageError

CLASSES = 19


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**40), height=st.integers(32, 150), width=st.integers(32, 260))
def test_any_size_renders(seed: int, height: int, width: int) -> None:
    scene = render_scene(seed, height, width)
    assert scene.image.shape == (height, width, 3)
    assert scene.image.dtype == np.uint8
    assert scene.labels.shape == (height, width)
    assert scene.labels.dtype == np.uint8
    assert set(np.unique(scene.labels)) <= {*range(CLASSES), IGNORE}


def test_same_seed_same_bytes() -> None:
    first, second, other = render_scene(3, 65, 129), render_scene(3, 65, 129), render_scene(4, 65, 129)
    assert first.image.tobytes() == second.image.tobytes()
    assert first.labels.tobytes() == second.labels.tobytes()
    assert not np.array_equal(first.labels, other.labels)


def test_pixels_do_not_depend_on_what_was_rendered_before() -> None:
    fresh = render_scene(11, 64, 128)
    np.random.seed(0)  # the global generator must not matter
    render_scene(12, 90, 90)
    assert np.array_equal(render_scene(11, 64, 128).image, fresh.image)


@pytest.mark.parametrize("seed", range(6))
def test_a_larger_picture_shows_the_same_street(seed: int) -> None:
    small, large = render_scene(seed, 128, 256), render_scene(seed, 512, 1024)
    # rows 2, 6, 10, ...: a sample next to the centre of each small pixel
    sampled = large.labels[2::4, 2::4]
    assert np.mean(sampled == small.labels) > 0.95
    brightness = [float(scene.image.mean()) for scene in (small, large)]
    assert abs(brightness[0] - brightness[1]) < 3.0


def test_all_classes_occur_often_and_large_enough_to_be_learned() -> None:
    shares = np.zeros((40, CLASSES))
    for seed in range(40):
        labels = render_scene(seed, 128, 256).labels
        shares[seed] = np.bincount(labels.ravel(), minlength=256)[:CLASSES] / labels.size
    frequent = (shares > 0.001).mean(axis=0)
    assert frequent.min() >= 0.25
    assert shares.mean(axis=0).min() > 0.003


def test_road_is_below_and_sky_above() -> None:
    rows = {label: [] for label in (0, 10)}
    for seed in range(8):
        labels = render_scene(seed, 64, 128).labels
        for label, found in rows.items():
            found.extend(np.nonzero(labels == label)[0].tolist())
    assert np.mean(rows[0]) > 40
    assert np.mean(rows[10]) < 24


def test_colour_alone_does_not_give_the_class() -> None:
    """A lookup from coarse colour to its most frequent class must stay far from a good segmentation."""
    counts = np.zeros((512, CLASSES), dtype=np.int64)
    for seed in range(20):
        scene = render_scene(seed, 64, 128)
        colour = (scene.image // 32).astype(np.int64) @ np.array([64, 8, 1])
        judged = scene.labels != IGNORE
        np.add.at(counts, (colour[judged], scene.labels[judged]), 1)
    assert counts.max(axis=1).sum() / counts.sum() < 0.65


@pytest.mark.parametrize(("seed", "height", "width"), [(-1, 64, 64), (0, 31, 64), (0, 64, 31), (0, 0, 0), (0, -64, 64)])
def test_bad_arguments_are_explained(seed: int, height: int, width: int) -> None:
    with pytest.raises(UsageError, match="scene") as caught:
        render_scene(seed, height, width)
    assert caught.value.expected


def test_needs_only_numpy() -> None:
    code = (
        "import sys; from evit_deploy.data.scenes import render_scene; render_scene(0, 32, 32); "
        "print(sorted({'cv2', 'PIL', 'scipy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _inside(points: np.ndarray, u: float, v: float) -> bool:
    """Even-odd rule, one pixel at a time."""
    crossed = False
    for (ua, va), (ub, vb) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if (va <= v) != (vb <= v):
            crossed ^= u < ua + (v - va) * (ub - ua) / (vb - va)
    return crossed


COORDINATE = st.floats(-30, 50, allow_nan=False)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(COORDINATE, COORDINATE), min_size=3, max_size=8))
def test_polygon_fill_agrees_with_the_even_odd_rule(corners: list[tuple[float, float]]) -> None:
    # a grid off the pixel centres keeps rounding of edges through a centre out of the comparison
    points = np.round(np.array(corners) * 8) / 8 + (0.0371, 0.0213)  # unlike, or diagonals pass through centres
    found = canvas.polygon_mask(points, 20, 24)
    mask = np.zeros((20, 24), dtype=bool)
    if found is not None:
        rows, columns, part = found
        mask[rows, columns] = part
    expected = np.array([[_inside(points, u + 0.5, v + 0.5) for u in range(24)] for v in range(20)])
    assert np.count_nonzero(mask != expected) <= 1  # an edge can still pass through a centre


def test_adjacent_polygons_neither_overlap_nor_leave_gaps() -> None:
    middle = (11.3, 9.7)
    corners = [(0.0, 0.0), (24.0, 0.0), (24.0, 20.0), (0.0, 20.0)]
    cover = np.zeros((20, 24), dtype=int)
    for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
        found = canvas.polygon_mask(np.array([a, b, middle]), 20, 24)
        assert found is not None
        cover[found[0], found[1]] += found[2]
    assert np.all(cover == 1)


def test_shadow_darkens_and_keeps_the_label() -> None:
    page = canvas.Canvas(np.zeros((8, 8), np.uint16), np.zeros((8, 8), np.float32))
    paint = page.paint(canvas.Paint((0.5, 0.5, 0.5), 0))
    square = np.array([[0.0, 0.0], [8.0, 0.0], [8.0, 4.0], [0.0, 4.0]])
    page.shadow(square)
    assert np.all(page.ids[:4] == paint | canvas.SHADOW_BIT)
    assert np.all(page.ids[4:] == paint)


@pytest.mark.parametrize(
    ("hsv", "rgb"),
    [((0, 1, 1), (1, 0, 0)), ((1 / 3, 1, 1), (0, 1, 0)), ((2 / 3, 1, 0.5), (0, 0, 0.5)), ((0.3, 0, 0.7), (0.7,) * 3)],
)
def test_hsv(hsv: tuple[float, float, float], rgb: tuple[float, float, float]) -> None:
    assert rgb_from_hsv(*hsv) == pytest.approx(rgb, abs=1e-9)
    assert rgb_from_hsv(hsv[0] + 1.0, *hsv[1:]) == pytest.approx(rgb, abs=1e-9)
