# SPDX-License-Identifier: Apache-2.0
"""The agent of a device, as a host calls it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from evit_deploy.engines.remote.device import far_command
from evit_deploy.engines.remote.events import Replay
from evit_deploy.engines.remote.package import Package
from evit_deploy.engines.remote.protocol import (
    CHUNK,
    BrokenMessageError,
    ClosedError,
    Message,
    error_from_json,
)
from evit_deploy.engines.remote.ssh import Cancelled, Link
from evit_deploy.engines.remote.store import Store
from evit_deploy.errors import ArtifactError, EvitError, UnavailableError
from evit_deploy.manifest import Manifest
from evit_deploy.manifest._validator import SchemaError, validate
from evit_deploy.manifest.model import from_json
from evit_deploy.progress import Progress, Step

_TICK = 0.1  # s
_CANCELLING = 15.0  # s
_PIECE = 1_000_000  # bytes that one mark of a progress bar stands for


@dataclass(frozen=True)
class Result:
    """What a device built.

    Attributes:
        job: Where it is there.
        manifest: Of the engine.
        profile: What was measured there, as JSON text.
    """

    job: str
    manifest: Manifest
    profile: str


class _Marks:
    """Bytes as marks of a progress bar.

    Attributes:
        total: Marks for all bytes, the last one for what is left.
    """

    def __init__(self, size: int) -> None:
        self._size, self._shown = size, 0
        self.total = -(-size // _PIECE)

    def show(self, step: Step, done: int) -> None:
        """Advance a step to so many bytes."""
        marks = self.total if done >= self._size else done // _PIECE
        for _ in range(marks - self._shown):
            step.advance()
        self._shown = marks


class AgentClient:
    """A connection to the agent of one device.

    Args:
        host: The device, as the user named it.
        cancelled: Set by another thread to end what is under way, as Ctrl-C does in the main one.
    """

    def __init__(self, host: str, cancelled: Cancelled | None = None) -> None:
        self.host, self._cancelled = host, cancelled or Cancelled()
        self._link = Link(host, far_command("agent"))

    def __enter__(self) -> AgentClient:
        """Wait until the agent answers."""
        try:
            with self._explained():
                while not self._link.channel.skip_to_greeting(_TICK):
                    self._check()
        except BaseException:
            self._link.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the connection."""
        self._link.__exit__(kind, error, trace)

    def key(self, **question: Any) -> str:
        """Key of the engine that the device would build now; raises what keeps it from building."""
        return str(self._ask({"do": "key", **question})["key"])

    def put(self, package: Package, progress: Progress) -> int:
        """Send a package, or what of it is not there yet; return how many bytes were sent.

        Raises:
            ArtifactError: It arrived damaged twice.
        """
        for attempt in (1, 2):
            try:
                return self._put(package, progress)
            except ArtifactError:
                if attempt == 2:
                    raise
        raise AssertionError

    def _put(self, package: Package, progress: Progress) -> int:
        size = len(package.data)
        have = int(self._ask({"do": "put", "sha256": package.sha256, "size": size})["have"])
        if have >= size:
            return 0
        marks = _Marks(size - have)
        with self._explained(), progress(f"send {(size - have) / 1e6:.1f} MB", marks.total) as step:
            for start in range(have, size, CHUNK):
                self._check()
                self._link.channel.send({"of": package.sha256}, memoryview(package.data)[start : start + CHUNK])
                marks.show(step, min(start + CHUNK, size) - have)
            self._answer()
        return size - have

    def build(self, package: Package, progress: Progress, **options: Any) -> Result:
        """Build a package there, or wait for that build if it is under way.

        Raises:
            KeyboardInterrupt: Ctrl-C, or `cancelled`; the build there was ended.
        """
        try:
            with self._explained(), Replay(progress) as replay:
                self._link.channel.send({"do": "build", "package": package.sha256, **options})
                while "events" in (answer := self._answer()):
                    for event in answer["events"]:
                        replay.show(event)
        except KeyboardInterrupt:
            self._cancel()
            raise
        return Result(str(answer["job"]), self._manifest(answer["manifest"]), str(answer["profile"]))

    def get(self, result: Result, name: str, store: Store, progress: Progress) -> Path:
        """Fetch a file of a result into a store here, or what of it is not here yet."""
        info = result.manifest.files[name]
        if (found := store.find(info.sha256)) is not None:
            return found
        with store.receive(info.sha256, info.bytes) as incoming, self._explained():
            first = incoming.offset
            marks = _Marks(info.bytes - first)
            with progress(f"fetch {name}", marks.total) as step:
                self._link.channel.send({"do": "get", "job": result.job, "name": name, "offset": first})
                while not (answer := self._receive())[0].get("done"):
                    incoming.write(answer[1])
                    marks.show(step, incoming.offset - first)
                return incoming.finish()

    def _manifest(self, text: str) -> Manifest:
        """The manifest of a result, checked like one that is read here."""
        try:
            data = json.loads(text)
            validate(data)  # type: ignore[no-untyped-call]
        except (ValueError, SchemaError) as error:
            raise ArtifactError(f"{self.host}: its manifest cannot be read", found=str(error)) from error
        manifest = from_json(data)
        if odd := [name for name in manifest.files if Path(name).name != name or name.startswith(".")]:
            raise ArtifactError(f"{self.host}: its manifest names files outside its folder", found=", ".join(odd))
        return manifest

    def _ask(self, message: Message) -> Message:
        with self._explained():
            self._link.channel.send(message)
            return self._answer()

    def _answer(self) -> Message:
        return self._receive()[0]

    def _receive(self) -> tuple[Message, bytes]:
        """The next message; an error there is raised here."""
        while (received := self._link.channel.receive(_TICK)) is None:
            self._check()
        if error := received[0].get("error"):
            raise error_from_json(error, self.host)
        self._check()
        return received

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise KeyboardInterrupt

    def _cancel(self) -> None:
        """Tell the agent to end the build, and wait until it did."""
        deadline = time.monotonic() + _CANCELLING
        with contextlib.suppress(ClosedError, BrokenMessageError):
            self._link.channel.send({"do": "cancel"})
            while (left := deadline - time.monotonic()) > 0:
                received = self._link.channel.receive(left)
                if received is not None and "events" not in received[0]:
                    return

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in words why a channel closed; an error that the agent sent before is that."""
        try:
            yield
        except ClosedError:
            raise self._last_words() or self._link.failure() from None
        except BrokenMessageError as error:
            raise UnavailableError(
                f"{self.host}: it answers with something else than messages", found=str(error)[:200],
                fix="install the same evit-deploy on both sides; 'ssh HOST true' must print nothing",
            ) from error  # fmt: skip

    def _last_words(self) -> EvitError | None:
        with contextlib.suppress(ClosedError, BrokenMessageError):
            while (received := self._link.channel.receive(1.0)) is not None:
                if error := received[0].get("error"):
                    return error_from_json(error, self.host)
        return None
