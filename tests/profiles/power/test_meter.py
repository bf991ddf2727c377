# SPDX-License-Identifier: Apache-2.0
"""Power and energy of loops whose truth is known: a machine that draws what the test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from evit_deploy.errors import UnavailableError
from evit_deploy.profiles.power import measure_power, meter, sampler, source
from evit_deploy.profiles.power.rails import jetson_total
from evit_deploy.profiles.power.record import PowerRecord
from evit_deploy.profiles.power.source import Polled, Reading, Source

INTERVAL = 0.004
REST_W, WORK_W = 5.0, 20.0
CALL_SECONDS = 0.003


class Machine:
    """Draws `REST_W` until it is called, and then what `curve` says, in W after that many seconds."""

    def __init__(self, curve: Callable[[float], float] = lambda seconds: WORK_W) -> None:
        self._curve = curve
        self._noise = np.random.default_rng(7)
        self.began: float | None = None
        self.ended = 0.0
        self.calls = 0

    def watts(self) -> float:
        now = time.perf_counter()
        return (REST_W if self.began is None else self._curve(now - self.began)) + self._noise.normal(0, 0.2)

    def call(self) -> None:
        self.began = self.began or time.perf_counter()
        self.calls += 1
        time.sleep(CALL_SECONDS)
        self.ended = time.perf_counter()

    def source(self, rails: Callable[[], dict[str, float]] | None = None) -> Source:
        look = rails or (lambda: {"VDD_IN": self.watts(), "VDD_SOC": 2.0})

        @contextmanager
        def opened():
            yield Polled(INTERVAL, look, lambda: {"tj": 40.0 if self.began is None else 60.0})

        return Source("a test", frozenset({"gpu"}), INTERVAL, opened, jetson_total, ("Noted by the source.",))


def measure(machine: Machine, seconds: float = 0.6, **options) -> PowerRecord:
    record = measure_power(machine.call, **{"seconds": seconds, "source": machine.source(), **options})
    assert record is not None
    return record


def told(record: PowerRecord) -> tuple[str, ...]:
    """The notes, without those of gaps, which a busy machine makes in readings 4 ms apart."""
    return tuple(note for note in record.notes if "silent" not in note)


def test_power_energy_and_what_they_are_of() -> None:
    machine = Machine()
    record = measure(machine, frames=2)
    assert record.total_w == pytest.approx(WORK_W, abs=5 * record.total_sigma_w)
    assert 0 < record.total_sigma_w < 0.1
    assert record.idle_w == pytest.approx(REST_W, abs=0.2)
    assert (record.source, record.total_of, record.total_is) == ("a test", ("VDD_IN",), "module input")
    assert {rail.name: rail.watts for rail in record.rails} == {"VDD_IN": record.total_w, "VDD_SOC": 2.0}
    assert record.energy_mj == pytest.approx(
        WORK_W * (machine.ended - machine.began) / machine.calls / 2 * 1e3, rel=0.2
    )
    assert record.energy_mj == pytest.approx(record.total_w * record.seconds / record.frames * 1e3, rel=0.02)
    assert record.energy_sigma_mj / record.energy_mj > record.total_sigma_w / record.total_w
    assert record.interval_ms == pytest.approx(INTERVAL * 1e3, rel=0.5)
    assert told(record) == ("Noted by the source.",)


def test_the_hottest_of_the_loop_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_TEMPERATURE_SECONDS", 0)
    assert measure(Machine(), seconds=0.6).temperatures == {"tj": 60.0}


def test_the_frames_are_those_of_the_time_that_counts() -> None:
    machine = Machine(lambda seconds: WORK_W * (1 - np.exp(-seconds / 0.05)))
    record = measure(machine)
    assert record.seconds < 0.6
    assert record.frames < machine.calls
    assert record.frames / record.seconds == pytest.approx(machine.calls / 0.6, rel=0.3)


def test_what_comes_before_power_is_steady_does_not_count() -> None:
    record = measure(Machine(lambda seconds: WORK_W * (1 - np.exp(-seconds / 0.05))), seconds=1.0)
    assert record.total_w == pytest.approx(WORK_W, rel=0.02)


def test_a_loop_goes_on_until_power_is_steady() -> None:
    machine = Machine(lambda seconds: WORK_W if seconds > 0.3 else 10.0)
    start = time.perf_counter()
    record = measure(machine, seconds=0.4)
    assert record.total_w == pytest.approx(WORK_W, rel=0.02)
    assert time.perf_counter() - start > 0.55
    assert told(record) == ("Noted by the source.",)


def test_power_that_never_becomes_steady_is_said_to_be_so() -> None:
    record = measure(Machine(lambda seconds: 10 + 10 * seconds), seconds=0.4)
    assert "did not become steady" in record.notes[-1]
    assert record.total_w > 16  # the second half


def test_long_calls_count_in_part() -> None:
    """Three calls and a bit: counting whole ones only would be off by a quarter."""
    machine, ends = Machine(), []

    def call() -> None:
        machine.call()
        time.sleep(0.25)
        ends.append(time.perf_counter())

    record = measure_power(call, seconds=0.7, source=machine.source())
    seconds = (ends[-1] - machine.began) / len(ends)
    assert record.energy_mj == pytest.approx(WORK_W * seconds * 1e3, rel=0.1)


def test_a_source_that_is_silent_for_a_while_is_noted() -> None:
    machine = Machine()

    def rails() -> dict[str, float]:
        if machine.calls > 50:
            time.sleep(0.2)
            machine.calls = -100_000
        return {"VDD_IN": machine.watts()}

    record = measure(machine, source=machine.source(rails))
    assert "The source was silent for 0." in record.notes[-1]
    assert record.total_w == pytest.approx(WORK_W, rel=0.02)


def test_readings_that_lack_a_rail_do_not_count() -> None:
    machine = Machine()
    looks = iter(range(10**9))

    def rails() -> dict[str, float]:
        return {"VDD_IN": machine.watts(), "VDD_SOC": 2.0} if next(looks) % 10 else {"VDD_SOC": 2.0}

    assert measure(machine, source=machine.source(rails)).total_of == ("VDD_IN",)


def test_a_source_that_dies_is_an_error_in_words() -> None:
    machine = Machine()

    def rails() -> dict[str, float]:
        if machine.calls > 3:
            raise OSError("the cable was pulled")
        return {"VDD_IN": machine.watts()}

    with pytest.raises(UnavailableError) as error:
        measure(machine, source=machine.source(rails))
    assert "the cable was pulled" in str(error.value)
    assert error.value.exit_code == 3


def test_a_source_that_fails_otherwise_is_an_error_in_words(capfd: pytest.CaptureFixture[str]) -> None:
    """A driver's library raises what it likes; a thread that dies of it prints a traceback, and nobody knows why."""

    def rails() -> dict[str, float]:
        raise RuntimeError("NVML is gone")

    with pytest.raises(UnavailableError, match="NVML is gone"):
        measure(Machine(), source=Machine().source(rails))
    assert "Traceback" not in capfd.readouterr().err


def test_a_source_that_is_dead_from_the_start_costs_no_loop() -> None:
    machine = Machine()

    def rails() -> dict[str, float]:
        raise OSError("the cable was pulled")

    start = time.perf_counter()
    with pytest.raises(UnavailableError, match="the cable was pulled"):
        measure(machine, seconds=4.0, source=machine.source(rails))  # a second of rest, and no call
    assert time.perf_counter() - start < 3
    assert machine.calls == 0


def test_a_source_that_dies_late_gives_what_it_has() -> None:
    machine = Machine()

    left = iter(range(40))

    def rails() -> dict[str, float]:
        if machine.began and next(left, None) is None:
            raise OSError("the cable was pulled")
        return {"VDD_IN": machine.watts()}

    record = measure(machine, seconds=1.5, source=machine.source(rails))
    assert record.total_w == pytest.approx(WORK_W, rel=0.02)
    assert any("the cable was pulled" in note for note in record.notes)


def test_a_source_that_does_not_open_is_an_error_in_words() -> None:
    def opened():
        raise FileNotFoundError("no such tool")

    with pytest.raises(UnavailableError, match="no such tool"):
        measure_power(lambda: time.sleep(0.01), seconds=0.1, source=replace(Machine().source(), open=opened))


def test_a_source_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "_SILENCE", 0.1)

    class Silent:
        def read(self) -> Reading | None:
            time.sleep(0.02)
            return None

    @contextmanager
    def opened():
        yield Silent()

    with pytest.raises(UnavailableError, match="0 readings of a test: nothing came"):
        measure_power(lambda: time.sleep(0.01), seconds=0.2, source=replace(Machine().source(), open=opened))


def test_a_file_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "_SILENCE", 0.1)
    release = threading.Event()

    def rails() -> dict[str, float]:
        release.wait(20)
        return {"VDD_IN": 1.0}

    start = time.perf_counter()
    with pytest.raises(UnavailableError, match="0 readings"):
        measure(Machine(), seconds=0.2, source=Machine().source(rails))
    assert time.perf_counter() - start < 5
    release.set()


def test_the_error_of_an_inference_is_passed_on_and_the_source_closed() -> None:
    closed = []
    machine = Machine()

    @contextmanager
    def opened():
        yield Polled(INTERVAL, lambda: {"VDD_IN": machine.watts()}, dict)
        closed.append(True)

    def fail() -> None:
        raise ValueError("wrong shape")

    with pytest.raises(ValueError, match="wrong shape"):
        measure_power(fail, seconds=0.1, source=replace(machine.source(), open=opened))
    assert closed


def test_a_machine_without_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "sources", list)
    assert measure_power(lambda: None, seconds=0.1) is None


def test_the_record_is_plain_json() -> None:
    import json

    assert json.loads(json.dumps(measure(Machine()).to_json()))["total_of"] == ["VDD_IN"]
