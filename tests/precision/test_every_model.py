# SPDX-License-Identifier: Apache-2.0
"""Every model of the zoo, typed for a GPU: no cast too many, equal in FP32, and read by TensorRT for RTX.

Sizes are small where a model lets them be: nothing here depends on the number of pixels but the time it takes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from evit_deploy.agreement import compare_frame
from evit_deploy.engines import get_compiler
from evit_deploy.engines.compiler import Job
from evit_deploy.engines.plan import read_plan
from evit_deploy.export.exporter import preprocess_rules
from evit_deploy.export.graph import trace_deployed
from evit_deploy.export.trace import hide_output
from evit_deploy.models import MODELS, create_model
from evit_deploy.models.attention import MultiScaleLinearAttention
from evit_deploy.precision.arrange import arrange
from evit_deploy.precision.emulate import tensor_types
from evit_deploy.precision.faithful import with_logits
from evit_deploy.precision.fp16 import lower_fp16
from evit_deploy.progress import silent
from evit_deploy.targets import TARGETS
from tests.conftest import require
from tests.precision.typed import open_session

SIZES = {"cityscapes": (256, 512), "ade20k": (256, 256)}
QUICK = {"b0-cls", "b0-seg", "b1-seg", "b1-seg-ade20k"}
"""The others are slow: minutes for all of them. The L family is in test_families, too."""
ELSEWHERE = {"l0-sam", "l1-sam", "l2-sam", "xl1-sam"}
"""Compiled and compared with PyTorch in test_sam, as all five encoders are; one of them shows the rest here."""
TOO_SLOW = {"b3-seg", "b3-seg-ade20k", "l1-seg", "l2-seg", "l2-seg-ade20k", "l2-cls", "l3-cls"}
FLOATS = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}
ATTENTION = TARGETS["rtx"].attention


@dataclass(frozen=True)
class Case:
    """One model: as exported, and typed. In files, because the largest has a gigabyte of weights.

    Attributes:
        name: The model.
        blocks: Number of its attention modules.
        exported: The FP32 graph as exported, image to classes or logits.
        typed: The graph for GPUs by precision.
    """

    name: str
    blocks: int
    exported: Path
    typed: dict[str, Path]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name in MODELS
        if name not in ELSEWHERE
    ],
)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """One model at a time."""
    with tempfile.TemporaryDirectory() as folder:
        names = ("exported", *FLOATS)
        files = {name: Path(folder, f"{name}.onnx") for name in names}
        blocks = _export(request.param, files["exported"])
        _lower(files)
        yield Case(request.param, blocks, files["exported"], {precision: files[precision] for precision in FLOATS})


def _lower(files: dict[str, Path]) -> None:
    """What `evit_deploy.precision.lower.lower` does for both precisions, arranging once."""
    arranged = arrange(onnx.load(files["exported"]), ATTENTION)
    onnx.save(arranged, files["fp32"])
    typed, notes = lower_fp16(arranged)
    assert notes == ()
    onnx.save(typed, files["fp16"])


def _export(name: str, path: Path) -> int:
    """Write the graph of ``evit-deploy export NAME --weights random``; return how many attention modules there are."""
    spec = MODELS[name]
    model = create_model(name, weights="random")
    blocks = sum(isinstance(module, MultiScaleLinearAttention) for module in model.modules())
    segments = spec.task == "seg"
    size = SIZES.get(spec.dataset, spec.resolution)
    exported = trace_deployed(model, preprocess_rules(spec), size, "image", "classes" if segments else "logits")
    if segments:
        hide_output(exported, "logits")
    onnx.save(exported, path)
    return blocks


@pytest.mark.parametrize("precision", FLOATS)
def test_the_graph_is_typed_throughout(case: Case, precision: str) -> None:
    model = onnx.load(case.typed[precision])
    graph, types = model.graph, tensor_types(model)
    inputs, outputs = {value.name for value in graph.input}, {value.name for value in graph.output}
    for cast in (node for node in graph.node if node.op_type == "Cast"):
        ends = [name for name in (cast.input[0], cast.output[0]) if name in inputs | outputs]
        assert [types[name] for name in ends] == [TensorProto.UINT8], cast.name
    settings = {name for node in graph.node if node.op_type == "Resize" for name in node.input[1:]}
    floats = {types[name] for name in types.keys() - settings} & {*FLOATS.values(), TensorProto.DOUBLE}
    assert floats == {FLOATS[precision]}
    assert {types[name] for name in inputs} == {TensorProto.UINT8}
    assert {types[name] for name in outputs} == {TensorProto.UINT8 if "classes" in outputs else FLOATS[precision]}
    onnx.checker.check_model(case.typed[precision], full_check=True)


def test_every_attention_module_is_arranged(case: Case) -> None:
    """The last product of each is a convolution whose weights are computed."""
    for path in case.typed.values():
        graph = onnx.load(path).graph
        weights = {tensor.name for tensor in graph.initializer}
        computed = [n for n in graph.node if n.op_type == "Conv" and n.input[1] not in weights]
        assert len(computed) == case.blocks > 0


def test_fp32_is_what_was_exported(case: Case) -> None:
    if case.name in TOO_SLOW:
        pytest.skip("its smaller sister shows the same in less time")
    found, expected = _run(case.typed["fp32"]), _run(case.exported)
    row = compare_frame("random", expected["logits"], found)
    assert row.finite
    assert row.relative_l2 is not None
    assert row.relative_l2 < 1e-5
    assert row.conceded_margin < 1e-4  # classes differ only where two are as good as equal
    if "classes" in expected:
        assert (found["classes"] != expected["classes"]).mean() < 1e-3


@pytest.mark.parametrize("precision", FLOATS)
def test_tensorrt_compiles_it(case: Case, precision: str, tmp_path: Path) -> None:
    require("tensorrt_rtx")
    entry = get_compiler("tensorrt_rtx").compile(Job(case.typed[precision], tmp_path, precision, "sm80"), silent)
    plan = read_plan(tmp_path)
    assert (tmp_path / entry).stat().st_size > 100_000
    assert plan.flops > 1e7
    assert 20 < len(plan.working) < 400


def _run(path: Path) -> dict[str, np.ndarray]:
    """Outputs and logits of a graph on noise."""
    session = open_session(with_logits(onnx.load(path)))
    image = np.random.default_rng(0).integers(0, 256, session.get_inputs()[0].shape, np.uint8)
    names = [output.name for output in session.get_outputs()]
    return {name: array[0] for name, array in zip(names, session.run(names, {"image": image}), strict=True)}
