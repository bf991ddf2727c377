# SPDX-License-Identifier: Apache-2.0
"""What a profile tells beyond latency: what is not to be had is a note, never an end."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from evit_deploy.errors import ArtifactError, UnavailableError
from evit_deploy.profiles import insight as insight_module
from evit_deploy.profiles.insight import Wanted, drawn_power, inspect_graph
from evit_deploy.profiles.latency import Subject
from evit_deploy.profiles.power.source import Obstacle
from evit_deploy.profiles.remarks import Notes, absence, reason
from tests.profiles.test_layer_times import inputs, opened


def test_an_error_in_a_line() -> None:
    error = ArtifactError("it is damaged", found="half a file", expected="a whole one", fix="build it again")
    assert reason(error) == "it is damaged; found half a file; expected a whole one"
    assert absence(UnavailableError("no weights")) == "PyTorch was not timed: no weights."


def test_attempts() -> None:
    notes = Notes(["before"])

    def fail() -> None:
        raise UnavailableError("no profiler", found="an old version")

    assert notes.attempt("Layers were not timed", lambda: 3) == 3
    assert notes.attempt("Layers were not timed", fail) is None
    assert notes.texts == ["before", "Layers were not timed: no profiler; found an old version."]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), ValueError("not JSON\nat all"), RuntimeError()]
)
def test_what_a_library_raises_loses_nothing_that_was_measured(error: Exception) -> None:
    notes = Notes()
    assert notes.attempt("Layers were not timed", Mock(side_effect=error)) is None
    (text,) = notes.texts
    assert text.startswith(f"Layers were not timed: {type(error).__name__}: ")
    assert "\n" not in text


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_ends_it(end: type[BaseException]) -> None:
    with pytest.raises(end):
        Notes().attempt("x", Mock(side_effect=end))


def test_a_full_disk_costs_the_layers_only(small_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime's profiler then writes half a file, and says nothing."""
    monkeypatch.setattr("evit_deploy.profiles.layer_times.onnxruntime.Path.read_text", lambda *_, **__: '[{"cat":')
    notes = Notes()
    with opened(small_workspace / "engines" / "b0-seg.cpu.fp32.onnxruntime") as engine:
        found = inspect_graph(engine, inputs(engine), frames=1, runs=3, wanted=Wanted(), notes=notes)
    assert found.layer_times is None
    assert found.wrapper_ms > 0
    assert notes.texts[0].startswith("Layers were not timed: JSONDecodeError: ")


@pytest.mark.parametrize("layers", [True, False])
def test_an_engine_on_the_cpu(engine_folder: Path, layers: bool) -> None:
    notes = Notes()
    with opened(engine_folder) as engine:
        found = inspect_graph(engine, inputs(engine), frames=1, runs=3, wanted=Wanted(layers=layers), notes=notes)
    assert (found.frames_per_second, found.modes, found.device_memory) == (None, (), {})
    assert (found.layer_times is not None) is layers
    assert notes.texts == []


def test_layers_that_cannot_be_had_are_a_note(engine_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise UnavailableError("no profiler")

    monkeypatch.setattr(insight_module, "measure_layers", fail)
    notes = Notes()
    with opened(engine_folder) as engine:
        found = inspect_graph(engine, inputs(engine), frames=1, runs=3, wanted=Wanted(), notes=notes)
    assert found.layer_times is None
    assert notes.texts == ["Layers were not timed: no profiler."]


# Power

SUBJECT = Subject("engine infer", lambda: None, frames=4)


def test_no_permission_to_read_rails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insight_module, "find_source", lambda processor: None)
    found = [Obstacle("RAPL", frozenset({"cpu"}), "may be read by root only", "sudo chmod a+r …")]
    monkeypatch.setattr(insight_module, "obstacles", lambda processor: found if processor == "cpu" else [])
    notes = Notes()
    assert drawn_power(SUBJECT, gpu=False, notes=notes) is None
    assert notes.texts == ["Power was not measured: RAPL: may be read by root only (sudo chmod a+r …)."]


@pytest.mark.parametrize(("gpu", "processor"), [(True, "gpu"), (False, "cpu")])
def test_power_is_that_of_the_processor_that_works(monkeypatch: pytest.MonkeyPatch, gpu: bool, processor: str) -> None:
    source, record, asked = object(), object(), []
    monkeypatch.setattr(insight_module, "find_source", lambda name: asked.append(name) or source)

    def measure(call: object, **options: object) -> object:
        assert call is SUBJECT.call
        assert (options["frames"], options["source"]) == (4, source)
        return record

    monkeypatch.setattr(insight_module, "measure_power", measure)
    notes = Notes()
    assert drawn_power(SUBJECT, gpu=gpu, notes=notes) is record
    assert (asked, notes.texts) == ([processor], [])


def test_a_source_that_gives_up_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise UnavailableError("tegrastats gave too few readings", found="3")

    monkeypatch.setattr(insight_module, "find_source", lambda processor: object())
    monkeypatch.setattr(insight_module, "measure_power", fail)
    notes = Notes()
    assert drawn_power(SUBJECT, gpu=True, notes=notes) is None
    assert notes.texts == ["Power was not measured: tegrastats gave too few readings; found 3."]
