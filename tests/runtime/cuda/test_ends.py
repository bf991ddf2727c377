# SPDX-License-Identifier: Apache-2.0
"""Ends in every order, and the caller's context as it was."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from evit_deploy.errors import UsageError
from tests.runtime.doubles.bench import Foreign, agree, frame
from tests.runtime.doubles.world import FOREIGN, PRIMARY

ROOT = Path(__file__).parents[3]


def test_closing_twice(machine):
    engine = machine.load()
    engine.close()
    engine.close()
    for call in (engine.infer, engine.submit):
        with pytest.raises(UsageError, match="closed"):
            call({"image": frame(0)})
    for what in ("memory", "notes", "backend_version"):
        with pytest.raises(UsageError, match="closed"):
            getattr(engine, what)
    with pytest.raises(UsageError, match="closed"):
        engine.input_buffer("image")


def test_results_outlive_their_engine(machine):
    image = Foreign(frame(2))
    engine = machine.load()
    on_host = engine.infer({"image": frame(1)})
    buffer = engine.input_buffer("image")
    on_device = engine.infer({"image": image})
    engine.close()
    del engine
    gc.collect()
    assert agree(on_host, frame(1))
    assert agree(on_device, frame(2))
    buffer[...] = 3
    image.free()


def test_forgotten_engines_are_freed(double):
    engine = double.load()
    engine.submit({"image": frame(1)})
    del engine
    gc.collect()
    assert not double.world.alive()


def test_a_pending_run_keeps_its_engine(double):
    pending = double.load().submit({"image": frame(1)})
    gc.collect()
    assert agree(pending.result(), frame(1))
    del pending
    gc.collect()
    assert not double.world.alive()


def test_freed_from_another_thread(double):
    """Garbage is collected wherever it is found."""
    held = [double.load()]
    held[0].infer({"image": frame(1)})
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    gc.collect()
    assert not double.world.alive()


def test_one_engine_closed_while_another_works(machine):
    with machine.load() as first:
        second = machine.load()
        pending = first.submit({"image": frame(1)})
        second.infer({"image": frame(2)})
        second.close()
        assert agree(pending.result(), frame(1))


@pytest.mark.parametrize("context", [0, FOREIGN, PRIMARY])
def test_the_current_context_is_as_it_was(double, context):
    """Also after errors; 0 is a thread that never used CUDA."""
    world = double.world
    world.context = PRIMARY
    image = Foreign(frame(1))
    world.context = context
    engine = double.load()
    steps = [
        lambda: engine.infer({"image": frame(1)}),
        lambda: [array.numpy() for array in engine.infer({"image": image}).values()],
        lambda: [array.__dlpack__() for array in engine.infer({"image": image}).values()],
        lambda: engine.submit({"image": frame(1)}).result(),
        lambda: engine.infer({"image": np.zeros(3)}),
        lambda: engine.infer({"image": object()}),
        lambda: engine.memory,
        engine.close,
    ]
    for step in steps:
        with contextlib.suppress(UsageError):
            step()
        assert world.context == context
    world.context = PRIMARY
    image.free()


def test_work_under_a_foreign_context_is_our_own(double):
    """PyCUDA's context is current all the time, and nothing of ours ends up in it."""
    double.world.context = FOREIGN
    with double.load((1, 2)) as engine:
        for batch in (1, 2):
            assert agree(engine.infer({"image": frame(1, batch)}), frame(1, batch))
        assert {block.context for block in double.world.blocks.values()} == {PRIMARY}
        assert {stream.context for stream in double.world.streams.values()} == {PRIMARY}


PROGRAM = """
import sys
sys.path.insert(0, {root!r})
import cuda.bindings
from pathlib import Path
from evit_deploy.manifest import read_artifact
from evit_deploy.runtime import compatibility, open_engine
from tests.runtime.cuda.conftest import ORIN
from tests.runtime.doubles import bench
from tests.runtime.doubles.cudart import Cudart, Driver
from tests.runtime.doubles.trt import make_trt
from tests.runtime.doubles.world import World

world = World()
cuda.bindings.runtime, cuda.bindings.driver = Cudart(world), Driver(world)
sys.modules["tensorrt"] = make_trt(world)
compatibility.this_device = lambda: ORIN
folder = Path({folder!r})
engine = open_engine(folder, read_artifact(folder))
image = bench.Foreign(bench.frame(2))
kept = engine.infer({{"image": bench.frame(1)}})
on_device = engine.infer({{"image": image}})["classes"]
capsule = on_device.__dlpack__()
pending = engine.submit({{"image": bench.frame(3)}})
print("ran", int(kept["classes"].sum()) > 0)
"""


@pytest.mark.parametrize("ending", ["", "engine.close()", "del engine", "sys.exit(0)", "globals().clear()"])
def test_the_end_of_the_process(double, ending):
    """Engine, arrays, capsule and a run in flight are alive when it comes; nothing may be printed or crash."""
    program = PROGRAM.format(root=str(ROOT), folder=str(double.folder())) + ending + "\n"
    result = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONWARNINGS": "error::ResourceWarning"},
    )  # fmt: skip
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "ran True", "")
