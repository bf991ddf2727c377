# SPDX-License-Identifier: Apache-2.0
"""What a host and the agent on a device say to each other, over the two ends of one SSH channel.

A message is a line of JSON, then as many raw bytes as its "bytes" says. The agent opens with `GREETING`, so that what
a login script prints before it does no harm.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Mapping
from typing import Any

from evit_deploy.engines.remote.store import cache_folder
from evit_deploy.errors import ArtifactError, CheckFailedError, EvitError, UnavailableError, UsageError

GREETING = b"evit-deploy agent, protocol 1\n"
CHUNK = 64 * 1024
"""Most bytes that one message carries; a lost link costs the one under way."""

_LONGEST_LINE = 4 << 20
_NOISE = 64 << 10
_KINDS: dict[str, type[EvitError]] = {
    kind.__name__: kind for kind in (ArtifactError, CheckFailedError, UnavailableError, UsageError)
}
_BY_EXIT_CODE: dict[int, type[EvitError]] = {1: CheckFailedError, 2: UsageError, 3: UnavailableError}

Message = dict[str, Any]


class ClosedError(Exception):
    """The other end is gone: it ended, or the link to it did."""


class BrokenMessageError(Exception):
    """What came is no message."""


class Channel:
    """One end of a channel: messages in from one file descriptor, out to another."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._in, self._out = incoming, outgoing
        self._buffer = bytearray()
        self._searched = 0

    def send(self, message: Mapping[str, Any], payload: bytes | memoryview = b"") -> None:
        """Send a message and its raw bytes.

        Raises:
            ClosedError: Nobody reads any more.
        """
        header = {**message, "bytes": len(payload)} if payload else message
        self.write(json.dumps(header, ensure_ascii=True).encode() + b"\n")
        self.write(payload)

    def write(self, data: bytes | memoryview) -> None:
        """Write raw bytes, all of them."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._out, rest) :]
        except (BrokenPipeError, ConnectionResetError, OSError) as error:
            raise ClosedError from error

    def receive(self, timeout: float | None = None) -> tuple[Message, bytes] | None:
        """The next message and its raw bytes; None if none is whole within `timeout` seconds.

        Raises:
            ClosedError: There will be none.
            BrokenMessageError: Something else came.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (found := self._take()) is None:
            if not self._fill(deadline):
                return None
        return found

    def skip_to_greeting(self, timeout: float | None = None) -> bool:
        """Read away what comes before the greeting, and the greeting; False if `timeout` seconds were too short.

        Raises:
            ClosedError: The other end ended before.
            BrokenMessageError: It never came.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (at := self._buffer.find(GREETING)) < 0:
            if len(self._buffer) > _NOISE:
                raise BrokenMessageError(bytes(self._buffer[:200]).decode(errors="replace"))
            if not self._fill(deadline):
                return False
        del self._buffer[: at + len(GREETING)]
        return True

    def gather(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for bytes that are no messages, and keep them.

        Raises:
            ClosedError: There will be none.
        """
        self._fill(time.monotonic() + timeout)

    def gathered(self) -> bytes:
        """All that was gathered."""
        return bytes(self._buffer)

    def _fill(self, deadline: float | None) -> bool:
        """Wait for bytes and keep them; False at the deadline."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([self._in], [], [], left)[0]:
            return False
        if not (data := os.read(self._in, 1 << 16)):
            raise ClosedError
        self._buffer += data
        return True

    def _take(self) -> tuple[Message, bytes] | None:
        """A whole message from the buffer, if there is one."""
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            if self._searched > _LONGEST_LINE:
                raise BrokenMessageError(f"a line longer than {_LONGEST_LINE} bytes")
            return None
        message = _parse(bytes(self._buffer[:end]))
        last = end + 1 + int(message.get("bytes", 0))
        if len(self._buffer) < last:
            self._searched = end
            return None
        payload = bytes(self._buffer[end + 1 : last])
        del self._buffer[:last]
        self._searched = 0
        return message, payload


def _parse(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except ValueError as error:
        raise BrokenMessageError(line[:200].decode(errors="replace")) from error
    size = message.get("bytes", 0) if isinstance(message, dict) else None
    if not isinstance(size, int) or not 0 <= size <= CHUNK:
        raise BrokenMessageError(line[:200].decode(errors="replace"))
    return message  # type: ignore[no-any-return]


def error_to_json(error: EvitError) -> Message:
    """An error as JSON values; where files are the reason, what to do is not what it is at the user's machine."""
    if isinstance(error.__cause__, OSError):
        error = UnavailableError(
            error.what, found=error.found, fix=f"free some space there, or look at {cache_folder()}"
        )
    return {
        "kind": type(error).__name__,
        "exit_code": error.exit_code,
        "what": error.what,
        "found": error.found,
        "expected": error.expected,
        "fix": error.fix,
    }


def error_from_json(data: Mapping[str, Any], host: str) -> EvitError:
    """The error of a device as this machine raises it: same kind, same exit code, the device's name in front."""
    kind = _KINDS.get(data.get("kind", "")) or _BY_EXIT_CODE.get(data.get("exit_code", 0), UnavailableError)
    parts = {name: str(data[name]) for name in ("found", "expected", "fix") if data.get(name)}
    return kind(f"{host}: {data.get('what', 'an error without words')}", **parts)
