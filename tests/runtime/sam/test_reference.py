# SPDX-License-Identifier: Apache-2.0
"""The prompts that travel with a decoder: kept whole, compact where bits are few, and able to find faults."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from evit_deploy.agreement import BUDGETS
from evit_deploy.data.masks import PromptFrame
from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.runtime.reference import Reference
from evit_deploy.runtime.sam.reference import PromptReference
from evit_deploy.runtime.sam.verify import verify_bundle, verify_prompts
from tests.runtime.sam.doubles import RULES, calls, decoder_graph, encoder_graph, make_engine, toy_embedding, toy_masks

BUDGET = BUDGETS["fp32"]


@pytest.fixture
def reference():
    """Two pictures, five prompts, one of them with a mask."""
    coords = np.array(
        [[[300, 200], [0, 0]], [[500, 300], [600, 350]], [[100, 90], [0, 0]], [[20, 30], [0, 0]], [[700, 500], [0, 0]]]
    )
    labels = np.array([[1, -2], [1, 0], [1, -2], [1, -2], [0, -2]], np.int32)
    given = np.array([0, 0, 1, 0, 0], np.float32)
    mask = np.zeros((5, 1, 256, 256), np.float32)
    mask[2] = 1.5
    of = np.array([0, 0, 0, 1, 1])
    embeddings = np.stack([np.full((256, 64, 64), value, np.float32) for value in (100, 50)])
    answers = [
        toy_masks({"coords": coords[i : i + 1], "labels": labels[i : i + 1], "embedding": embeddings[of[i]][None],
                   "mask": mask[i : i + 1], "has_mask": given[i : i + 1]})
        for i in range(5)
    ]  # fmt: skip
    masks = np.concatenate([np.concatenate([a["single_mask"], a["masks"]], axis=1) for a in answers]).astype(np.float32)
    iou = np.concatenate([np.concatenate([a["single_iou"], a["iou"]], axis=1) for a in answers]).astype(np.float32)
    frames = (PromptFrame(90, 120), PromptFrame(100, 100))
    return PromptReference(
        tuple(f"{'ab'[o]}: {i}" for i, o in enumerate(of)), frames, embeddings, of, coords.astype(np.float32), labels,
        mask, given, masks, iou,
    )  # fmt: skip


def test_kept_whole(reference, tmp_path):
    reference.save(tmp_path)
    found = PromptReference.load(tmp_path)
    for field in fields(PromptReference):
        expected = getattr(reference, field.name)
        if isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(getattr(found, field.name), expected)
            assert getattr(found, field.name).dtype == expected.dtype
        else:
            assert getattr(found, field.name) == expected


def test_fixed_point(reference, tmp_path):
    reference.save(tmp_path, bits=13)
    found = PromptReference.load(tmp_path)
    step = np.abs(reference.masks).max() * 2.0**-13
    np.testing.assert_allclose(found.masks, reference.masks, atol=0.51 * step)
    np.testing.assert_array_equal(found.iou, reference.iou)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off"])
def test_damage_is_named(tmp_path, content):
    (tmp_path / "reference.npz").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"reference.npz cannot be read"):
        PromptReference.load(tmp_path)


@pytest.mark.parametrize("graph", [decoder_graph(), decoder_graph(1), decoder_graph(8)])
def test_a_faithful_decoder_passes(reference, graph):
    engine = make_engine(graph, toy_masks)
    steps = []
    found = verify_prompts(engine.infer, engine.manifest, reference, BUDGET, lambda: steps.append(1))
    assert found.passed
    assert {row.frame.split(" [")[0] for row in found.frames} == set(reference.names)
    assert len(steps) == len(calls(engine))
    for asked in calls(engine):
        if len(asked["mask"]) == 1 and asked["has_mask"][0]:
            assert (asked["labels"] == asked["labels"][0]).all()  # a shared mask meets its own prompt only


@pytest.mark.parametrize("place", [0, 5, 7])
@pytest.mark.parametrize("fault", ["mask", "score", "nan"])
def test_a_fault_in_one_place_of_the_batch_is_found(reference, place, fault):
    def broken(inputs):
        found = {name: array.copy() for name, array in toy_masks(inputs).items()}
        if fault == "mask":
            found["masks"][place, 1] *= -1
        elif fault == "score":
            found["single_iou"][place] += 0.1
        else:
            found["masks"][place, 2, 7, 7] = np.nan
        return found

    engine = make_engine(decoder_graph(8), broken)
    assert not verify_prompts(engine.infer, engine.manifest, reference, BUDGET).passed


def test_wrong_pixels_are_found(reference):
    graph = decoder_graph(1, camera=(48, 64))
    engine = make_engine(graph, lambda inputs: toy_masks(inputs, (48, 64)))
    found = verify_prompts(engine.infer, engine.manifest, reference, BUDGET)
    assert not found.passed

    def right(inputs):
        answer = toy_masks(inputs)
        for name, source in (("pixels", "masks"), ("single_pixels", "single_mask")):
            answer[name] = PromptFrame(48, 64).pixels(answer[source][0])[None]
        return answer

    engine = make_engine(graph, right)
    assert verify_prompts(engine.infer, engine.manifest, reference, BUDGET).passed


def test_prompts_that_do_not_fit_are_left_out(reference):
    engine = make_engine(decoder_graph(1, slots=1), toy_masks)
    found = verify_prompts(engine.infer, engine.manifest, reference, BUDGET)
    assert len(found.frames) == 4
    full = replace(reference, labels=np.ones_like(reference.labels))
    with pytest.raises(UsageError, match="too few slots"):
        verify_prompts(engine.infer, engine.manifest, full, BUDGET)


def test_from_picture_to_masks(reference):
    frames = tuple(np.full((*size, 3), value, np.uint8) for size, value in (((90, 120), 100), ((100, 100), 50)))
    images = np.zeros((2, 512, 512, 3), np.uint8)
    images[0, :384], images[1] = 100, 50
    pictures = Reference(("a", "b"), images, reference.embeddings, frames, RULES)
    encoder, decoder = make_engine(encoder_graph(), toy_embedding), make_engine(decoder_graph(), toy_masks)
    parts = (encoder.infer, decoder.infer, encoder.manifest, decoder.manifest)
    steps = []
    found = verify_bundle(*parts, pictures, reference, BUDGET, lambda: steps.append(1))
    assert found.passed
    assert len(steps) == len(found.frames) == 5
    assert calls(encoder)[0]["size"].tolist() == [[384, 512]]
    worse = Reference(("a", "b"), images // 2, reference.embeddings, frames, RULES)
    assert not verify_bundle(*parts, worse, reference, BUDGET).passed  # the embedding is the engine's own
    with pytest.raises(UsageError, match="do not belong together"):
        verify_bundle(*parts, Reference(("a",), images[:1], reference.embeddings[:1]), reference, BUDGET)
