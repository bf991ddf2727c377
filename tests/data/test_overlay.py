# SPDX-License-Identifier: Apache-2.0
"""Colours that stay apart, and pictures of masks and prompts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.data.colours import COUNT, SIGHT, as_seen, distinct_colours
from evit_deploy.data.overlay import (
    BACKGROUND,
    FOREGROUND,
    draw_boxes,
    draw_points,
    label_masks,
    line_width,
    paint_labels,
)
from evit_deploy.errors import UsageError

BLUE, YELLOW = np.array([[0, 0, 255], [255, 255, 0]], np.uint8)
COLOURS = np.stack([BLUE, YELLOW])


def square(top: int, left: int, side: int, shape: tuple[int, int] = (40, 50)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


# Colours


def test_sight_keeps_white_and_black() -> None:
    seen = as_seen(np.array([[255, 255, 255], [0, 0, 0]], np.uint8))
    assert np.allclose(seen[:, 0], [1, 0, 0], atol=2e-3)
    assert np.allclose(seen[:, 1], 0, atol=1e-6)
    assert np.allclose(SIGHT.sum(axis=2), 1, atol=1e-5)


def test_oklab_of_red() -> None:
    """From the table of Ottosson's page: sRGB red is L 0.628, a 0.225, b 0.126."""
    assert np.allclose(as_seen(np.array([[255, 0, 0]], np.uint8))[0, 0], [0.628, 0.225, 0.126], atol=1e-3)


def test_the_blind_confuse_red_and_green_less_than_they_would() -> None:
    pair = as_seen(np.array([[200, 60, 30], [110, 105, 10]], np.uint8))
    apart = np.linalg.norm(pair[:, 0] - pair[:, 1], axis=1)
    assert apart[2] < 0.5 * apart[0]


@pytest.mark.parametrize(("count", "least"), [(4, 0.2), (8, 0.14), (16, 0.07), (COUNT, 0.035)])
def test_colours_are_apart_for_every_sight(count: int, least: float) -> None:
    colours = distinct_colours(count)
    assert colours.shape == (count, 3)
    assert colours.dtype == np.uint8
    seen = as_seen(colours)
    apart = np.linalg.norm(seen[:, :, None] - seen[:, None], axis=-1)
    apart[:, np.arange(count), np.arange(count)] = np.inf
    assert apart.min() >= least


def test_colours_repeat_and_do_not_depend_on_their_number() -> None:
    many = distinct_colours(2 * COUNT + 5)
    assert np.array_equal(many[COUNT : 2 * COUNT], many[:COUNT])
    assert np.array_equal(distinct_colours(7), many[:7])
    assert distinct_colours(0).shape == (0, 3)


# Masks


def test_later_masks_lie_on_top() -> None:
    labels = label_masks([square(5, 5, 20), square(10, 10, 5)], 40, 50)
    assert np.array_equal(labels == 2, square(10, 10, 5))
    assert np.array_equal(labels > 0, square(5, 5, 20))


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match="another size"):
        label_masks([square(0, 0, 5, (50, 40))], 40, 50)
    with pytest.raises(UsageError, match="another size"):
        paint_labels(np.zeros((50, 40, 3), np.uint8), np.zeros((40, 50), np.int32))


def test_masks_are_half_transparent_with_an_outline_and_a_rim() -> None:
    frame = np.full((40, 50, 3), 100, np.uint8)
    picture = paint_labels(frame, label_masks([square(5, 5, 20)], 40, 50), COLOURS)
    assert picture[15, 15].tolist() == [50, 50, 178]
    assert picture[5, 5].tolist() == picture[24, 10].tolist() == BLUE.tolist()
    assert picture[4, 10].tolist() == picture[10, 25].tolist() == [255, 255, 255]
    assert picture[2, 2].tolist() == picture[30, 30].tolist() == [100, 100, 100]
    assert (frame == 100).all()


def test_neighbours_have_outlines_of_their_own() -> None:
    frame = np.zeros((40, 50, 3), np.uint8)
    picture = paint_labels(frame, label_masks([square(0, 0, 10), square(0, 10, 10)], 40, 50), COLOURS)
    assert picture[5, 9].tolist() == BLUE.tolist()
    assert picture[5, 10].tolist() == YELLOW.tolist()


@given(opacity=st.floats(0, 1), seed=st.integers(0, 99))
def test_pixels_away_from_masks_stay(opacity: float, seed: int) -> None:
    dice = np.random.default_rng(seed)
    frame = dice.integers(0, 256, (20, 30, 3), np.uint8)
    mask = dice.random((20, 30)) > 0.9
    picture = paint_labels(frame, label_masks([mask], 20, 30), opacity=opacity)
    near = np.zeros((22, 32), bool)
    for row, column in ((0, 1), (1, 0), (1, 1), (1, 2), (2, 1)):
        near[row : row + 20, column : column + 30] |= mask
    away = ~near[1:-1, 1:-1]
    assert np.array_equal(picture[away], frame[away])


def test_no_mask_is_the_frame() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    assert np.array_equal(paint_labels(frame, label_masks([], 9, 7)), frame)
    one = np.zeros((1, 1, 3), np.uint8)
    assert paint_labels(one, label_masks([np.ones((1, 1), bool)], 1, 1)).any()


@pytest.mark.parametrize(("side", "width"), [(1, 1), (600, 1), (601, 2), (4000, 7)])
def test_lines_grow_with_the_picture(side: int, width: int) -> None:
    assert line_width((10, side, 3)) == width
    frame = np.zeros((30, side + 40, 3), np.uint8)
    rows = paint_labels(frame, label_masks([square(12, 10, 18, (30, side + 40))], 30, side + 40), COLOURS)[:, 15]
    assert (rows == 255).all(axis=1).sum() == line_width(frame.shape)


# Prompts


def test_points_say_their_kind_in_colour_and_shape() -> None:
    picture = np.zeros((60, 90, 3), np.uint8)
    draw_points(picture, [(20, 30), (60.4, 29.6)], [1, 0])
    assert picture[27, 17].tolist() == list(FOREGROUND)
    assert picture[27, 57].tolist() == list(BACKGROUND)
    assert picture[28, 20].tolist() == picture[30, 18].tolist() == picture[30, 58].tolist() == [255, 255, 255]
    assert picture[28, 60].tolist() == list(BACKGROUND)


@given(x=st.floats(-50, 150), y=st.floats(-50, 150), width=st.floats(1, 100))
def test_prompts_may_stick_out(x: float, y: float, width: float) -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    draw_points(picture, [(x, y)], [1])
    draw_boxes(picture, [(x, y, x + width, y + width)])
    assert picture.shape == (40, 60, 3)
    if 0 <= x < 60 and 0 <= y < 40:
        assert picture.any()


def test_a_box_is_lines_with_a_rim() -> None:
    picture = np.full((60, 90, 3), 7, np.uint8)
    draw_boxes(picture, [10, 20, 50, 40])
    for row, column in ((20, 10), (20, 30), (40, 50), (30, 10), (30, 50)):
        assert picture[row, column].tolist() == list(FOREGROUND)
    assert picture[19, 30].tolist() == picture[21, 30].tolist() == [255, 255, 255]
    assert picture[30, 30].tolist() == picture[10, 30].tolist() == [7, 7, 7]
    draw_boxes(picture, [])
