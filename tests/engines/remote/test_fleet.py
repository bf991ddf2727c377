# SPDX-License-Identifier: Apache-2.0
"""Several devices at once."""

from __future__ import annotations

import _thread
import threading
from pathlib import Path

import pytest

from evit_deploy.engines.remote import build_on_all
from evit_deploy.engines.remote import fleet as module
from evit_deploy.errors import UnavailableError
from evit_deploy.manifest import read_artifact
from tests.devices import Device, Fleet, Heard, free_port, wait_until
from tests.manifest.sample import entries


@pytest.fixture
def two(fleet: Fleet) -> list[Device]:
    """Two devices."""
    return [fleet.device("orin-a"), fleet.device("orin-b")]


def test_two_devices_build_at_once_and_a_third_is_down(
    two: list[Device], fleet: Fleet, lowered_engine: Path, tmp_path: Path
) -> None:
    fleet.point("orin-c", free_port())
    folders = {name: tmp_path / "engines" / name for name in ("orin-a", "orin-c", "orin-b")}
    together = threading.Event()
    seen: list[int] = []

    def watch() -> None:
        while not together.is_set():
            seen.append(sum(bool(device.workers()) for device in two))
            together.wait(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    heard = Heard()
    outcomes = build_on_all(lowered_engine, folders, arch="sm80", progress=heard)
    together.set()
    watcher.join()
    assert [outcome.host for outcome in outcomes] == ["orin-a", "orin-c", "orin-b"]
    for outcome in (outcomes[0], outcomes[2]):
        assert outcome.error is None
        assert outcome.written
        assert outcome.manifest == read_artifact(outcome.folder)
        assert f"{outcome.host}: compile with tensorrt_rtx" in heard.steps
    assert max(seen) == 2  # at one time
    error = outcomes[1].error
    assert isinstance(error, UnavailableError)
    assert error.what == "orin-c: no SSH server answers there"
    assert entries(tmp_path / "engines") == ["orin-a", "orin-b"]
    again = build_on_all(lowered_engine, folders, arch="sm80")
    assert [outcome.written for outcome in again] == [False, False, False]


def test_ctrl_c_ends_all(two: list[Device], lowered_engine: Path, tmp_path: Path) -> None:
    folders = {device.name: tmp_path / "engines" / device.name for device in two}

    def interrupt() -> None:
        wait_until(lambda: all(device.workers() for device in two))
        _thread.interrupt_main()

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        build_on_all(lowered_engine, folders, arch="sm80")
    for device in two:
        wait_until(lambda device=device: not device.workers() and not device.agents(), 5)
        assert device.left() == []
    assert not (tmp_path / "engines").exists()


def test_a_fault_of_this_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "build_remote", fail)
    with pytest.raises(ZeroDivisionError):
        build_on_all(tmp_path, {"orin-a": tmp_path / "a"})
