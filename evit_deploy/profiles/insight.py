# SPDX-License-Identifier: Apache-2.0
"""What a profile tells beyond latency and agreement: layers, other ways of timing, memory on the GPU, power.

None of it is there on every machine. What cannot be had is left out, and a note says why: it ends no profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from evit_deploy.profiles.latency import Latency, Subject
from evit_deploy.profiles.layer_times import LayerTimes, measure_layers
from evit_deploy.profiles.overhead import wrapper_ms
from evit_deploy.profiles.power.meter import measure_power
from evit_deploy.profiles.power.record import PowerRecord
from evit_deploy.profiles.power.source import Processor
from evit_deploy.profiles.power.survey import find_source, obstacles
from evit_deploy.profiles.remarks import Notes
from evit_deploy.profiles.throughput import measure_throughput
from evit_deploy.profiles.timing import time_modes
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime import Engine

IN_FLIGHT = 2
"""Runs under way for throughput: one computes while the other's copies are made."""

Inputs = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Wanted:
    """What to measure besides latency.

    Attributes:
        layers: How long every layer takes.
        power: What the machine draws; takes half a minute, where it can be read.
    """

    layers: bool = True
    power: bool = True


EVERYTHING = Wanted()


@dataclass(frozen=True)
class Insight:
    """What was found of one graph.

    Attributes:
        wrapper_ms: What the checks and the lock of `Engine.infer` add to every run, without the backend.
        frames_per_second: Throughput with `IN_FLIGHT` runs under way; None on a CPU, where none overlap.
        modes: Times as `trtexec` takes them; empty where the backend is no TensorRT.
        device_memory: MB on the GPU and page-locked on the host, by use; empty on a CPU.
        layer_times: By layer; None where they were not wanted or cannot be had.
    """

    wrapper_ms: float
    frames_per_second: float | None
    modes: tuple[Latency, ...]
    device_memory: dict[str, float]
    layer_times: LayerTimes | None

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "frames_per_second": self.frames_per_second,
            "wrapper_ms": self.wrapper_ms,
            "modes": [item.to_json() for item in self.modes],
            "device_memory": self.device_memory,
            "layer_times": self.layer_times and self.layer_times.to_json(),
        }


def inspect_graph(
    engine: Engine,
    inputs: Inputs,
    *,
    frames: int,
    runs: int,
    wanted: Wanted,
    notes: Notes,
    progress: Progress = silent,
) -> Insight:
    """Measure what a graph's latency does not tell.

    Args:
        engine: A loaded engine.
        inputs: What it takes, on the host.
        frames: Frames in them.
        runs: Timed runs of every way of timing.
        wanted: What to measure.
        notes: Gets the reason of what cannot be measured.
        progress: Told about every step.
    """
    flow, modes = _on_gpu(engine, inputs, frames, runs, notes, progress) if engine.on_gpu else (None, ())
    layers = None
    if wanted.layers:
        with progress("time every layer"):
            layers = notes.attempt("Layers were not timed", lambda: measure_layers(engine, inputs))
    return Insight(wrapper_ms(engine, inputs), flow, modes, device_memory(engine), layers)


def _on_gpu(
    engine: Engine, inputs: Inputs, frames: int, runs: int, notes: Notes, progress: Progress
) -> tuple[float | None, tuple[Latency, ...]]:
    """Throughput, and latency as `trtexec` takes it."""
    with progress("throughput"):
        flow = notes.attempt(
            "Throughput was not measured",
            lambda: measure_throughput(engine, inputs, frames, in_flight=IN_FLIGHT),
        )
    modes = notes.attempt("Latency was not timed as trtexec does", lambda: time_modes(engine, inputs, runs, progress))
    return flow, modes or ()


def device_memory(engine: Engine) -> dict[str, float]:
    """MB that an engine takes on its GPU and page-locked on the host, by use; nothing on a CPU."""
    memory = engine.memory
    if memory is None:
        return {}
    return {
        "weights and code": memory.plan / 1e6,
        "values between layers": memory.scratch / 1e6,
        "inputs and outputs": memory.device / 1e6,
        "inputs and outputs, page-locked on the host": memory.host / 1e6,
    }


def drawn_power(subject: Subject, *, gpu: bool, notes: Notes, progress: Progress = silent) -> PowerRecord | None:
    """Measure what the machine draws while something runs, or note why not.

    Args:
        subject: What runs.
        gpu: Whether it runs on the GPU.
        notes: Gets the reason where power cannot be measured.
        progress: Told about every step.
    """
    processor: Processor = "gpu" if gpu else "cpu"
    source = find_source(processor)
    if source is None:
        found = [f"{item.source}: {item.what} ({item.fix})" for item in obstacles(processor=processor)]
        why = "; ".join(found) or "nothing on this machine tells it"
        notes.texts.append(f"Power was not measured: {why}.")
        return None
    return notes.attempt(
        "Power was not measured",
        lambda: measure_power(subject.call, frames=subject.frames, source=source, progress=progress),
    )
