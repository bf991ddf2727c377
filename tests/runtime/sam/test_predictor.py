# SPDX-License-Identifier: Apache-2.0
"""The predictor: pictures of any size, embeddings as values, threads, results and what is refused."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask as coco

from evit_deploy.errors import UsageError
from evit_deploy.runtime.sam import Embedding
from tests.runtime.sam.doubles import RULES, calls, encoder_graph, make_engine, toy_embedding, toy_sam

FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture
def sam():
    with toy_sam() as found:
        yield found


def test_points_are_found_where_they_were_asked_for(sam):
    sam.set_image(FRAME)
    for x, y in ((10, 12), (50, 40)):
        mask = sam.predict([[x, y]]).masks[2]
        rows, columns = np.nonzero(mask)
        assert abs(rows.mean() - y) < 1.0
        assert abs(columns.mean() - x) < 1.0


def test_shapes_of_results(sam):
    sam.set_image(FRAME)
    one, batch = sam.predict([[3, 4]]), sam.predict([[[3, 4]], [[5, 6]]])
    assert one.masks.shape == (3, 48, 64)
    assert one.masks.dtype == np.bool_
    assert one.low_res.shape == (3, 256, 256)
    assert batch.masks.shape == (2, 3, 48, 64)
    assert batch.iou.shape == (2, 3)
    assert sam.predict(box=[1, 1, 9, 9], multimask=False).masks.shape == (1, 48, 64)
    assert sam.predict(box=np.zeros((0, 4))).masks.shape == (0, 3, 48, 64)
    assert sam.predict(box=np.zeros((0, 4))).best().coco() == []


def test_the_best_mask_is_that_of_the_highest_predicted_iou(sam):
    sam.set_image(FRAME)
    batch = sam.predict([[[3, 4]], [[50, 30]]])
    best = batch.best()
    assert best.iou.shape == (2, 1)
    np.testing.assert_array_equal(best.iou[:, 0], batch.iou.max(axis=1))
    np.testing.assert_array_equal(best.masks[:, 0], batch.masks[:, 1])
    one = sam.predict([[50, 30]])
    np.testing.assert_array_equal(one.best().masks, best.masks[1])
    np.testing.assert_array_equal(one[1].masks, one.best().masks)
    with pytest.raises(UsageError, match="one axis"):
        batch[0, 1]
    assert batch[0][1].rle() == [batch.rle()[1]]
    assert len(batch) == 2
    np.testing.assert_array_equal(batch[1].masks, one.masks)


def test_an_answer_is_fed_back(sam):
    sam.set_image(FRAME)
    first = sam.predict([[30, 20]])
    again = sam.predict([[30, 20]], mask=first.best().low_res)
    assert calls(sam.decoders[0])[-1]["has_mask"].tolist() == [1]
    np.testing.assert_array_equal(calls(sam.decoders[0])[-1]["mask"][0, 0], first.low_res[1])
    assert (again.low_res != first.low_res).all()
    batch = sam.predict([[[30, 20]], [[9, 9]]])
    sam.predict([[[30, 20]], [[9, 9]]], mask=batch.best().low_res)


@pytest.mark.parametrize("pixels_first", [True, False])
def test_run_lengths_and_coco(sam, pixels_first):
    sam.set_image(FRAME)
    found = sam.predict([[[30, 20]], [[2, 2]]])
    if pixels_first:
        assert found.masks.any()
    masks = found.masks if pixels_first else sam.predict([[[30, 20]], [[2, 2]]]).masks
    records, runs = found.coco(), found.rle()
    assert len(records) == len(runs) == 6
    for record, run, mask in zip(records, runs, masks.reshape(-1, 48, 64), strict=True):
        assert record["segmentation"] == {
            "size": [48, 64], "counts": coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        }  # fmt: skip
        assert record["bbox"] == coco.toBbox(record["segmentation"]).tolist()
        assert record["area"] == mask.sum() == sum(run["counts"][1::2])
    assert [(record["prompt"], record["mask"]) for record in records] == [(p, m) for p in range(2) for m in range(3)]
    assert [record["predicted_iou"] for record in records] == pytest.approx(found.iou.ravel().tolist())


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 20_000), (20_000, 2), (512, 512), (1200, 700)])
def test_pictures_of_any_size(sam, size):
    frame = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    embedding = sam.set_image(frame)
    masks = sam.predict([[size[1] / 2, size[0] / 2]])
    assert (embedding.frame.height, embedding.frame.width) == size
    assert masks.masks.shape == (3, *size)
    asked = calls(sam.encoder)[-1]
    assert asked["size"].max() == 512
    assert asked["size"].min() >= 1


@pytest.mark.parametrize(
    "frame",
    [FRAME[..., 0], FRAME.astype(float), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 4), np.uint8), "a.jpg", None],
)  # fmt: skip
def test_what_is_no_frame_is_refused_and_the_one_before_stays(sam, frame):
    embedding = sam.set_image(FRAME)
    with pytest.raises(UsageError, match="frame"):
        sam.set_image(frame)
    assert sam.predict([[1, 1]]).frame == embedding.frame


def test_predict_needs_a_picture(sam):
    with pytest.raises(UsageError, match=r"no picture was set.\n.*set_image"):
        sam.predict([[1, 2]])
    with pytest.raises(UsageError, match=r"set_image.*predict.*everything"):
        sam(FRAME)


def test_prompts_are_checked_against_the_picture_that_is_asked(sam):
    small, large = sam.embed(FRAME), sam.embed(np.repeat(FRAME, 3, axis=1))
    sam.set_image(FRAME)
    sam.predict([[100, 20]], embedding=large)
    for embedding in (None, small):
        with pytest.raises(UsageError, match="outside of the frame"):
            sam.predict([[100, 20]], embedding=embedding)


def test_embeddings_are_values(sam):
    embedding = sam.embed(FRAME)
    with pytest.raises(ValueError, match="read-only"):
        embedding.array[0] = 1
    other = sam.embed(255 - FRAME)
    assert embedding.array.mean() != pytest.approx(other.array.mean())  # not the engine's buffer
    expected = sam.predict([[9, 9]], embedding=embedding).iou
    kept = Embedding(embedding.array.copy(), embedding.frame, embedding.model)
    np.testing.assert_array_equal(sam.predict([[9, 9]], embedding=kept).iou, expected)
    with toy_sam((1, 8), dtype="float16") as half:  # the same model in another precision
        np.testing.assert_allclose(half.predict([[9, 9]], embedding=embedding).iou, expected, atol=1e-3)


def test_embeddings_of_others_are_refused(sam):
    embedding = sam.embed(FRAME)
    with (
        toy_sam(model="l1-sam") as other,
        pytest.raises(UsageError, match=r"another model's encoder.\n.*l0-sam.*\n.*l1-sam"),
    ):
        other.predict([[9, 9]], embedding=embedding)
    for wrong in (embedding.array, replace(embedding, array=np.zeros((1, 256, 32, 32), np.float32)), "x"):
        with pytest.raises(UsageError, match="this is no embedding"):
            sam.predict([[9, 9]], embedding=wrong)


def test_encoders_of_another_batch_and_of_tensors():
    with toy_sam(batch=2) as sam:
        assert sam.embed(FRAME).array.shape == (1, 256, 64, 64)
        assert calls(sam.encoder)[0]["image"].shape == (2, 512, 512, 3)
    with toy_sam() as sam:
        sam.encoder = make_engine(encoder_graph(kind="tensor"), toy_embedding)
        sam.embed(FRAME)
        image = calls(sam.encoder)[0]["image"][0]
        assert image.shape == (3, 512, 512)
        assert (image[:, 384:] == 0).all()  # zero after normalising
        expected = (FRAME.mean(axis=(0, 1)) / 255 - RULES.mean) / RULES.std
        np.testing.assert_allclose(image[:, :384].mean(axis=(1, 2)), expected, atol=0.02)


@pytest.mark.parametrize("sizes", [None, (1, 8, 64)])
def test_threads_share_one_predictor(sizes):
    rng = np.random.default_rng(3)
    frames = [rng.integers(0, 40 * (index + 1), (48, 64, 3), dtype=np.uint8) for index in range(4)]
    points = rng.uniform((0, 0), (64, 48), (11, 1, 2))
    with toy_sam(sizes) as sam:
        expected = [sam.predict(points, embedding=sam.embed(frame)).iou for frame in frames]
        start = threading.Barrier(8)

        def work(index):
            start.wait()
            rounds = [sam.predict(points, embedding=sam.embed(frames[index % 4])) for _ in range(3)]
            streamed = [part.iou for part in sam.decode(sam.embed(frames[index % 4]), points, np.ones((11, 1)))]
            return [one.iou for one in rounds] + [np.concatenate(streamed)]

        with ThreadPoolExecutor(8) as pool:
            for index, found in enumerate(pool.map(work, range(8))):
                for iou in found:
                    np.testing.assert_array_equal(iou, expected[index % 4])


def test_closing_frees_all_engines():
    sam = toy_sam((1, 8))
    backends = [engine._backend for engine in (sam.encoder, *sam.decoders)]
    with sam:
        embedding = sam.set_image(FRAME)
    assert all(backend.calls[-1] == "closed" for backend in backends)
    with pytest.raises(UsageError, match="closed"):
        sam.predict([[1, 1]], embedding=embedding)
    sam.close()
