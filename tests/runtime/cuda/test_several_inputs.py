# SPDX-License-Identifier: Apache-2.0
"""A mask decoder on a GPU: several inputs whose first axes differ, one of them an embedding that all prompts share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evit_deploy.errors import UsageError
from evit_deploy.manifest import GraphInfo, TensorInfo, read_artifact, write_artifact
from evit_deploy.precision.prompts import fix_prompts
from evit_deploy.runtime import open_engine
from tests.manifest.sample import sample_engine, sample_manifest
from tests.precision.toy_graphs import toy_decoder
from tests.precision.typed import run
from tests.runtime.doubles.bench import Foreign
from tests.runtime.doubles.trt import plan_of

PROMPTS, SLOTS = 4, 5
_TYPES = {1: "float32", 6: "int32"}


def infos(values):
    return tuple(
        TensorInfo(
            value.name, _TYPES[value.type.tensor_type.elem_type],
            tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim),
        )
        for value in values
    )  # fmt: skip


@pytest.fixture(scope="module")
def decoder():
    return fix_prompts(toy_decoder(), PROMPTS, SLOTS)


@pytest.fixture
def engine(double, decoder, tmp_path: Path):
    graph = GraphInfo(
        file="decoder.onnx", opset=17, precision="fp32", resolution=(1024, 1024), batch=(PROMPTS, PROMPTS),
        input="prompts", output="masks", inputs=infos(decoder.graph.input), outputs=infos(decoder.graph.output),
    )  # fmt: skip
    info = replace(
        sample_engine(), target="orin", compiler="tensorrt", backend="tensorrt", compiler_version=double.version,
        entry="engine.plan", machine={"compute capability": "8.7"},
    )  # fmt: skip
    with write_artifact(tmp_path / "decoder-4") as writer:
        data = decoder.SerializeToString()
        (writer.folder / "decoder.onnx").write_bytes(data)
        (writer.folder / "engine.plan").write_bytes(plan_of(data))
        writer.commit(replace(sample_manifest("engine"), graph=graph, engine=info))
    with open_engine(tmp_path / "decoder-4", read_artifact(tmp_path / "decoder-4")) as opened:
        yield opened


def feed(seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {
        "embedding": draw.standard_normal((1, 256, 64, 64), np.float32),
        "coords": draw.uniform(0, 1024, (PROMPTS, SLOTS, 2)).astype(np.float32),
        "labels": draw.integers(-2, 4, (PROMPTS, SLOTS)).astype(np.int32),
        "mask": draw.standard_normal((1, 1, 256, 256), np.float32),
        "has_mask": np.ones(1, np.float32),
    }


def agree(found, decoder, given) -> bool:
    arrays = [value if isinstance(value, np.ndarray) else value.numpy() for value in found.values()]
    return all(
        np.allclose(one, other, rtol=1e-3, atol=1e-3) for one, other in zip(arrays, run(decoder, **given), strict=True)
    )


def test_the_batch_counts_prompts_whatever_stands_first(engine, decoder, double):
    """The embedding has a first axis of 1; buffers and the graph recorded at load serve every call."""
    captures = double.world.calls["cudaStreamBeginCapture"]
    for seed in range(3):
        given = feed(seed)
        order = sorted(given) if seed % 2 else list(given)
        assert agree(engine.infer({name: given[name] for name in order}), decoder, given)
    assert double.world.calls["cudaStreamBeginCapture"] == captures == 1
    assert engine.notes == ()


def test_runs_overlap(engine, decoder):
    given = [feed(seed) for seed in range(2)]
    pending = [engine.submit(one) for one in given]
    for one, work in zip(given, pending, strict=True):
        assert agree(work.result(), decoder, one)


def test_arrays_on_the_gpu(engine, decoder):
    given = feed(5)
    arrays = {name: Foreign(array) for name, array in given.items()}
    for _ in range(4):  # from the third on by a graph of its own
        assert agree(engine.infer(arrays), decoder, given)
    for array in arrays.values():
        array.free()


def test_buffers_of_the_gpu_are_of_the_graph_s_batch(engine, decoder):
    given = feed(7)
    for name, array in given.items():
        engine.input_buffer(name, PROMPTS)[...] = array
    buffers = {name: engine.input_buffer(name, PROMPTS) for name in given}
    assert agree(engine.infer(buffers), decoder, given)
    with pytest.raises(UsageError, match="of batch 1"):
        engine.input_buffer("coords", 1)


@pytest.mark.parametrize(
    ("name", "shape"), [("coords", (3, SLOTS, 2)), ("labels", (PROMPTS, 4)), ("mask", (PROMPTS, 1, 256, 256))]
)
def test_sizes_are_fixed(engine, name, shape):
    given = feed(0)
    with pytest.raises(UsageError, match=f"'{name}' does not fit"):
        engine.infer({**given, name: np.zeros(shape, given[name].dtype)})
