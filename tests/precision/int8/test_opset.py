# SPDX-License-Identifier: Apache-2.0
"""Raising a graph to the opset of FP16 Q/DQ."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from evit_deploy.precision.int8.opset import OPSET, raise_opset
from tests.precision.typed import make_typed, run


@pytest.mark.parametrize(("kind", "attributes"), [
    ("ReduceMean", {"axes": [1], "keepdims": 1}), ("ReduceMax", {"axes": [2, 3]}), ("ReduceMean", {}),
    ("ReduceMin", {"axes": [-1], "keepdims": 0}),
])  # fmt: skip
def test_reductions_say_the_same(kind: str, attributes: dict) -> None:
    node = helper.make_node(kind, ["x"], ["y"], name="reduce", **attributes)
    model = make_typed([node], {"x": (TensorProto.FLOAT, [2, 3, 4, 5])}, {"y": (TensorProto.FLOAT, None)})
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    before = run(model, x=x)
    raise_opset(model)
    assert model.opset_import[0].version == OPSET
    np.testing.assert_array_equal(run(model, x=x)[0], before[0])


def test_a_split_into_equal_parts_names_their_number() -> None:
    node = helper.make_node("Split", ["x"], ["a", "b"], name="split", axis=1)
    shape = (TensorProto.FLOAT, [1, 4])
    model = make_typed([node], {"x": shape}, {"a": (TensorProto.FLOAT, None), "b": (TensorProto.FLOAT, None)})
    raise_opset(model)
    assert [part.shape for part in run(model, x=np.ones((1, 4), np.float32))] == [(1, 2), (1, 2)]


def test_a_whole_export_says_the_same(exported: onnx.ModelProto, feed: dict[str, np.ndarray]) -> None:
    raised = onnx.ModelProto()
    raised.CopyFrom(exported)
    raise_opset(raised)
    onnx.checker.check_model(raised, full_check=True)
    np.testing.assert_array_equal(run(raised, **feed)[0], run(exported, **feed)[0])


def test_a_later_opset_is_left_alone(exported: onnx.ModelProto) -> None:
    later = onnx.ModelProto()
    later.CopyFrom(exported)
    later.opset_import[0].version = 20
    before = later.SerializeToString()
    raise_opset(later)
    assert later.SerializeToString() == before
