# SPDX-License-Identifier: Apache-2.0
"""How long work on a device tells about itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from evit_deploy.engines.remote.events import EventReader, EventWriter, Replay
from tests.devices import Heard


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the events are."""
    return tmp_path / "events"


def test_what_is_written_is_shown_elsewhere(path: Path) -> None:
    writer, heard = EventWriter(path), Heard()
    with EventReader(path) as reader, Replay(heard) as replay:

        def show() -> None:
            for event in reader.read():
                replay.show(event)

        with writer.progress("compile", 3) as compiling:
            compiling.advance()
            show()
            assert (heard.steps, heard.marks, heard.open) == (["compile"], {"compile": 1}, 1)
            with writer.progress("within"):
                compiling.advance()
                show()
                assert (heard.marks["compile"], heard.open) == (2, 2)
        show()
        assert heard.open == 0
        assert heard.totals == {"compile": 3, "within": None}
        assert reader.read() == []
        assert reader.last == {"event": "done", "step": 1}


def test_steps_that_never_end_are_ended(path: Path) -> None:
    heard = Heard()
    with pytest.raises(ZeroDivisionError), Replay(heard) as replay:
        for number in (1, 2):
            replay.show({"event": "step", "step": number, "name": f"step {number}", "total": None})
        raise ZeroDivisionError
    assert heard.open == 0


def test_a_line_still_being_written_waits(path: Path) -> None:
    path.write_bytes(b'{"event": "a"}\n{"eve')
    with EventReader(path) as reader:
        assert reader.read() == [{"event": "a"}]
        with path.open("ab") as file:
            file.write(b'nt": "b"}\n')
        assert reader.read() == [{"event": "b"}]


def test_events_of_another_build_begin_anew(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b'{"event": "end"}\n{"half')
    with EventReader(path) as reader:
        assert reader.read() == [{"event": "end"}]
        (tmp_path / "new").write_bytes(b'{"event": "start"}\n')
        (tmp_path / "new").replace(path)
        assert reader.read() == [{"event": "start"}]
        assert reader.last == {"event": "start"}
        (tmp_path / "new").write_bytes(b"")
        (tmp_path / "new").replace(path)
        assert reader.read() == []
        assert reader.last == {}
