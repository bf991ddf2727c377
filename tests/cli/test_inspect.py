# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy inspect``: the table, the JSON, and engines that keep no plan."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from evit_deploy.cli import inspect as inspect_command
from evit_deploy.engines.plan import Kernel, Plan, PlanTensor, to_json, write_plan
from evit_deploy.manifest import DECODER, ENCODER, Int8Info, write_artifact, write_bundle
from tests.cli.conftest import Program
from tests.manifest.sample import sample_bundle, sample_manifest, write_sample, write_sample_bundle

HEADERS = ["#", "kernel", "type", "layers", "MB read", "MB written", "GFLOP"]


def _kernel(name: str, type: str, read: int, written: int, flops: int, *layers: str) -> Kernel:
    first, second = PlanTensor("x", (read,), "Int8", read), PlanTensor("y", (written,), "Int8", written)
    return Kernel(name, type, (first,), (second,), 0, layers, flops)


PLAN = Plan(
    "tensorrt_rtx",
    "1.7.1.116",
    "sm86",
    (
        _kernel("__myl_Move_myl0_0", "kgen", 1_000_000, 2_000_000, 0),
        _kernel("wait_1", "wait", 0, 0, 0),
        _kernel("/net/a/Conv_myl0_2", "correlation", 4_000_000, 8_000_000, 1_500_000_000, "/net/a/Conv", "/net/a/Relu"),
        _kernel("/net/b/Conv_myl0_3", "correlation", 3_000_000, 2_000_000, 7_000_000_000, "/net/b/Conv"),
    ),
)


def _write(folder: Path, plan: Plan = PLAN, int8: Int8Info | None = None) -> Path:
    with write_artifact(folder) as writer:
        (writer.folder / "model.onnx").write_bytes(b"a graph")
        write_plan(writer.folder, plan)
        manifest = sample_manifest("engine")
        assert manifest.engine is not None
        writer.commit(replace(manifest, engine=replace(manifest.engine, int8=int8)))
    return folder


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """An engine of four entries, one of them a wait."""
    return _write(tmp_path / "engines" / "b1-seg.rtx-sm86.fp16")


def _numbers(out: str) -> list[int]:
    return [int(line.split()[0]) for line in out.splitlines()[2:-2]]


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ([], [2, 3, 0]),
        (["--sort", "bytes"], [2, 3, 0]),
        (["--sort", "flops"], [3, 2, 0]),
        (["--sort", "order"], [0, 2, 3]),
        (["--sort", "flops", "--top", "1"], [3]),
        (["--top", "99"], [2, 3, 0]),
    ],
)
@pytest.mark.usefixtures("engine")
def test_the_table_is_sorted(options: list[str], numbers: list[int], evit: Program) -> None:
    answer = evit("inspect", "b1-seg.rtx-sm86.fp16", *options)
    assert answer.code == 0, answer.err
    assert _numbers(answer.out) == numbers


def test_a_row_and_the_summary(engine: Path, evit: Program) -> None:
    lines = evit("inspect", engine, "--top", "1").out.splitlines()
    assert lines[0].split("  ")[0] == "#"
    assert all(header in lines[0] for header in HEADERS)
    assert lines[2].split() == ["2", "Conv", "correlation", "net/a/Conv", "+Relu", "4.00", "8.00", "1.500"]
    assert lines[-1] == (
        "tensorrt_rtx 1.7.1.116 for sm86: 3 kernels, 8.5 GFLOP, 20.0 MB of activation traffic; "
        "the 1 shown carry 60% of it"
    )


def test_json_is_the_whole_plan(engine: Path, evit: Program) -> None:
    data = json.loads(evit("inspect", engine, "--json", "--sort", "order").out)
    expected = json.loads(json.dumps(to_json(PLAN)))
    assert data["totals"] == expected["totals"]
    assert [kernel.pop("number") for kernel in data["kernels"]] == [0, 2, 3]
    assert data["kernels"] == [expected["kernels"][number] for number in (0, 2, 3)]


def test_json_is_limited_on_demand(engine: Path, evit: Program) -> None:
    data = json.loads(evit("inspect", engine, "--json", "--top", "1").out)
    assert [kernel["number"] for kernel in data["kernels"]] == [2]
    assert data["totals"]["kernels"] == 3


def test_long_plans_are_cut_for_people_only(tmp_path: Path, evit: Program) -> None:
    kernels = tuple(_kernel(f"k{number}", "gemm", 1000 + number, 1, 0) for number in range(50))
    engine = _write(tmp_path / "long", Plan("c", "1", "sm80", kernels))
    assert _numbers(evit("inspect", engine).out) == list(range(49, 29, -1))
    assert len(json.loads(evit("inspect", engine, "--json").out)["kernels"]) == 50


def test_a_plan_without_work(tmp_path: Path, evit: Program) -> None:
    answer = evit("inspect", _write(tmp_path / "idle", Plan("c", "1", "sm80", ())))
    assert answer.code == 0
    assert answer.out.splitlines()[-1] == "c 1 for sm80: 0 kernels, 0.0 GFLOP, 0.0 MB of activation traffic"


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--sort", "size"], "cannot be sorted by 'size'"), (["--top", "0"], "--top"), (["--top", "x"], "--top")],
)
def test_wrong_options(options: list[str], words: str, engine: Path, evit: Program) -> None:
    answer = evit("inspect", engine, *options)
    assert answer.code == 2
    assert words in answer.err


@pytest.mark.parametrize("kind", ["engine", "export"])
def test_artifacts_that_keep_no_plan(kind: str, tmp_path: Path, evit: Program) -> None:
    write_sample(tmp_path / "e", kind)
    answer = evit("inspect", "e")
    assert answer.code == 2
    assert "e holds no plan of its kernels" in answer.message
    assert ("compiled by onnxruntime" if kind == "engine" else "an export") in answer.message
    assert "an engine compiled by tensorrt or tensorrt_rtx" in answer.message


def test_a_real_cpu_engine_keeps_no_plan(small_workspace: Path, tmp_path: Path, evit: Program) -> None:
    shutil.copytree(small_workspace / "engines", tmp_path / "engines")
    answer = evit("inspect", "b0-seg.cpu.fp32.openvino")
    assert answer.code == 2
    assert "compiled by openvino" in answer.message


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """An engine of two parts, of which the encoder keeps a plan."""
    folder = tmp_path / "engines" / "l0-sam.rtx-sm86.fp16"
    with write_bundle(folder) as writer:
        _write(writer.part(ENCODER))
        write_sample(writer.part(DECODER), "engine")
        writer.commit(sample_bundle("engine"), (ENCODER, DECODER))
    return folder


def test_parts_are_listed_with_the_plan_of_each(bundle: Path, evit: Program) -> None:
    answer = evit("inspect", "l0-sam.rtx-sm86.fp16", "--top", "1")
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0].split() == ["part", "input", "output", "batch", "precision", "MB", "compiled", "by"]
    assert [line.split()[0] for line in lines[2:4]] == ["encoder", "decoder"]
    assert "1 to 4" in lines[2]
    assert lines[5] == "encoder"
    assert lines[-1].startswith("tensorrt_rtx 1.7.1.116 for sm86: 3 kernels")
    assert answer.out.count("GFLOP") == 2  # one table and its summary: the decoder keeps no plan


def test_parts_for_programs(bundle: Path, evit: Program) -> None:
    parts = json.loads(evit("inspect", bundle, "--json", "--sort", "flops").out)["parts"]
    assert list(parts) == ["encoder", "decoder"]
    assert [kernel["number"] for kernel in parts["encoder"]["plan"]["kernels"]] == [3, 2, 0]
    assert "plan" not in parts["decoder"]
    assert parts["decoder"] == {
        "input": "image", "output": "classes", "batch": [1, 4], "precision": "fp32", "bytes": 18,
        "compiler": "onnxruntime",
    }  # fmt: skip


def test_a_part_is_named_by_its_path(bundle: Path, evit: Program) -> None:
    assert _numbers(evit("inspect", f"{bundle.name}/encoder").out) == [2, 3, 0]
    assert "decoder holds no plan of its kernels" in evit("inspect", bundle / "decoder").message


@pytest.mark.parametrize("kind", ["engine", "export"])
def test_parts_without_a_plan_are_listed_all_the_same(kind: str, tmp_path: Path, evit: Program) -> None:
    write_sample_bundle(tmp_path / "engines" / "l0-sam.cpu.fp32", kind)
    answer = evit("inspect", "l0-sam.cpu.fp32")
    assert answer.code == 0, answer.err
    assert "no part holds a plan of its kernels" in answer.out
    assert ("onnxruntime" in answer.out) == (kind == "engine")


def test_a_part_that_was_edited_is_refused(bundle: Path, evit: Program) -> None:
    (bundle / "decoder" / "model.onnx").write_bytes(b"")
    answer = evit("inspect", bundle)
    assert answer.code == 2
    assert "is not the file that was verified" in answer.message


def test_a_plan_that_was_edited_is_refused(engine: Path, evit: Program) -> None:
    (engine / "plan.json").write_text("{}", encoding="utf-8")
    answer = evit("inspect", engine)
    assert answer.code == 2
    assert "is not the file that was verified" in answer.message


def test_an_engine_that_is_not_there(evit: Program) -> None:
    answer = evit("inspect", "nothing")
    assert answer.code == 2
    assert "there is no 'nothing'" in answer.message


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("__myl_CastConc_myl0_0", "CastConc"),
        ("/backbone/stages.2/op_list.1/MatMul_2_myl0_31", "MatMul_2"),
        ("__mye12389_myl0_70", "__mye12389"),
        (f"__myl_{'MulAdd' * 20}_myl0_132", "MulAddMulAddM…dMulAddMulAdd"),
    ],
)
def test_names_of_kernels_are_shortened(name: str, short: str) -> None:
    assert inspect_command._kernel_name(name) == short


def test_layers_are_shortened() -> None:
    layers = inspect_command._layers
    assert layers(()) == "-"
    assert layers(("/a/b/Conv", "/a/c/Relu")) == "a/b/Conv +Relu"
    assert len(layers(tuple(f"/stage/{number}/Conv" for number in range(20)))) <= 51
