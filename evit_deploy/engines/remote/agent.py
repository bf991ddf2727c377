# SPDX-License-Identifier: Apache-2.0
"""The far side of a remote build: answers one host over standard input and output, and ends with the link.

It can receive a package, build it, send the result and nothing else; it opens no port and needs no rights but those of
the user who logged in.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evit_deploy.engines.compilation import compiled_key
from evit_deploy.engines.compiler import choose_arch, choose_compiler
from evit_deploy.engines.remote.events import EventReader
from evit_deploy.engines.remote.job import PROFILE, Job
from evit_deploy.engines.remote.package import unpack
from evit_deploy.engines.remote.protocol import CHUNK, GREETING, Channel, ClosedError, Message, error_to_json
from evit_deploy.engines.remote.store import Store, cache_folder, old_entries
from evit_deploy.errors import ArtifactError, EvitError, UnavailableError, UsageError
from evit_deploy.manifest import content_key
from evit_deploy.manifest.store import read_artifact, sha256_of
from evit_deploy.targets import find_target

_TICK = 0.05  # s
_OWN = ("start", "end")


def serve() -> None:
    """Answer the host at the other end of standard input and output, until it goes."""
    outgoing = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no message
    channel = Channel(0, outgoing)
    try:
        channel.write(GREETING)
        agent = Agent(channel, cache_folder())
        while (received := channel.receive()) is not None:
            agent.answer(received[0])
    except ClosedError:
        return


class Agent:
    """Answers messages, one after the other."""

    def __init__(self, channel: Channel, folder: Path) -> None:
        self._channel, self._folder = channel, folder
        self._packages, self._lowered, self._jobs = Store(folder / "packages"), folder / "lowered", folder / "jobs"

    def answer(self, message: Message) -> None:
        """Do what a message asks for; errors are answers as well.

        Raises:
            ClosedError: The host is gone, or this machine's files fail.
        """
        tasks: dict[str, Callable[[Message], None]] = {
            "key": self._key, "put": self._put, "build": self._build, "get": self._get,
        }  # fmt: skip
        try:
            if (name := message.get("do", "")) not in tasks:
                raise UsageError(f"the agent cannot do '{name}'", fix="install the same evit-deploy on both sides")
            tasks[name](message)
        except EvitError as error:
            self._channel.send({"error": error_to_json(error)})
        except OSError as error:
            reason = UnavailableError(
                "it cannot write or read its files", found=str(error), fix=f"look at {self._folder} there"
            )
            self._channel.send({"error": error_to_json(reason)})
            raise ClosedError from error  # what the host sends meanwhile would be read as questions

    def _key(self, message: Message) -> None:
        """The key that a build would have here now; refused where none can be done."""
        spec = find_target(message["target"])
        compiler = choose_compiler(spec, message["precision"], message["compiler"], required=True)
        assert compiler is not None
        arch = choose_arch(compiler, spec, message["arch"])
        key = compiled_key(message["lowered"], compiler, arch, message["level"])
        self._channel.send({"key": key, "compiler": f"{compiler.name} {compiler.version()}"})

    def _put(self, message: Message) -> None:
        """Take a package: say how much of it is here, then take the rest."""
        sha256, size = message["sha256"], int(message["size"])
        if self._packages.find(sha256) is not None:
            return self._channel.send({"have": size})
        self._sweep()
        with self._packages.receive(sha256, size) as incoming:
            if incoming.whole:  # all was here but its name; if that was not it, begin anew
                with contextlib.suppress(ArtifactError):
                    incoming.finish()
                    return self._channel.send({"have": size})
            self._channel.send({"have": incoming.offset})
            while not incoming.whole:
                received = self._channel.receive()
                assert received is not None
                incoming.write(received[1])
            incoming.finish()
        self._channel.send({"done": True})

    def _build(self, message: Message) -> None:
        """Start a build or find it under way, and tell about it until its end."""
        options = {name: message[name] for name in ("compiler", "arch", "level")}
        source = self._unpacked(message["package"])
        job = self._job(content_key(package=message["package"], **options))
        job.start(source, **options)
        end = self._follow(job)
        if end is None:
            raise UnavailableError(
                "the build was killed",
                found=job.last_words() or "its process is gone, without a word",
                expected="a result, or a reason",
                fix="out of memory is the usual cause ('dmesg' there says): end other programs there, and try again",
            )
        if "error" in end:
            return self._channel.send({"error": end["error"]})
        manifest = (job.engine / "manifest.json").read_text(encoding="utf-8")
        profile = (job.folder / PROFILE).read_text(encoding="utf-8")
        self._channel.send({"job": job.folder.name, "manifest": manifest, "profile": profile})

    def _unpacked(self, sha256: str) -> Path:
        """The folder of a package that was sent."""
        folder = self._lowered / self._packages.path(sha256).name
        try:
            read_artifact(folder)
            os.utime(folder)
        except EvitError:
            if (package := self._packages.find(sha256)) is None:
                raise ArtifactError("the package is not here", fix="run the same command again") from None
            shutil.rmtree(folder, ignore_errors=True)
            unpack(package, folder)
        return folder

    def _follow(self, job: Job) -> Message | None:
        """Pass on a build's events; return its last one, or None if it was killed before that."""
        pid, cancelled = 0, False
        with EventReader(job.events) as reader:
            while True:
                alive = job.running()
                events = reader.read()
                pid = next((event["pid"] for event in events if event["event"] == "start"), pid)
                if events:
                    self._channel.send({"events": [event for event in events if event["event"] not in _OWN]})
                if not alive:
                    return reader.last if reader.last.get("event") == "end" else None
                received = self._channel.receive(_TICK)
                cancelled = cancelled or (received is not None and received[0].get("do") == "cancel")
                if cancelled and pid:
                    job.cancel(pid)
                    raise UsageError("the build was cancelled", fix="run the command again")

    def _get(self, message: Message) -> None:
        """Send a file of a result, from an offset on."""
        job = self._job(message["job"])
        manifest = read_artifact(job.engine)
        if message["name"] not in manifest.files:
            raise ArtifactError(f"the result has no file {message['name']}", fix="run the same command again")
        path, offset = job.engine / message["name"], int(message["offset"])
        with path.open("rb") as file:
            file.seek(offset)
            while data := file.read(CHUNK):
                self._channel.send({"of": message["name"]}, data)
        self._channel.send({"done": True, "sha256": sha256_of(path)})

    def _sweep(self) -> None:
        """Remove what nobody asked for in a long time."""
        self._packages.sweep()
        for folder in old_entries(self._lowered):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in old_entries(self._jobs):
            if not Job(folder).running():
                shutil.rmtree(folder, ignore_errors=True)

    def _job(self, name: Any) -> Job:
        if not isinstance(name, str) or not name.isalnum():
            raise ArtifactError(f"'{name}' is no job")
        return Job(self._jobs / name)
