# SPDX-License-Identifier: Apache-2.0
"""Anything in any order: whatever is given out is right, and nothing is left over."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evit_deploy.runtime.engine import Engine
from tests.runtime.doubles.bench import Foreign, agree, frame, modules

MOST = 4
STEPS = st.tuples(
    st.sampled_from(["infer", "infer device", "submit", "submit device", "result", "result on a stream", "forget"]),
    st.integers(1, MOST),
    st.integers(0, 5),
)


class Caller:
    """Calls an engine as it is told to, and checks what comes back."""

    def __init__(self, machine: Any, engine: Engine, in_flight: int) -> None:
        self.engine, self.in_flight = engine, in_flight
        self.stream = machine.stream()
        self.pending: list[tuple[Any, Any, bool]] = []
        self.arrays: dict[tuple[int, int], Foreign] = {}

    def array(self, batch: int, seed: int) -> Foreign:
        """One of a few device arrays, so that they come again."""
        if (batch, seed) not in self.arrays:
            self.arrays[batch, seed] = Foreign(frame(seed, batch), self.stream, lazy=seed % 2 == 1)
        return self.arrays[batch, seed]

    def step(self, what: str, batch: int, seed: int) -> None:
        """One step; what the engine would refuse is left out."""
        image = frame(seed, batch)
        given: Any = self.array(batch, seed) if "device" in what else image
        if what.startswith("infer") and not self.pending:
            assert agree(self.engine.infer({"image": given}), image)
        elif what.startswith("submit") and len(self.pending) < self.in_flight:
            self.pending.append((self.engine.submit({"image": given}), image, "device" in what))
        elif what.startswith("result") and self.pending:
            pending, wanted, on_device = self.pending.pop(seed % len(self.pending))
            on_stream = int(self.stream) if on_device and "stream" in what else None
            assert agree(pending.result(stream=on_stream), wanted)
        elif what == "forget" and self.pending:
            del self.pending[seed % len(self.pending)]

    def end(self, *, take_results: bool) -> None:
        """Close everything, before or after the last results were taken."""
        while take_results and self.pending:
            pending, wanted, _ = self.pending.pop()
            assert agree(pending.result(), wanted)
        self.engine.close()
        modules()[0].cudaStreamSynchronize(self.stream)
        modules()[0].cudaStreamDestroy(self.stream)
        for array in self.arrays.values():
            array.free()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(STEPS, min_size=5, max_size=40),
    in_flight=st.integers(1, 3),
    integrated=st.booleans(),
    interleaved=st.booleans(),
    close_first=st.booleans(),
)
def test_any_order(make_double, steps, in_flight, integrated, interleaved, close_first):
    machine = make_double(integrated=integrated, interleaved=interleaved)
    engine = machine.load((1, MOST), in_flight=in_flight)
    caller = Caller(machine, engine, in_flight)
    for step in steps:
        caller.step(*step)
    caller.end(take_results=not close_first)
    del engine, caller
    assert not machine.world.alive()
