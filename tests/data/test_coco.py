# SPDX-License-Identifier: Apache-2.0
"""Masks as a COCO file, held against pycocotools."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest

from evit_deploy.data.coco import CocoFile, coco_box, record_annotation
from evit_deploy.data.images import decode_image
from evit_deploy.data.rle import encode
from evit_deploy.errors import UsageError
from evit_deploy.runtime.sam import MaskRecord


def blob(seed: int, height: int = 31, width: int = 47) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    dice = np.random.default_rng(seed)
    return (x - dice.integers(width)) ** 2 + (y - dice.integers(height)) ** 2 < dice.integers(0, 300)


@pytest.mark.parametrize("seed", range(8))
def test_boxes_are_those_of_pycocotools(seed: int) -> None:
    tools = pytest.importorskip("pycocotools.mask")
    rle = encode(blob(seed))
    assert coco_box(rle) == tools.toBbox(rle.to_coco()).tolist()


@pytest.mark.parametrize(
    ("mask", "box"), [(np.zeros((3, 4), bool), [0, 0, 0, 0]), (np.ones((3, 4), bool), [0, 0, 4, 3])]
)
def test_boxes_of_nothing_and_of_all(mask: np.ndarray, box: list[int]) -> None:
    assert coco_box(encode(mask)) == box


def test_pycocotools_reads_the_file(tmp_path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    masks = [blob(1), blob(2), blob(3, 20, 20)]
    records = [MaskRecord(encode(mask), (0, 0, 1, 1), 0.9, 0.97, (1.0, 2.0), (0, 0, 9, 9)) for mask in masks]
    file = CocoFile("test")
    file.add("a.png", 31, 47, [record_annotation(record) for record in records[:2]])
    file.add("empty.png", 5, 6, [])
    file.add("b.png", 20, 20, [record_annotation(records[2])])
    (tmp_path / "masks.json").write_text(json.dumps(file.to_json()))
    with contextlib.redirect_stdout(io.StringIO()):
        read = coco.COCO(str(tmp_path / "masks.json"))
    assert [image["file_name"] for image in read.loadImgs([1, 2, 3])] == ["a.png", "empty.png", "b.png"]
    found = read.loadAnns(read.getAnnIds())
    assert [one["image_id"] for one in found] == [1, 1, 3]
    for one, mask in zip(found, masks, strict=True):
        assert np.array_equal(read.annToMask(one), mask)
        assert one["area"] == mask.sum()
        assert one["bbox"] == coco_box(encode(mask))
        assert (one["predicted_iou"], one["stability_score"]) == (0.9, 0.97)


def test_images_from_bytes_are_limited() -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), (1, 2, 3)).save(buffer, "PNG")
    assert decode_image(buffer.getvalue(), "it", 600).shape == (20, 30, 3)
    with pytest.raises(UsageError, match=r"it is not an image(.|\n)*30x20, more than"):
        decode_image(buffer.getvalue(), "it", 599)
    with pytest.raises(UsageError, match="it is not an image"):
        decode_image(b"GIF89a, but no more", "it", 599)
