# SPDX-License-Identifier: Apache-2.0
"""Segment everything, whole: the golden runs of the original algorithm, and a decoder that answers as it is told."""

from __future__ import annotations

import functools
import json
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from evit_deploy.data.masks import LowRes, PromptFrame
from evit_deploy.data.rle import from_dict
from evit_deploy.errors import UsageError
from evit_deploy.runtime.sam.everything import generate_masks
from evit_deploy.runtime.sam.grid import EverythingOptions
from evit_deploy.runtime.sam.tiles import tile_masks
from tests.runtime.sam.golden_everything import compare_with_golden
from tests.runtime.sam.torch_sam import TorchSam
from tests.sam import golden, golden_image, golden_model, structured_model

FRAME = np.zeros((90, 120, 3), np.uint8)
KEYS = ("iou", "stability", "box")
ALL = EverythingOptions(points_per_side=4, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1)


class ScriptedSam:
    """Answers a point with three discs around it: of radius 40, 80 and 160 in the 1024 frame.

    Args:
        batch: Prompts in a batch; the next batch overwrites it, as an engine's buffers are.
        radii: Of the three discs.
        iou: Predicted IoU of the three; the points' order breaks ties.
        dtype: Of what the engine gives.
    """

    def __init__(self, batch=5, radii=(40, 80, 160), iou=(0.9, 0.95, 0.99), dtype=np.float32):
        self.batch, self.radii, self.iou, self.dtype = batch, np.array(radii), np.array(iou), dtype
        self.embedded, self.calls = [], []

    def embed(self, frame):
        assert frame.flags.c_contiguous
        self.embedded.append(frame.shape)
        return PromptFrame(*frame.shape[:2])

    def decode(self, embedding, coords, labels):
        assert coords.shape == (*labels.shape, 2) and (labels == 1).all()
        self.calls.append(len(coords))
        at = embedding.to_frame(coords)[:, 0]
        place = (np.arange(256) + 0.5) * 4
        for start in range(0, len(coords), self.batch):
            part = at[start : start + self.batch]
            away = np.hypot(place - part[:, None, None, :1], place[:, None] - part[:, None, None, 1:])
            masks = ((self.radii[:, None, None] - away[:, None].reshape(-1, 1, 256, 256)) / 8).astype(self.dtype)
            iou = np.tile(self.iou, (len(part), 1)).astype(self.dtype)
            yield LowRes(masks, iou)
            masks[:], iou[:] = -1, -1


@functools.cache
def structured_sam():
    return TorchSam(structured_model())


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["grid", "regions"])
def test_golden_masks(setting):
    compare_with_golden(setting, structured_sam())


@pytest.mark.slow
def test_golden_masks_of_texture():
    compare_with_golden("plain", TorchSam(golden_model("l0-sam")))


def test_golden_candidates():
    """A few points of the golden run, as they are before any filter."""
    file, sam, which = golden("sam-everything"), structured_sam(), slice(66, 78)
    embedding = sam.embed(golden_image("a"))
    points = file["candidates.structured.point"][::3][which]
    [batch] = sam.decode(embedding, points[:, None], np.ones((len(points), 1), np.int32))
    [tiled] = tile_masks(embedding[0], batch.masks.reshape(-1, 256, 256), 0.5)
    stored = {key: file[f"candidates.structured.{key}"][which.start * 3 : which.stop * 3] for key in KEYS}
    np.testing.assert_allclose(batch.iou.reshape(-1), stored["iou"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(tiled.stability, stored["stability"], rtol=0, atol=5e-3)
    np.testing.assert_array_equal([tiled.rle(index).box() for index in range(36)], stored["box"])


def test_records_say_where_they_come_from():
    found = generate_masks(ScriptedSam(), FRAME, ALL)
    assert len(found) == 16 * 3
    assert [record.predicted_iou for record in found] == sorted((r.predicted_iou for r in found), reverse=True)
    record = found[0]
    assert record.point == (15.0, 11.25) and record.crop_box == (0, 0, 120, 90)
    # A disc of radius 160 / 1024 of 120 pixels, cut off at the top and the left.
    x, y = np.meshgrid(np.arange(120) + 0.5, np.arange(90) + 0.5)
    disc = np.hypot(x - 15, y - 11.25) < 160 * 120 / 1024
    assert (record.mask & disc).sum() / (record.mask | disc).sum() > 0.97
    rows, columns = np.nonzero(record.mask)
    left, top = columns.min(), rows.min()
    assert record.bbox == (left, top, columns.max() - left, rows.max() - top)
    assert 0.8 < record.stability_score < 1


def test_a_record_is_json():
    record = generate_masks(ScriptedSam(), FRAME, ALL)[5]
    value = json.loads(json.dumps(record.to_json()))
    assert from_dict(value["segmentation"]) == record.rle
    assert value["area"] == record.mask.sum() == record.area
    assert value["point_coords"] == [list(record.point)] and value["bbox"] == list(record.bbox)
    assert value["predicted_iou"] == record.predicted_iou and value["stability_score"] == record.stability_score
    assert value["crop_box"] == [0, 0, 120, 90]


def test_a_stability_that_is_none_is_json_too():
    record = generate_masks(ScriptedSam(), FRAME, ALL)[5]
    value = replace(record, stability_score=float("nan")).to_json()
    assert value["stability_score"] is None
    json.dumps(value, allow_nan=False)


def same(one, other):
    return [r.to_json() for r in one] == [r.to_json() for r in other]


@pytest.mark.parametrize(("batch", "per_batch"), [(1, 64), (16, 5), (3, 7), (64, 1000)])
def test_batches_do_not_change_the_masks(batch, per_batch):
    options = EverythingOptions(6, per_batch, 0.92, 0.5)
    sam = ScriptedSam(batch)
    found = generate_masks(sam, FRAME, options)
    assert max(sam.calls) == min(per_batch, 36) and sum(sam.calls) == 36
    assert found and same(found, generate_masks(ScriptedSam(), FRAME, EverythingOptions(6, 64, 0.92, 0.5)))


def test_more_masks_than_are_handled_at_once():
    options = EverythingOptions(points_per_side=8, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1)
    found = generate_masks(ScriptedSam(batch=50), FRAME, options)
    assert len(found) == 8 * 8 * 3
    assert len({(record.point, record.predicted_iou) for record in found}) == len(found)


def test_half_precision_of_an_engine():
    found = generate_masks(ScriptedSam(dtype=np.float16), FRAME, ALL)
    assert len(found) == 48 and found[0].predicted_iou == pytest.approx(0.99, abs=1e-3)


def test_thresholds():
    assert len(generate_masks(ScriptedSam(), FRAME, EverythingOptions(4, 64, 0.94, 0, box_nms_thresh=1))) == 32
    assert generate_masks(ScriptedSam(iou=(0.88, 0.5, 0.1)), FRAME, EverythingOptions(4, 64, np.float32(0.88), 0)) == []
    stable = generate_masks(ScriptedSam(), FRAME, EverythingOptions(4, 64, 0, 0.8, box_nms_thresh=1))
    assert 0 < len(stable) < 48 and min(record.stability_score for record in stable) >= 0.8


def test_no_mask_found():
    assert generate_masks(ScriptedSam(iou=(0.1, 0.2, 0.3)), FRAME) == []
    assert generate_masks(ScriptedSam(radii=(-9, -9, -9)), FRAME, EverythingOptions(3, min_mask_region_area=9)) == []
    with_crops = EverythingOptions(points_per_side=3, crop_n_layers=1, min_mask_region_area=5)
    assert generate_masks(ScriptedSam(iou=(0.1, 0.2, 0.3)), FRAME, with_crops) == []


def test_empty_masks_pass_where_no_filter_is_set():
    found = generate_masks(ScriptedSam(radii=(-9, -9, -9)), FRAME, ALL)
    assert len(found) == 48
    assert all(
        record.area == 0 and record.bbox == (0, 0, 0, 0) and np.isnan(record.stability_score) for record in found
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3), (3, 700)])
def test_frames_of_few_pixels(shape):
    options = EverythingOptions(2, 64, 0, 0, crop_n_layers=2, min_mask_region_area=2)
    found = generate_masks(ScriptedSam(), np.zeros((*shape, 3), np.uint8), options)
    assert found
    for record in found:
        x, y, width, height = record.crop_box
        assert record.mask.shape == shape and x + width <= shape[1] and y + height <= shape[0]


def test_masks_of_crops_stand_where_the_crop_is():
    frame = np.zeros((400, 600, 3), np.uint8)
    sam = ScriptedSam(radii=(60, 60, 60), iou=(0.9, 0.1, 0.1))
    found = generate_masks(sam, frame, EverythingOptions(4, crop_n_layers=1, stability_score_thresh=0))
    assert sam.embedded == [(400, 600, 3), *[(268, 368, 3)] * 4]
    assert {record.crop_box[2:] for record in found} == {(600, 400), (368, 268)}
    for record in found:
        rows, columns = np.nonzero(record.mask)
        assert record.mask.shape == (400, 600)
        x, y, width, height = record.crop_box
        assert x <= columns.min() and columns.max() < x + width and y <= rows.min() and rows.max() < y + height
        assert np.hypot(columns.mean() - record.point[0], rows.mean() - record.point[1]) < 8
        radius = 60 / 1024 * width
        assert abs(record.area / (np.pi * radius**2) - 1) < 0.5  # those at the border are cut
    sizes = [record.crop_box[2] for record in found]
    assert sizes == sorted(sizes)  # smaller crops first


class HolesSam(ScriptedSam):
    """Discs with a pinhole, and a speck far away."""

    def decode(self, embedding, coords, labels):
        for batch in super().decode(embedding, coords, labels):
            batch.masks[:, 0, 100:102, 100:102] *= -1
            yield batch


def test_small_regions_are_cleaned_and_come_last():
    frame = np.zeros((1024, 1024, 3), np.uint8)
    options = EverythingOptions(3, stability_score_thresh=0, pred_iou_thresh=0, box_nms_thresh=1, crop_nms_thresh=1)
    before = generate_masks(HolesSam(radii=(300, 100, 50)), frame, options)
    cleaned = EverythingOptions(**{**options.__dict__, "min_mask_region_area": 500})
    after = generate_masks(HolesSam(radii=(300, 100, 50)), frame, cleaned)
    assert len(before) == len(after) == 27
    old = {(record.point, record.predicted_iou): record for record in before}
    changed = [record.rle != old[record.point, record.predicted_iou].rle for record in after]
    assert 0 < sum(changed) < 27 and changed == sorted(changed)
    for record in after:
        was = old[record.point, record.predicted_iou]
        assert record.stability_score == was.stability_score
        if record.rle != was.rle:
            assert 0 < abs(record.area - was.area) < 500


def test_progress_hears_of_each_point():
    heard = []

    @contextmanager
    def progress(name, total=None):
        step = type("Step", (), {"count": 0, "advance": lambda self: setattr(self, "count", self.count + 1)})()
        yield step
        heard.append((name, total, step.count))

    options = EverythingOptions(points_per_side=4, crop_n_layers=1, crop_n_points_downscale_factor=2)
    generate_masks(ScriptedSam(), FRAME, options, progress)
    assert heard == [("segment everything", 16 + 4 * 4, 32)]


@pytest.mark.parametrize("frame", [np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), "photo.jpg"])
def test_what_is_no_frame_is_refused(frame):
    with pytest.raises(UsageError, match="frame"):
        generate_masks(ScriptedSam(), frame)


def test_memory_stays_bounded():
    """Texture, the worst case: 768 masks of 720p would be 2.8 GB as logits, 0.7 GB as masks."""

    class NoiseSam(ScriptedSam):
        def decode(self, embedding, coords, labels):
            masks = np.random.default_rng(0).normal(size=(self.batch, 3, 256, 256)).astype(np.float32)
            for _ in range(0, len(coords), self.batch):
                yield LowRes(masks, np.ones((self.batch, 3), np.float32))

    frame = np.zeros((720, 1280, 3), np.uint8)
    tracemalloc.start()
    try:
        generate_masks(NoiseSam(batch=4), frame, EverythingOptions(points_per_side=16))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 128 << 20
