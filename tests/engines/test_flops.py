# SPDX-License-Identifier: Apache-2.0
"""Counting operations: by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from onnx import helper

from evit_deploy.engines.flops import graph_math
from evit_deploy.errors import MissingExtraError, UsageError
from tests.engines.graphs import FLOPS, save, two_convolutions


@pytest.mark.parametrize(("dtype", "name"), [("float16", "FLOAT16"), ("float32", "FLOAT")])
def test_convolutions(dtype: str, name: str, tmp_path: Path) -> None:
    found = graph_math(two_convolutions(tmp_path / "g.onnx", dtype))
    assert found.flops == FLOPS
    assert found.types == {name}


def test_nodes_without_a_name_have_that_of_their_output(tmp_path: Path) -> None:
    found = graph_math(two_convolutions(tmp_path / "g.onnx", names=False))
    assert found.flops == {"node_of_a": FLOPS["first"], "node_of_y": FLOPS["second"]}


def test_grouped_convolution(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="depthwise", group=8, strides=[2, 2], pads=[1, 1, 1, 1])
    path = save(tmp_path / "g.onnx", [node], {"x": (1, 8, 10, 12), "w": (8, 1, 3, 3)}, {"y": (1, 8, 5, 6)})
    assert graph_math(path).flops == {"depthwise": 2 * 8 * 9 * 5 * 6}


@pytest.mark.parametrize(
    ("node", "a", "b", "y"),
    [
        (helper.make_node("MatMul", ["a", "b"], ["y"], name="n"), (4, 3, 5, 7), (4, 3, 7, 2), (4, 3, 5, 2)),
        (helper.make_node("MatMul", ["a", "b"], ["y"], name="n"), (3, 5, 7), (7, 2), (3, 5, 2)),
        (helper.make_node("MatMul", ["a", "b"], ["y"], name="n"), (7,), (7, 2), (2,)),
        (helper.make_node("Gemm", ["a", "b"], ["y"], name="n"), (5, 7), (7, 2), (5, 2)),
        (helper.make_node("Gemm", ["a", "b"], ["y"], name="n", transA=1, transB=1), (7, 5), (2, 7), (5, 2)),
    ],
)
def test_products(node: object, a: tuple[int, ...], b: tuple[int, ...], y: tuple[int, ...], tmp_path: Path) -> None:
    count = 2 * 7
    for size in y:
        count *= size
    assert graph_math(save(tmp_path / "g.onnx", [node], {"a": a, "b": b}, {"y": y})).flops == {"n": count}


def test_other_nodes_count_nothing(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"], name="n")
    found = graph_math(save(tmp_path / "g.onnx", [node], {"x": (4,)}, {"y": (4,)}))
    assert (found.flops, found.types) == ({}, frozenset())


def test_a_size_that_is_not_fixed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not fixed") as caught:
        graph_math(two_convolutions(tmp_path / "g.onnx", batch="N"))
    assert caught.value.found == "at the Conv node 'first'"


def test_a_missing_onnx_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"evit-deploy\[export\]"):
        graph_math(tmp_path / "g.onnx")
