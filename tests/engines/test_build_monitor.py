# SPDX-License-Identifier: Apache-2.0
"""The bar of a build, and Ctrl-C: in parts, and with TensorRT-RTX really building."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.engines.build_monitor import INTERRUPTED, STEPS, BuildBar, interruptible, new_monitor
from evit_deploy.engines.compiler import Job
from evit_deploy.errors import UnavailableError
from evit_deploy.progress import Progress, silent
from tests.conftest import require
from tests.engines.graphs import two_convolutions

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.sampled_from("abcd"), st.sampled_from([None, *"abcde"]), st.integers(-1, 5)),
        st.tuples(st.just("step"), st.sampled_from("abcd"), st.integers(-1, 6)),
        st.tuples(st.just("finish"), st.sampled_from("abcd")),
    ),
    max_size=40,
)


class Count:
    """A step that counts, and may raise."""

    def __init__(self, error: BaseException | None = None, after: int = 0) -> None:
        self.count, self.error, self.after = 0, error, after

    def advance(self) -> None:
        self.count += 1
        if self.error is not None and self.count > self.after:
            raise self.error


def watching(step: Count) -> Progress:
    """A progress with one step."""

    @contextmanager
    def progress(name: str, total: int | None = None) -> Iterator[Count]:
        assert (name, total) == ("compile with tensorrt_rtx", STEPS)
        yield step

    return progress


# The bar


def test_nested_phases_become_one_bar() -> None:
    step = Count()
    bar = BuildBar(step)
    shown = []
    for event in (
        lambda: bar.start("build", None, 2),
        lambda: bar.start("time", "build", 4),
        lambda: bar.complete("time", 0),
        lambda: bar.start("tactics", "time", 2),
        lambda: bar.complete("tactics", 0),
        lambda: bar.complete("tactics", 1),
        lambda: bar.finish("tactics"),
        lambda: bar.start("tactics", "time", 2),  # the same phase again, in the same step
        lambda: bar.complete("tactics", 0),
        lambda: bar.complete("time", 3),
        lambda: bar.finish("time"),
        lambda: bar.complete("build", 0),
        lambda: bar.complete("build", 1),
        lambda: bar.finish("build"),
    ):
        event()
        shown.append(step.count)
    assert shown == [0, 0, 12, 12, 18, 25, 25, 25, 25, 50, 50, 50, 100, 100]


@given(EVENTS)
def test_whatever_is_told_the_bar_goes_forward_and_ends(events: list[tuple[Any, ...]]) -> None:
    step = Count()
    bar = BuildBar(step)
    seen = 0
    for kind, *rest in events:
        {"start": bar.start, "step": bar.complete, "finish": bar.finish}[kind](*rest)
        assert seen <= step.count <= STEPS
        seen = step.count
    bar.fill()
    assert step.count == STEPS


def test_a_cancelled_build_is_told_to_end() -> None:
    bar = BuildBar(Count())
    bar.start("build", None, 3)
    assert bar.complete("build", 0)
    bar.cancel()
    assert not bar.complete("build", 1)


def test_what_the_bar_raises_is_kept_and_ends_the_build() -> None:
    error = KeyboardInterrupt()
    step = Count(error, after=10)
    bar = BuildBar(step)
    bar.start("build", None, 4)
    assert not bar.complete("build", 0)
    assert bar.failure is error
    assert step.count == 11
    assert not bar.complete("build", 1)
    bar.fill()
    assert step.count == 11


def test_a_library_without_monitors() -> None:
    assert new_monitor(SimpleNamespace(), BuildBar(Count())) is None


# Ctrl-C


def press_ctrl_c(*delays: float) -> None:
    """Send the interrupt from another thread after each of some delays."""

    def send() -> None:
        for delay in delays:
            time.sleep(delay)
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=send, daemon=True).start()


def test_work_in_the_main_thread_keeps_its_result_and_its_errors() -> None:
    assert interruptible(lambda: 5, None) == 5
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0, None)


def test_the_first_interrupt_cancels_and_waits() -> None:
    cancelled, ended = threading.Event(), threading.Event()

    def work() -> None:
        cancelled.wait(5)
        time.sleep(0.2)
        ended.set()

    press_ctrl_c(0.1)
    with pytest.raises(KeyboardInterrupt):
        interruptible(work, cancelled.set)
    assert ended.is_set()


def test_other_signals_that_raise_cancel_as_well() -> None:
    def leave(*_: object) -> None:
        raise SystemExit(3)

    before = signal.signal(signal.SIGUSR1, leave)
    cancelled = threading.Event()
    try:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        with pytest.raises(SystemExit):
            interruptible(lambda: cancelled.wait(5), cancelled.set)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert cancelled.is_set()


@pytest.mark.parametrize(("delays", "can_cancel"), [((0.1, 0.1), True), ((0.1,), False)])
def test_who_cannot_wait_does_not(delays: tuple[float, ...], can_cancel: bool) -> None:
    """The second interrupt, or the first one where nothing can cancel, does not wait for the work."""
    end = threading.Event()
    press_ctrl_c(*delays)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interruptible(lambda: end.wait(5), (lambda: None) if can_cancel else None)
    assert time.monotonic() - start < 2
    end.set()


def test_in_another_thread_the_work_runs_there() -> None:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(interruptible(lambda: threading.current_thread().name, None)))
    thread.start()
    thread.join()
    assert found == [thread.name]


def test_a_program_that_leaves_a_build_behind_ends_in_its_own_way() -> None:
    """What it registered after the import is done before the process ends in one step."""
    code = (
        "import atexit, time\n"
        "from evit_deploy.engines.build_monitor import interruptible\n"
        "from tests.engines.test_build_monitor import press_ctrl_c\n"
        "atexit.register(print, 'the end of the program')\n"
        "press_ctrl_c(0.1, 0.1)\n"
        "interruptible(lambda: time.sleep(60), lambda: None)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], timeout=30
    )
    assert done.stdout == "the end of the program\n"
    assert done.returncode == INTERRUPTED
    assert "KeyboardInterrupt" in done.stderr


# With TensorRT-RTX


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph that takes TensorRT-RTX some time."""
    require("tensorrt_rtx")
    from evit_deploy.export import ExportOptions, export_model
    from evit_deploy.manifest import read_artifact
    from evit_deploy.precision.lower import lower

    onnx = pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("export") / "b0-seg"
    export_model("b0-seg", folder, ExportOptions(weights="random", resolution=(128, 256)))
    assert read_artifact(folder).graph.file == "model.onnx"
    onnx.save(lower(onnx.load(folder / "model.onnx"), "fp16", "conv").model, folder.parent / "typed.onnx")
    return folder.parent / "typed.onnx"


def compile_rtx(graph: Path, folder: Path, progress: Progress = silent) -> str:
    from evit_deploy.engines.tensorrt_rtx import COMPILER

    return COMPILER.compile(Job(graph, folder, "fp16", "sm80"), progress)


def test_a_real_build_fills_the_bar(graph: Path, tmp_path: Path) -> None:
    step = Count()
    seen: list[int] = []

    class Watched(Count):
        def advance(self) -> None:
            step.advance()
            seen.append(step.count)

    assert compile_rtx(graph, tmp_path, watching(Watched())) == "engine.rtx"
    assert step.count == STEPS
    assert seen == list(range(1, STEPS + 1))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BrokenPipeError("the other side is gone")])
@pytest.mark.parametrize("run", ["main", "other"])
def test_what_progress_raises_ends_a_real_build(error: BaseException, run: str, graph: Path, tmp_path: Path) -> None:
    """The way to stop a build in another thread."""
    step = Count(error, after=3)
    caught: list[BaseException] = []

    def work() -> None:
        try:
            compile_rtx(graph, tmp_path, watching(step))
        except BaseException as raised:
            caught.append(raised)

    thread = threading.Thread(target=work)
    work() if run == "main" else (thread.start(), thread.join())
    assert caught == [error]
    assert step.count == 4
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_a_real_build(graph: Path, tmp_path: Path) -> None:
    class Pressing(Count):
        def advance(self) -> None:
            super().advance()
            if self.count == 5:
                os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    step = Pressing()
    with pytest.raises(KeyboardInterrupt):
        compile_rtx(graph, tmp_path, watching(step))
    assert signal.getsignal(signal.SIGINT) is before
    assert step.count < STEPS
    assert not list(tmp_path.iterdir())
    assert compile_rtx(graph, tmp_path) == "engine.rtx"  # nothing is left of it


def test_a_build_that_is_left_behind_does_not_crash_the_process(graph: Path, tmp_path: Path) -> None:
    """Two interrupts in the middle of a step: the process ends while native code still runs."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from evit_deploy.engines import build_monitor\n"
        "from tests.engines.test_build_monitor import compile_rtx, press_ctrl_c, watching, Count\n"
        "class Pressing(Count):\n"
        "    def advance(self):\n"
        "        super().advance()\n"
        "        if self.count == 60: press_ctrl_c(0, 0.1)\n"
        "try: compile_rtx(Path(sys.argv[1]), Path(sys.argv[2]), watching(Pressing()))\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    command = [sys.executable, "-c", code, str(graph), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.stdout == "interrupted\n"
    assert done.returncode in (INTERRUPTED, 0), done.stderr  # 0: the step had ended before the process did
    assert "Ctrl-C again" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_library_without_monitors_builds_without_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("tensorrt_rtx")
    monkeypatch.delattr("tensorrt_rtx.IProgressMonitor")
    step = Count()
    assert compile_rtx(two_convolutions(tmp_path / "g.onnx"), tmp_path, watching(step)) == "engine.rtx"
    assert step.count == STEPS


def test_a_failing_build_leaves_the_bar_where_it_is(tmp_path: Path) -> None:
    require("tensorrt_rtx")
    graph = two_convolutions(tmp_path / "g.onnx", weights="float32")
    with pytest.raises(UnavailableError):
        compile_rtx(graph, tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["g.onnx"]
