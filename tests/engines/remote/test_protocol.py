# SPDX-License-Identifier: Apache-2.0
"""Messages, and errors on their way from a device."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from evit_deploy.engines.remote.protocol import (
    CHUNK,
    GREETING,
    BrokenMessageError,
    Channel,
    ClosedError,
    error_from_json,
    error_to_json,
)
from evit_deploy.errors import (
    ArtifactError,
    CheckFailedError,
    EvitError,
    MissingExtraError,
    UnavailableError,
    UsageError,
)


class Pipe:
    """A channel to read, and a file descriptor to write what it reads."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        self.reader = Channel(self.read_end, -1)
        self.writer = Channel(-1, self.write_end)

    def end(self) -> None:
        os.close(self.write_end)
        self.write_end = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe with a channel at both ends."""
    pipe = Pipe()
    yield pipe
    for handle in (pipe.read_end, pipe.write_end):
        if handle >= 0:
            os.close(handle)


def test_messages_arrive_as_they_were_sent(pipe: Pipe) -> None:
    sent = [({"do": "a", "text": "ü\n"}, b""), ({"do": "b"}, bytes(range(256))), ({"do": "c"}, b"\n{}\n" * 3000)]
    for message, payload in sent:
        pipe.writer.send(message, payload)
    for message, payload in sent:
        received = pipe.reader.receive(1)
        assert received is not None
        assert {key: value for key, value in received[0].items() if key != "bytes"} == message
        assert received[1] == payload


def test_in_any_pieces(pipe: Pipe) -> None:
    def write() -> None:
        for byte in b'{"do": "a", "bytes": 3}\nxyz{"do": "b"}\n':
            os.write(pipe.write_end, bytes([byte]))

    writer = threading.Thread(target=write)
    writer.start()
    assert pipe.reader.receive(5) == ({"do": "a", "bytes": 3}, b"xyz")
    assert pipe.reader.receive(5) == ({"do": "b"}, b"")
    writer.join()


def test_patience_ends(pipe: Pipe) -> None:
    os.write(pipe.write_end, b'{"bytes": 5}\nabc')
    assert pipe.reader.receive(0.01) is None
    os.write(pipe.write_end, b"de")
    assert pipe.reader.receive(1) == ({"bytes": 5}, b"abcde")


def test_the_end_is_noticed(pipe: Pipe) -> None:
    os.write(pipe.write_end, b'{"half":')
    pipe.end()
    with pytest.raises(ClosedError):
        pipe.reader.receive(1)


def test_nobody_listens(pipe: Pipe) -> None:
    os.close(pipe.read_end)
    pipe.read_end = -1
    with pytest.raises(ClosedError):
        pipe.writer.send({"do": "a"})


@pytest.mark.parametrize(
    "line", [b"hello", b"[]", b'{"bytes": -1}', b'{"bytes": "1"}', b'{"bytes": %d}' % (CHUNK + 1), b"\xff\xfe", b""]
)
def test_what_is_no_message(line: bytes, pipe: Pipe) -> None:
    os.write(pipe.write_end, line + b"\n")
    with pytest.raises(BrokenMessageError):
        pipe.reader.receive(1)


def test_what_a_login_prints_is_skipped(pipe: Pipe) -> None:
    os.write(pipe.write_end, b"Welcome!\n{}\n")
    assert not pipe.reader.skip_to_greeting(0.01)
    os.write(pipe.write_end, GREETING + b'{"do": "a"}\n')
    assert pipe.reader.skip_to_greeting(1)
    assert pipe.reader.receive(1) == ({"do": "a"}, b"")


def test_a_greeting_that_never_comes(pipe: Pipe) -> None:
    os.set_blocking(pipe.write_end, False)
    os.write(pipe.write_end, b"x" * 65536)
    with pytest.raises(BrokenMessageError, match="xxx"):
        while not pipe.reader.skip_to_greeting(0.05):
            os.write(pipe.write_end, b"x")


@pytest.mark.parametrize("kind", [ArtifactError, CheckFailedError, UnavailableError, UsageError])
def test_errors_keep_kind_code_and_parts(kind: type[EvitError]) -> None:
    error = error_from_json(error_to_json(kind("it failed", found="1", expected="2", fix="3")), "orin")
    assert type(error) is kind
    assert str(error) == "orin: it failed.\n  found:    1\n  expected: 2\n  fix:      3"


def test_errors_of_other_kinds_keep_their_code() -> None:
    error = error_from_json(error_to_json(MissingExtraError("numpy", "cli", "Living")), "orin")
    assert type(error) is UnavailableError
    assert error.what.startswith("orin: Living needs the package 'numpy'")
    assert type(error_from_json({"exit_code": 1, "what": "w"}, "orin")) is CheckFailedError
    assert error_from_json({}, "orin").exit_code == 3
