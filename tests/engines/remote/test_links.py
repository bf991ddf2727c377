# SPDX-License-Identifier: Apache-2.0
"""Links that break, agents that are killed, users who change their mind: nothing is lost, nothing half-written."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from evit_deploy.engines.remote import LinkLostError, build_remote
from evit_deploy.engines.remote.client import AgentClient
from evit_deploy.engines.remote.package import Package, pack
from evit_deploy.engines.remote.ssh import Cancelled
from evit_deploy.errors import ArtifactError, UnavailableError
from evit_deploy.manifest import read_artifact
from tests.devices import Cutter, Device, Heard, wait_until
from tests.manifest.sample import entries

AGAIN = "run the same command again"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the engine goes."""
    return tmp_path / "engines" / "b0-seg.rtx-sm80.fp16"


def events(device: Device) -> list[dict[str, object]]:
    """What the only build on a device said."""
    (path,) = (device.store / "jobs").glob("*/events")
    return [json.loads(line) for line in path.read_text().splitlines()]


class Attempt(threading.Thread):
    """A remote build in a thread of its own, and how it ended."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(daemon=True)
        self.arguments, self.options = arguments, options
        self.heard = Heard()
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = build_remote(*self.arguments, progress=self.heard, **self.options)
        except BaseException as error:
            self.error = error

    def ended(self) -> BaseException | None:
        """Wait for the end."""
        self.join(60)
        assert not self.is_alive()
        return self.error


# The upload


@pytest.fixture
def large(lowered_engine: Path) -> Package:
    """What travels like a package of 8 MB."""
    data = np.random.default_rng(0).bytes(8_000_000)
    return Package(pack(lowered_engine).manifest, data, hashlib.sha256(data).hexdigest())


def put(device: Device, package: Package, heard: Heard) -> int:
    """Send a package; return how many bytes were sent."""
    with AgentClient(device.name) as agent:
        return agent.put(package, heard)


@pytest.mark.parametrize("part", [0.5, 0.9])
def test_upload_goes_on_where_it_broke_off(part: float, device: Device, large: Package) -> None:
    size = len(large.data)
    cutter = Cutter(device, int(size * part))
    with pytest.raises(LinkLostError, match=f"^{device.name}: ") as caught:
        put(device, large, Heard())
    assert AGAIN in str(caught.value)
    wait_until(lambda: not device.agents())
    (broken_off,) = (device.store / "packages").iterdir()
    there = broken_off.stat().st_size
    assert size * part - 2_500_000 < there <= size * part  # a server drops the 2 MB that it holds
    cutter.limit, cutter.sent = None, 0
    heard = Heard()
    assert put(device, large, heard) == size - there
    assert heard.marks == heard.totals
    assert cutter.sent < size - there + 100_000  # only the rest, and the messages around it
    stored = device.store / "packages" / large.sha256
    assert stored.read_bytes() == large.data
    assert entries(stored.parent) == [stored.name]
    assert put(device, large, Heard()) == 0


def test_the_same_command_goes_on_with_the_upload(device: Device, lowered_engine: Path, folder: Path) -> None:
    Cutter(device, int(len(pack(lowered_engine).data) * 0.8))
    with pytest.raises(LinkLostError):
        build_remote(lowered_engine, folder, device.name, arch="sm80")
    assert not folder.parent.exists()
    device.fleet.point(device.name, device.port)
    build_remote(lowered_engine, folder, device.name, arch="sm80")
    read_artifact(folder)
    assert device.left() == []


@pytest.mark.parametrize(
    ("size", "steps"), [(7_999_000, ["send 0.0 MB", "send 8.0 MB"]), (8_000_000, ["send 8.0 MB"]), (8_000_001, None)]
)
def test_a_part_of_other_bytes_is_sent_anew(size: int, steps: list[str] | None, device: Device, large: Package) -> None:
    """A file system may leave zeros after a power cut."""
    part = device.store / "packages" / f"{large.sha256}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(size))
    heard = Heard()
    assert put(device, large, heard) == len(large.data)
    assert heard.steps == (steps or ["send 8.0 MB"])
    assert entries(part.parent) == [large.sha256]


@pytest.mark.slow
def test_a_silent_link_counts_as_lost(device: Device, large: Package) -> None:
    cutter = Cutter(device, 2_000_000)
    cutter.silent = True
    start = time.monotonic()
    with pytest.raises(LinkLostError, match=AGAIN):
        put(device, large, Heard())
    assert time.monotonic() - start < 40
    cutter.close()


def test_an_upload_that_arrives_damaged_is_refused(
    device: Device, lowered_engine: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evit_deploy.engines.remote import build

    whole = pack(lowered_engine)
    damaged = whole.data[:1000] + bytes([whole.data[1000] ^ 1]) + whole.data[1001:]
    monkeypatch.setattr(build, "pack", lambda _: Package(whole.manifest, damaged, whole.sha256))
    with pytest.raises(ArtifactError, match=f"^{device.name}: a file arrived damaged") as caught:
        build_remote(lowered_engine, folder, device.name, arch="sm80")
    assert hashlib.sha256(damaged).hexdigest()[:16] in str(caught.value)
    assert list((device.store / "packages").iterdir()) == []
    assert not folder.parent.exists()


# The build


def test_a_lost_link_does_not_end_the_build(device: Device, lowered_engine: Path, folder: Path) -> None:
    cutter = Cutter(device)
    attempt = Attempt(lowered_engine, folder, device.name, arch="sm80")
    (pid,) = wait_until(device.workers)
    cutter.cut()
    assert isinstance(attempt.ended(), LinkLostError)
    assert AGAIN in str(attempt.error)
    assert not folder.parent.exists()
    assert device.workers() == [pid]
    heard = Heard()
    manifest, written = build_remote(lowered_engine, folder, device.name, arch="sm80", progress=heard)
    assert written
    assert manifest == read_artifact(folder)
    assert [event["pid"] for event in events(device) if event["event"] == "start"] == [pid]  # it was waited for
    assert [step for step in heard.steps if step.startswith("compile")]  # and its progress shown from the beginning
    assert not [step for step in heard.steps if step.startswith("send")]


def test_a_build_that_ended_alone_is_found(device: Device, lowered_engine: Path, folder: Path) -> None:
    cutter = Cutter(device)
    attempt = Attempt(lowered_engine, folder, device.name, arch="sm80")
    wait_until(device.workers)
    cutter.cut()
    assert isinstance(attempt.ended(), LinkLostError)
    wait_until(lambda: not device.workers())
    (engine,) = (device.store / "jobs").glob("*/engine/engine.rtx")
    written_at = engine.stat().st_mtime_ns
    build_remote(lowered_engine, folder, device.name, arch="sm80")
    read_artifact(folder)
    assert engine.stat().st_mtime_ns == written_at


def test_a_killed_agent_does_not_end_the_build(device: Device, lowered_engine: Path, folder: Path) -> None:
    attempt = Attempt(lowered_engine, folder, device.name, arch="sm80")
    (pid,) = wait_until(device.workers)
    for agent in device.agents():
        os.kill(agent, signal.SIGKILL)
    error = attempt.ended()
    assert isinstance(error, LinkLostError)
    assert AGAIN in str(error)
    assert not folder.parent.exists()
    assert device.workers() == [pid]
    build_remote(lowered_engine, folder, device.name, arch="sm80")
    read_artifact(folder)
    assert [event["pid"] for event in events(device) if event["event"] == "start"] == [pid]


def test_a_killed_build_is_said_and_begun_again(device: Device, lowered_engine: Path, folder: Path) -> None:
    attempt = Attempt(lowered_engine, folder, device.name, arch="sm80")
    (pid,) = wait_until(device.workers)
    wait_until(lambda: "compile with tensorrt_rtx" in attempt.heard.steps)
    os.kill(pid, signal.SIGKILL)
    error = attempt.ended()
    assert isinstance(error, UnavailableError)
    assert str(error).startswith(f"{device.name}: the build was killed")
    assert "out of memory" in str(error)
    assert not folder.parent.exists()
    build_remote(lowered_engine, folder, device.name, arch="sm80")
    read_artifact(folder)
    assert device.left() == []


def test_a_reboot_is_survived(device: Device, lowered_engine: Path, folder: Path) -> None:
    attempt = Attempt(lowered_engine, folder, device.name, arch="sm80")
    wait_until(device.workers)
    device.stop()
    assert isinstance(attempt.ended(), LinkLostError)
    with pytest.raises(UnavailableError, match="no SSH server answers there"):
        build_remote(lowered_engine, folder, device.name, arch="sm80")
    device.start()
    heard = Heard()
    build_remote(lowered_engine, folder, device.name, arch="sm80", progress=heard)
    read_artifact(folder)
    assert not [step for step in heard.steps if step.startswith("send")]
    assert device.left() == []


def test_two_hosts_share_one_build(device: Device, lowered_engine: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "engines" / name for name in ("one", "two")]
    attempts = [Attempt(lowered_engine, folder, device.name, arch="sm80") for folder in folders]
    assert [attempt.ended() for attempt in attempts] == [None, None]
    assert read_artifact(folders[0]) == read_artifact(folders[1])
    assert [step.startswith("compile") for attempt in attempts for step in attempt.heard.steps].count(True) >= 1


def test_a_shared_connection_does(device: Device, lowered_engine: Path, folder: Path) -> None:
    """Many configurations keep one open: then the client that was started is not the one that holds the link."""
    config = device.fleet.config
    socket = device.fleet.folder / "c"
    config.write_text(f"{config.read_text()}    ControlMaster auto\n    ControlPath {socket}\n    ControlPersist 20\n")
    start = time.monotonic()
    build_remote(lowered_engine, folder, device.name, arch="sm80")
    build_remote(lowered_engine, folder, device.name, arch="sm80")
    seconds = time.monotonic() - start
    assert socket.exists()
    subprocess.run(["ssh", "-F", config, "-O", "exit", device.name], check=True, capture_output=True)
    assert seconds < 30
    read_artifact(folder)


# The download


def test_a_download_goes_on_where_it_broke_off(
    device: Device, lowered_engine: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evit_deploy.engines.remote import store

    class Dying(store.Incoming):
        def write(self, data: bytes) -> None:
            super().write(data)
            if self.offset > 300_000:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "Incoming", Dying)
        with pytest.raises(KeyboardInterrupt):
            build_remote(lowered_engine, folder, device.name, arch="sm80")
    assert entries(folder.parent) == []
    (part,) = (tmp_path / "host-cache" / "evit-deploy" / "remote" / "fetched").glob("*/*.part")
    assert part.stat().st_size > 300_000
    build_remote(lowered_engine, folder, device.name, arch="sm80")
    read_artifact(folder)
    assert not part.parent.exists()


# Ctrl-C


def test_cancelling_ends_the_build_there(device: Device, lowered_engine: Path, folder: Path) -> None:
    cancelled = Cancelled()
    attempt = Attempt(lowered_engine, folder, device.name, arch="sm80", cancelled=cancelled)
    wait_until(lambda: "compile with tensorrt_rtx" in attempt.heard.steps)
    cancelled.set()
    assert isinstance(attempt.ended(), KeyboardInterrupt)
    wait_until(lambda: not device.workers(), 2)
    assert device.left() == []
    assert not list((device.store / "jobs").glob("*/engine"))
    assert not folder.parent.exists()
    assert attempt.heard.open == 0
    build_remote(lowered_engine, folder, device.name, arch="sm80")
    read_artifact(folder)


def test_ctrl_c_ends_the_build_there(device: Device, lowered_engine: Path, folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from evit_deploy.engines.remote import build_remote\n"
        "build_remote(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], arch='sm80')"
    )
    command = [sys.executable, "-c", code, lowered_engine, folder, device.name]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        wait_until(device.workers)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the whole group
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT or "KeyboardInterrupt" in stderr
    wait_until(lambda: not device.workers(), 2)
    wait_until(lambda: not device.agents())
    assert device.left() == []
    assert not folder.parent.exists()
