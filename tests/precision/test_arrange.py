# SPDX-License-Identifier: Apache-2.0
"""Rearranged graphs: equal in FP32, and of the form that was asked for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from evit_deploy.errors import ArtifactError
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.precision.arrange import apply_pass, arrange, merge_shortcuts
from evit_deploy.precision.attention import FORMS
from evit_deploy.precision.faithful import with_logits

RNG = np.random.default_rng(0)


def run(model, feeds):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([value.name for value in session.get_outputs()], session.run(None, feeds), strict=True))


def kinds(model):
    return Counter(node.op_type for node in model.graph.node)


@pytest.fixture(scope="module", params=[("cityscapes", "b0-seg"), ("ade20k", "b1-seg-ade20k")], ids=lambda p: p[0])
def confidence_export(request, tmp_path_factory):
    """A segmenter with classes and confidence, 64×96; 19 classes play a tournament, 150 do not."""
    folder = tmp_path_factory.mktemp("confidence") / "export"
    export_model(
        request.param[1], folder, ExportOptions(weights="random", resolution=(64, 96), output="confidence", opset=18)
    )
    return onnx.load(folder / "model.onnx")


@pytest.mark.parametrize("form", FORMS)
def test_image_to_classes_and_confidence(form, confidence_export):
    image = RNG.integers(0, 256, (1, 64, 96, 3), dtype=np.uint8)
    arranged = arrange(confidence_export, form)
    expected, found = (run(with_logits(model), {"image": image}) for model in (confidence_export, arranged))
    assert np.linalg.norm(found["logits"] - expected["logits"]) < 1e-5 * np.linalg.norm(expected["logits"])
    assert (found["classes"] == expected["classes"]).mean() > 0.999  # ties
    np.testing.assert_allclose(found["confidence"], expected["confidence"], atol=1e-4)


def test_bytes_stand_at_the_ends_only(confidence_export):
    """TensorRT has no uint8 inside a graph."""
    arranged = arrange(confidence_export)
    first, last = arranged.graph.node[0], next(node for node in arranged.graph.node if "classes" in node.output)
    assert (first.op_type, first.input[0]) == ("Cast", "image")
    assert last.op_type == "Cast"
    casts = [node for node in arranged.graph.node if node.op_type == "Cast"]
    assert [node.name for node in casts] == [first.name, last.name]


def test_few_classes_play_a_tournament(confidence_export):
    weights = {tensor.name: tensor.dims for tensor in confidence_export.graph.initializer}
    classes = next(dims[0] for name, dims in weights.items() if dims and dims[0] in (19, 150))
    found = kinds(arrange(confidence_export))
    assert found["ArgMax"] == (0 if classes == 19 else 1)
    assert found["Max"] == (18 if classes == 19 else 0)
    assert not found["DepthToSpace"]


def test_the_first_of_equal_classes_wins(exported):
    """As ArgMax decides; all logits are equal when the last convolution is zero."""
    model = onnx.ModelProto()
    model.CopyFrom(exported)
    for tensor in model.graph.initializer:
        if "output_ops.0.op_list.1" in tensor.name:
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(tensor.dims, np.float32), tensor.name))
    image = RNG.integers(0, 256, (1, 64, 128, 3), dtype=np.uint8)
    assert not run(arrange(model), {"image": image})["classes"].any()


def test_forms_are_what_they_say(tensor_exports):
    portable, conv, matmul = (arrange(tensor_exports[1], form) for form in ("portable", "conv", "matmul"))
    computed = [
        [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] not in names(model)]
        for model in (portable, conv, matmul)
    ]
    assert [len(nodes) for nodes in computed] == [0, 4, 0]  # b0 has four attention modules
    assert kinds(portable)["DepthToSpace"] == 2
    assert kinds(conv)["Resize"] == kinds(matmul)["Resize"] == 2
    open_batch = arrange(tensor_exports[2], "conv")  # one convolution cannot have weights per image
    assert all(node.input[1] in names(open_batch) for node in open_batch.graph.node if node.op_type == "Conv")


def names(model):
    return {tensor.name for tensor in model.graph.initializer}


def test_the_original_is_left_alone(exported):
    before = exported.SerializeToString()
    arrange(exported)
    assert exported.SerializeToString() == before


def test_the_shortcut_before_downsampling_is_merged():
    """b1 has it at the end of its first stage; b0's sums feed what the compiler would have to copy."""
    arranged = apply_pass(small_network(), merge_shortcuts)
    (concat,) = [node for node in arranged.graph.node if node.op_type == "Concat"]
    assert list(concat.input) == ["x1", "h"]
    assert kinds(arranged)["Conv"] == 4
    x = RNG.standard_normal((1, 4, 6, 6)).astype(np.float32)
    expected, found = (run(model, {"image": x})["y"] for model in (small_network(), arranged))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def small_network():
    """A 1×1 convolution, a residual block, and a 1×1 convolution that alone reads its sum."""
    shapes = {"a": (8, 4, 1, 1), "b": (16, 8, 1, 1), "c": (16, 16, 3, 3), "d": (8, 16, 1, 1), "e": (12, 8, 1, 1)}
    weights = [
        (name, np.random.default_rng(7).standard_normal(shape).astype(np.float32)) for name, shape in shapes.items()
    ]
    biases = [
        (f"{name}.bias", np.random.default_rng(8).standard_normal(shape[0]).astype(np.float32))
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["image", "a", "a.bias"], ["x1"], name="a.Conv"),
        helper.make_node("Conv", ["x1", "b", "b.bias"], ["x2"], name="b.Conv"),
        helper.make_node("Conv", ["x2", "c", "c.bias"], ["h"], name="c.Conv", pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["h", "d", "d.bias"], ["p"], name="d.Conv"),
        helper.make_node("Add", ["p", "x1"], ["s"], name="Add"),
        helper.make_node("Conv", ["s", "e", "e.bias"], ["y"], name="e.Conv"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 4, 6, 6])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 12, 6, 6])
    tensors = [numpy_helper.from_array(array, name) for name, array in (*weights, *biases)]
    graph = helper.make_graph(nodes, "g", [image], [out], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_another_graph_behind_an_image_is_refused(exported):
    model = onnx.ModelProto()
    model.CopyFrom(exported)
    next(node for node in model.graph.node if node.op_type == "Sub").op_type = "Add"
    with pytest.raises(ArtifactError, match="goes on unexpectedly") as caught:
        arrange(model)
    assert caught.value.expected == "Sub"
