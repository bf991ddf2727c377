# SPDX-License-Identifier: Apache-2.0
"""TensorRT on a device that has it: ``pytest -m gpu tests/engines/test_tensorrt_on_gpu.py``."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evit_deploy.engines.build_monitor import STEPS
from evit_deploy.engines.compiler import Job
from evit_deploy.engines.flops import write_math
from evit_deploy.engines.plan import Plan, read_plan
from evit_deploy.engines.tensorrt import COMPILER
from evit_deploy.engines.timing_cache import cache_path
from evit_deploy.errors import UnavailableError
from evit_deploy.progress import Progress, silent
from evit_deploy.targets import TARGETS
from evit_deploy.targets.device import this_device
from tests.engines.graphs import FLOPS, HEIGHT, WIDTH, two_convolutions

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timings of this test alone; skipped where TensorRT does not build."""
    if reason := COMPILER.obstacle("fp16", TARGETS["rtx"]):  # a target of any compute capability
        pytest.skip(reason)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def build(graph: Path, folder: Path, progress: Progress = silent, **fields: Any) -> Plan:
    folder.mkdir(exist_ok=True)
    COMPILER.compile(Job(graph, folder, **{"precision": "fp16", **fields}), progress)
    assert json.loads((folder / "inspector.json").read_text())["Layers"]
    return read_plan(folder)


def test_a_plan_is_kept_and_complete(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for precision, dtype, size in (("fp16", "float16", 2), ("fp32", "float32", 4)):
        plan = build(two_convolutions(tmp_path / "g.onnx", dtype), tmp_path / precision, precision=precision)
        assert plan.flops == sum(FLOPS.values())
        assert {"first", "second"} <= {layer for kernel in plan.kernels for layer in kernel.layers}
        assert plan.bytes_read >= 24 * HEIGHT * WIDTH * size
    assert not caplog.records


def test_a_dynamic_batch(tmp_path: Path) -> None:
    graph = two_convolutions(tmp_path / "g.onnx", batch="N")
    write_math(graph, 1)
    plan = build(graph, tmp_path / "e", batch=(1, 4))
    assert all(size > 0 for kernel in plan.working for tensor in kernel.inputs for size in tensor.shape)


def test_the_second_build_times_less(tmp_path: Path) -> None:
    graph = two_convolutions(tmp_path / "g.onnx")
    seconds = []
    for name in ("first", "second"):
        start = time.perf_counter()
        build(graph, tmp_path / name)
        seconds.append(time.perf_counter() - start)
    device = this_device()
    assert device is not None
    assert cache_path(COMPILER.version() or "", device).stat().st_size > 0
    assert seconds[1] < seconds[0]


def test_a_wrong_type_names_the_node(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="Conv node 'first'"):
        build(two_convolutions(tmp_path / "g.onnx", weights="float32"), tmp_path / "e")


def test_ctrl_c(tmp_path: Path) -> None:
    class Pressing:
        count = 0

        def advance(self) -> None:
            self.count += 1
            if self.count == 5:
                os.kill(os.getpid(), signal.SIGINT)

    step = Pressing()

    @contextmanager
    def progress(name: str, total: int | None = None) -> Iterator[Pressing]:
        yield step

    with pytest.raises(KeyboardInterrupt):
        build(two_convolutions(tmp_path / "g.onnx"), tmp_path / "e", progress)
    assert 5 <= step.count < STEPS
    assert not list((tmp_path / "e").iterdir())
