# SPDX-License-Identifier: Apache-2.0
"""Frames in, results out: sizes, confidence, overlays, top-k, and frames that are none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import evit_deploy
from evit_deploy.data.scenes import render_scene
from evit_deploy.engines import build_engine
from evit_deploy.errors import UsageError
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.models import create_model
from evit_deploy.runtime.engine import EngineBusyError
from evit_deploy.runtime.preprocess import fit_frame, normalise


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """One segmenter per kind of output, and a classifier."""
    root = tmp_path_factory.mktemp("tasks")
    found = {}
    for name, output in (("b0-seg", "classes"), ("b0-seg", "confidence"), ("b0-seg", "logits"), ("b0-cls", "logits")):
        size = (64, 128) if name == "b0-seg" else (64, 64)
        export = root / f"{name}-{output}"
        export_model(name, export, ExportOptions(weights="random", resolution=size, output=output))
        build_engine(export, root / f"engine-{export.name}", target="cpu", compiler="onnxruntime")
        found[name, output] = evit_deploy.load(root / f"engine-{export.name}")
    yield found
    for task in found.values():
        task.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 150), width=st.integers(1, 150), output=st.sampled_from(["classes", "confidence", "logits"])
)
def test_result_has_the_frame_s_own_size(engines, height, width, output):
    frame = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    task = engines["b0-seg", output]
    result = task(frame, confidence=output != "classes")
    assert result.class_map.shape == (height, width)
    assert result.class_map.dtype == np.uint8
    assert result.class_map.max() < 19
    assert result.overlay(frame).shape == frame.shape
    assert sum(result.fractions().values()) == pytest.approx(1)
    if output != "classes":
        assert result.confidence.shape == (height, width)
        assert ((result.confidence > 1 / 19 - 1e-6) & (result.confidence <= 1 + 1e-6)).all()


def test_logits_follow_the_reference_to_the_frame_s_size(engines):
    """Bicubic upsampling to the frame's own size before the argmax."""
    frame = render_scene(4, 97, 131).image
    task = engines["b0-seg", "logits"]
    found = task(frame, confidence=True)
    rules = task.manifest.preprocess
    fitted = fit_frame(frame, rules, 64, 128)
    with torch.inference_mode():
        logits = create_model("b0-seg", weights="random")(torch.from_numpy(normalise(fitted[None], rules)))
        full = torch.nn.functional.interpolate(logits, (97, 131), mode="bicubic", align_corners=False)[0]
    assert (found.class_map == full.argmax(0).numpy()).mean() > 0.999
    np.testing.assert_allclose(found.confidence, full.softmax(0).amax(0).numpy(), atol=1e-4)


def test_confidence_needs_a_graph_that_knows_it(engines, frame):
    with pytest.raises(UsageError, match="--output confidence"):
        engines["b0-seg", "classes"](frame, confidence=True)


def test_result_is_a_buffer_and_a_copy_is_not(engines, frame):
    task = engines["b0-seg", "classes"]
    other = np.ascontiguousarray(frame[::-1])
    result = task(frame)
    kept = result.copy()
    task(other)
    assert not np.array_equal(kept.class_map, result.class_map)
    assert np.array_equal(kept.class_map, task(frame).class_map)


def test_overlay_mixes_half_and_half(engines, frame):
    result = engines["b0-seg", "classes"](frame)
    expected = (frame.astype(float) + result.colour()) / 2
    assert np.abs(result.overlay(frame) - expected).max() <= 0.5
    np.testing.assert_array_equal(result.overlay(frame, opacity=0.0), frame)
    with pytest.raises(UsageError, match="another size"):
        result.overlay(frame[1:])


@pytest.mark.parametrize("task", [("b0-seg", "classes"), ("b0-cls", "logits")])
@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((8, 0, 3), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
        [[1, 2, 3]],
        None,
    ],
)
def test_not_a_frame(engines, task, wrong):
    with pytest.raises(UsageError, match="frame") as error:
        engines[task](wrong)
    assert "uint8 [H, W, 3] RGB" in str(error.value)


def test_classifier_gives_the_best_of_pytorch(engines):
    frame = render_scene(8, 120, 90).image
    task = engines["b0-cls", "logits"]
    found = task(frame, top=7)
    rules = task.manifest.preprocess
    with torch.inference_mode():
        fitted = fit_frame(frame, rules, 64, 64)
        scores = create_model("b0-cls", weights="random")(torch.from_numpy(normalise(fitted[None], rules)))[0]
    best = scores.softmax(0).topk(7)
    assert list(found.indices) == best.indices.tolist()
    np.testing.assert_allclose(found.probabilities, best.values.numpy(), rtol=1e-4)
    assert len(found.names) == 7
    assert list(found.probabilities) == sorted(found.probabilities, reverse=True)


def test_too_narrow_to_be_classified(engines):
    with pytest.raises(UsageError, match="at most 32 times"):
        engines["b0-cls", "logits"](np.zeros((1, 2000, 3), np.uint8))


def test_a_second_thread_cannot_mix_a_classifier_s_answers(engines):
    """The engine is held until the answer has left its buffer."""
    task = engines["b0-cls", "logits"]
    with task.engine.exclusive(), ThreadPoolExecutor() as pool:
        refused = pool.submit(task, np.zeros((8, 8, 3), np.uint8))
        assert isinstance(refused.exception(timeout=20), EngineBusyError)


@pytest.mark.parametrize("top", [0, -1, 1001])
def test_top_out_of_range(engines, frame, top):
    with pytest.raises(UsageError, match="1 to 1000"):
        engines["b0-cls", "logits"](frame, top=top)
