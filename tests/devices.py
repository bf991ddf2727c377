# SPDX-License-Identifier: Apache-2.0
"""Devices to build on: real OpenSSH servers on loopback, each with keys, a home and a cache of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

import evit_deploy
from evit_deploy.engines.doctor import examine

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
PACKAGE = Path(evit_deploy.__file__).parents[1]

_SERVER = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PrintMotd no
LogLevel DEBUG
SetEnv {variables}
"""
_CLIENT = """
Host {name}
    HostName 127.0.0.1
    Port {port}
    User {user}
    HostKeyAlias {name}
"""
_COMMON = """
Host *
    IdentityFile {folder}/key
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking ask
"""


def require_sshd() -> None:
    """Skip where there is no OpenSSH server; a CI machine must have one, and fails."""
    if SSHD is None and not os.environ.get("CI"):
        pytest.skip("no OpenSSH server: apt install openssh-server")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_key(path: Path) -> str:
    """Make a key pair, and return the public one."""
    path.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.with_suffix(".pub").read_text()


@lru_cache(maxsize=1)
def _report() -> str:
    return json.dumps(dataclasses.asdict(examine(Path.home())))


class Device:
    """One device: its server, and what is on it."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet, self.name, self.folder = fleet, name, fleet.folder / name
        self.home = self.folder / "home"
        self.store = self.home / "cache" / "evit-deploy" / "remote"
        self.port = free_port()
        (self.home / "bin").mkdir(parents=True)
        (self.folder / "authorized_keys").write_text(fleet.public)
        key = make_key(self.folder / "host_key")
        with (fleet.folder / "known_hosts").open("a") as known:
            known.write(f"{name} {key}")
        self.tmp = self.folder / "tmp"
        self.tmp.mkdir()
        self._variables = {
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "PATH": f"{self.home}/bin:/usr/bin:/bin",
            "TMPDIR": str(self.tmp),
            "PYTHONPATH": str(PACKAGE),
        }
        self.program = f'exec "{sys.executable}" -m evit_deploy.cli.main "$@"'
        self.give(self.program)
        self.start()
        fleet.point(name, self.port)

    def without_package(self, **more: str) -> None:
        """Log in to an environment that does not know the package of these tests, from now on."""
        self._variables.pop("PYTHONPATH", None)
        self._variables.update(more)
        self.server.terminate()
        self.server.wait()
        self.start()

    def give(self, script: str, name: str = "evit-deploy") -> None:
        """Put a program on the device's PATH."""
        path = self.home / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def report(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Make the device's doctor say something else."""
        data = json.loads(_report())
        change(data)
        (self.folder / "doctor.json").write_text(json.dumps(data))
        self.give(f'if [ "$1" = doctor ]; then exec cat "{self.folder}/doctor.json"; fi\n{self.program}')

    def left(self) -> list[str]:
        """What is in its cache and half-written; lock files stay."""
        hidden = [path for path in self.store.rglob(".*") if path.suffix != ".lock"]
        return sorted(str(path.relative_to(self.store)) for path in [*hidden, *self.store.rglob("*.part")])

    def workers(self) -> list[int]:
        """Processes that build on it."""
        return self._processes("evit_deploy.engines.remote.worker")

    def agents(self) -> list[int]:
        """Processes that answer hosts on it."""
        return self._processes("evit_deploy.cli.main", "agent")

    def _processes(self, *words: str) -> list[int]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_bytes().decode().split("\0")
                variables = (process / "environ").read_bytes().decode().split("\0")
                if all(word in command for word in words) and f"HOME={self.home}" in variables:
                    found.append(int(process.name))
        return found

    def stop(self) -> None:
        """End the server and everything on the device."""
        self.server.terminate()
        self.server.wait()
        for pid in [*self.workers(), *self.agents()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def start(self) -> None:
        """Start the server."""
        assert SSHD is not None
        variables = " ".join(f'{key}="{value}"' for key, value in self._variables.items())
        (self.folder / "sshd_config").write_text(
            _SERVER.format(port=self.port, folder=self.folder, variables=variables)
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # the server insists on it
        self.server = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", self.folder / "sshd_config"], stderr=(self.folder / "sshd.log").open("wb")
        )
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise AssertionError((self.folder / "sshd.log").read_text())


class Heard:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.totals: dict[str, int | None] = {}
        self.marks: dict[str, int] = {}
        self.open = 0

    @contextlib.contextmanager
    def __call__(self, name: str, total: int | None = None) -> Iterator[Any]:
        """One step."""
        self.steps.append(name)
        self.totals[name], self.marks[name] = total, 0
        marks = self.marks

        class Step:
            def advance(self) -> None:
                marks[name] += 1

        self.open += 1
        try:
            yield Step()
        finally:
            self.open -= 1


class Fleet:
    """All devices of a test, and the client's configuration for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.public = make_key(folder / "key")
        (folder / "known_hosts").touch()
        self.config = folder / "ssh_config"
        self._hosts: dict[str, int] = {}
        self._devices: list[Device] = []

    def device(self, name: str = "orin-a") -> Device:
        """Start a device."""
        self._devices.append(device := Device(self, name))
        return device

    def point(self, name: str, port: int) -> None:
        """Make the client find a host at a port."""
        self._hosts[name] = port
        user = getpass.getuser()
        hosts = "".join(_CLIENT.format(name=host, port=at, user=user) for host, at in self._hosts.items())
        self.config.write_text(hosts + _COMMON.format(folder=self.folder))

    def stop(self) -> None:
        """End all devices."""
        for device in self._devices:
            device.stop()


class Cutter:
    """A network between host and device that breaks: passes on so many bytes to the device, then hangs up.

    Attributes:
        limit: How many bytes; None for any number.
        sent: How many it passed on.
        silent: Whether it says nothing instead of hanging up.
    """

    def __init__(self, device: Device, limit: int | None = None) -> None:
        self.limit, self.sent, self.silent = limit, 0, False
        self._target = device.port
        self._sockets: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        device.fleet.point(device.name, self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Hang up."""
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up, and answer no more."""
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [near, far]
                threading.Thread(target=self._pass, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(far, near, False), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                self.sent += len(data) if counted else 0
                if counted and self.limit is not None and self.sent > self.limit:
                    if self.silent:
                        return
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Devices, and a client that knows them."""
    require_sshd()
    fleet = Fleet(tmp_path / "fleet")
    monkeypatch.setenv("EVIT_SSH", f"ssh -F {fleet.config}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "host-cache"))
    yield fleet
    fleet.stop()


@pytest.fixture
def device(fleet: Fleet) -> Device:
    """One device, which was examined before: its doctor answers at once."""
    device = fleet.device()
    device.report(lambda report: None)
    return device


@pytest.fixture
def real_device(fleet: Fleet) -> Device:
    """One device with a doctor of its own."""
    return fleet.device()


def wait_until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Wait for something to become true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found
