# SPDX-License-Identifier: Apache-2.0
"""Exports of every model: clean graphs that agree with PyTorch, and the options that shape them."""

from __future__ import annotations

import collections
import subprocess
import sys
import time

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from evit_deploy.agreement import worst
from evit_deploy.data.images import write_image
from evit_deploy.data.scenes import render_scene
from evit_deploy.errors import CheckFailedError, UsageError
from evit_deploy.export import ExportOptions, export_model, exporter
from evit_deploy.export.exporter import preprocess_rules
from evit_deploy.manifest import read_artifact
from evit_deploy.models import create_model, find_model, list_models
from evit_deploy.runtime.preprocess import normalise
from evit_deploy.runtime.verify import Reference

SIDES = {"cls": (96, 96), "seg": (64, 128)}


def export(tmp_path, name="b0-seg", **options):
    options = {"weights": "random", "resolution": SIDES[find_model(name).task], **options}
    return export_model(name, tmp_path / name, ExportOptions(**options))


def load_graph(tmp_path, name="b0-seg"):
    return onnx.load(tmp_path / name / "model.onnx")


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("b0-cls", "b1-seg", "l1-cls") else pytest.param(name, marks=pytest.mark.slow)
        for name in (*list_models("cls"), *list_models("seg"))
    ],
)
def test_every_model_agrees_with_pytorch(tmp_path, name):
    manifest, written = export(tmp_path, name)
    assert written
    assert read_artifact(tmp_path / name) == manifest
    row = worst(manifest.agreement.frames)
    assert manifest.agreement.passed
    assert row.relative_l2 is not None
    assert row.relative_l2 <= 1e-4
    assert row.class_agreement >= 0.999
    check_clean(load_graph(tmp_path, name), 17)


def check_clean(model, opset):
    """No leftovers of training, no shape arithmetic, no pairs of casts, and names that say where a node comes from."""
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    kinds = collections.Counter(node.op_type for node in model.graph.node)
    unwanted = {
        "BatchNormalization",
        "Dropout",
        "Identity",
        "Shape",
        "Gather",
        "Constant",
        "Unsqueeze",
        "Range",
        "Resize",
    }
    assert not unwanted & set(kinds), kinds
    assert kinds["Cast"] <= 2
    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type == "Cast":
            assert makers.get(node.input[0], node).op_type != "Cast" or makers.get(node.input[0]) is None
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    assert all(name.startswith(("backbone.", "head.", "classify.")) for name in convolutions), convolutions
    weights = {tensor.name for tensor in model.graph.initializer}
    assert (
        "backbone.stages.0.op_list.0.conv.weight" in weights or "backbone.input_stem.op_list.0.conv.weight" in weights
    )


@pytest.mark.parametrize("opset", [17, 18, 19, 20])
def test_exactly_the_opset_asked_for(tmp_path, opset):
    manifest, _ = export(tmp_path, opset=opset)
    assert manifest.graph.opset == opset
    check_clean(load_graph(tmp_path), opset)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 16}, "opset 16 is not supported"),
        ({"opset": 21}, "17 to 20"),
        ({"resolution": (100, 128)}, "such as 96x128, the nearest"),
        ({"resolution": (0, 0)}, "such as 32x32"),
        ({"resolution": (99968, 99968)}, "34 million pixels"),
        ({"batch": (0, 1)}, "within 1..64"),
        ({"batch": (4, 2)}, "within 1..64"),
        ({"batch": (1, 65)}, "within 1..64"),
        ({"input": "video"}, "input image or tensor"),
        ({"output": "boxes"}, "classes, confidence, logits"),
    ],
)
def test_options_that_make_no_sense(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        export(tmp_path, **options)
    assert not (tmp_path / "b0-seg").exists()


def test_classifiers_have_no_class_map(tmp_path):
    with pytest.raises(UsageError, match="whole images"):
        export(tmp_path, "b0-cls", output="classes")


@pytest.mark.parametrize("output", ["classes", "confidence", "logits"])
@pytest.mark.parametrize("input", ["image", "tensor"])
def test_inputs_and_outputs(tmp_path, input, output):
    manifest, _ = export(tmp_path, input=input, output=output)
    graph = manifest.graph
    shape, dtype = ((1, 64, 128, 3), "uint8") if input == "image" else ((1, 3, 64, 128), "float32")
    assert [(t.name, t.dtype, t.shape) for t in graph.inputs] == [("image", dtype, shape)]
    expected = {
        "classes": [("classes", "uint8", (1, 64, 128))],
        "confidence": [("classes", "uint8", (1, 64, 128)), ("confidence", "float32", (1, 64, 128))],
        "logits": [("logits", "float32", (1, 19, 8, 16))],
    }[output]
    assert [(t.name, t.dtype, t.shape) for t in graph.outputs] == expected
    model = load_graph(tmp_path)
    assert [value.name for value in model.graph.output] == [name for name, _, _ in expected]
    assert "logits" in {name for node in model.graph.node for name in node.output}
    assert max(frame.relative_l2 for frame in manifest.agreement.frames) <= 1e-4


def test_class_map_and_confidence_follow_the_reference_rule(tmp_path):
    """Logits, bicubic upsampling to the image, then argmax and softmax, all by PyTorch."""
    export(tmp_path, output="confidence")
    image = render_scene(9, 64, 128).image
    session = ort.InferenceSession(tmp_path / "b0-seg" / "model.onnx")
    classes, confidence = session.run(["classes", "confidence"], {"image": image[None]})
    model = create_model("b0-seg", weights="random")
    with torch.inference_mode():
        logits = model(torch.from_numpy(normalise(image[None], preprocess_rules(find_model("b0-seg")))))
        full = torch.nn.functional.interpolate(logits, scale_factor=8, mode="bicubic", align_corners=False)
    best = full.softmax(1).max(1)
    assert (classes == best.indices.numpy()).mean() > 0.999
    np.testing.assert_allclose(confidence, best.values.numpy(), atol=1e-4)


def test_dynamic_batch_keeps_everything_else_static(tmp_path):
    manifest, _ = export(tmp_path, batch=(1, 4), output="logits")
    model = load_graph(tmp_path)
    check_clean(model, 17)
    assert manifest.graph.inputs[0].shape == (-1, 64, 128, 3)
    assert manifest.graph.outputs[0].shape == (-1, 19, 8, 16)
    session = ort.InferenceSession(tmp_path / "b0-seg" / "model.onnx")
    images = np.stack([render_scene(seed, 64, 128).image for seed in range(4)])
    together = session.run(None, {"image": images})[0]
    apart = np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])
    np.testing.assert_allclose(together, apart, atol=1e-4)


def test_static_batch_above_one(tmp_path):
    manifest, _ = export(tmp_path, batch=(3, 3))
    assert manifest.graph.inputs[0].shape == (3, 64, 128, 3)
    assert manifest.agreement.passed


def test_a_graph_that_mixes_its_batch_is_not_written(tmp_path, monkeypatch):
    """Every item gets the answer of the first: right for a batch of one, and for a batch of equal frames."""
    real = exporter.trace_deployed

    def wrong(*arguments, **options):
        model = real(*arguments, **options)
        graph = model.graph
        graph.input[0].name = "every"
        first = onnx.numpy_helper.from_array(np.zeros(1, np.int64), "first")
        shape = onnx.helper.make_node("Mul", ["every", "none"], ["nothing"])
        pick = onnx.helper.make_node("Gather", ["every", "first"], ["only"], axis=0)
        spread = onnx.helper.make_node("Add", ["nothing", "only"], ["image"])
        graph.initializer.extend([first, onnx.numpy_helper.from_array(np.zeros(1, np.uint8), "none")])
        for node in (spread, pick, shape):
            graph.node.insert(0, node)
        graph.input[0].name = "every"
        return model

    monkeypatch.setattr(exporter, "trace_deployed", wrong)
    export(tmp_path, name="b0-seg", batch=(1, 1))
    with pytest.raises(CheckFailedError, match=r"\[2 of 3\]"):
        export(tmp_path, name="b0-seg", batch=(1, 3))


def test_changed_images_are_another_export(tmp_path):
    for seed in (1, 2):
        write_image(tmp_path / "photos" / "a.png", render_scene(seed, 70, 90).image)
        _, written = export(tmp_path, images=tmp_path / "photos")
        assert written


def test_a_broken_checkpoint_has_nothing_to_agree_with(tmp_path):
    state = create_model("b0-seg", weights="random").state_dict()
    state["head.output_ops.0.op_list.1.conv.bias"][3] = float("nan")
    torch.save(state, tmp_path / "broken.pt")
    with pytest.raises(CheckFailedError, match="PyTorch's own output is not finite"):
        export(tmp_path, weights=str(tmp_path / "broken.pt"))
    assert not (tmp_path / "b0-seg").exists()


@pytest.mark.slow
def test_b1_seg_at_full_size_takes_seconds(tmp_path):
    """Under 20 s on two cores, start of the program and PyTorch's answers included; the best of three."""
    command = [sys.executable, "-m", "evit_deploy.cli.main", "export", "b1-seg", "--weights", "random"]
    times = []
    for seed in range(3):
        start = time.perf_counter()
        subprocess.run([*command, "--seed", str(seed), "--workspace", tmp_path], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    assert min(times) < 20


def test_own_images_prove_the_agreement(tmp_path):
    for seed in (1, 2):
        write_image(tmp_path / "photos" / f"{seed}.png", render_scene(seed, 70, 90).image)
    manifest, _ = export(tmp_path, images=tmp_path / "photos")
    assert [frame.frame for frame in manifest.agreement.frames] == ["1.png", "2.png"]
    assert Reference.load(tmp_path / "b0-seg").images.shape == (2, 64, 128, 3)


def test_same_inputs_are_a_no_op_and_others_are_not(tmp_path):
    first, written = export(tmp_path)
    again, written_again = export(tmp_path)
    assert (written, written_again) == (True, False)
    assert again == first
    _, other = export(tmp_path, seed=1)
    assert other
    (tmp_path / "b0-seg" / "model.onnx").write_bytes(b"damaged")
    _, repaired = export(tmp_path, seed=1)
    assert repaired
    read_artifact(tmp_path / "b0-seg")


def test_a_graph_that_disagrees_is_not_written(tmp_path, monkeypatch):
    first, _ = export(tmp_path)
    real = exporter.trace_deployed

    def wrong(*arguments, **options):
        model = real(*arguments, **options)
        bias = next(t for t in model.graph.initializer if t.name.startswith("head.output_ops") and t.dims == [19])
        values = onnx.numpy_helper.to_array(bias).copy()
        values[::2] += 5.0
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        return model

    monkeypatch.setattr(exporter, "trace_deployed", wrong)
    with pytest.raises(CheckFailedError, match="does not agree with PyTorch"):
        export(tmp_path, seed=1)
    assert read_artifact(tmp_path / "b0-seg") == first
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["b0-seg"]


def test_manifest_says_where_the_weights_came_from(tmp_path):
    torch.save(create_model("b0-seg", weights="random", seed=3).state_dict(), tmp_path / "mine.pt")
    manifest, _ = export(tmp_path, weights=str(tmp_path / "mine.pt"))
    assert manifest.weights.source == "path"
    assert manifest.weights.location == str(tmp_path / "mine.pt")
    random, _ = export(tmp_path)
    assert any("random" in warning for warning in random.warnings)
