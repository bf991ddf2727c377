# SPDX-License-Identifier: Apache-2.0
"""The loop: every item once, failures beside the others, bounded memory, and an engine that never waits."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.errors import ArtifactError, UnavailableError
from evit_deploy.profiles.evaluate.stream import stream
from tests.profiles.evaluate.fakes import CountingTask


@given(
    count=st.integers(0, 30),
    batch=st.integers(1, 5),
    workers=st.integers(0, 4),
    broken=st.sets(st.integers(0, 29)),
)
def test_every_item_comes_once_with_its_own_outcome(count, batch, workers, broken):
    task = CountingTask(count, batch, broken)
    found = {item.name: outcome for item, outcome in stream(task, task.items(), workers)}
    assert sorted(map(int, found)) == list(range(count))
    for name, outcome in found.items():
        if int(name) in broken:
            assert isinstance(outcome, ArtifactError)
        else:
            assert outcome == {"square": int(name) ** 2}
    whole = count - len([number for number in broken if number < count])
    assert sum(task.batches) == whole
    assert len(task.batches) == -(-whole // batch)


def test_memory_does_not_grow_with_the_data_set():
    task = CountingTask(500, batch=2)
    assert sum(1 for _ in stream(task, task.items(), workers=3)) == 500
    assert task.most_held <= 3 * (3 + 2) + 2


def test_the_engine_does_not_wait_for_files():
    task = CountingTask(40)
    task.infer_seconds, task.load_seconds = 0.02, 0.03  # two threads read an image in 15 ms
    start = time.perf_counter()
    assert sum(1 for _ in stream(task, task.items(), workers=2)) == 40
    assert time.perf_counter() - start < 1.4  # one after the other takes 2 s, beside each other 0.8


def test_an_evaluation_that_is_closed_leaves_no_threads():
    task = CountingTask(1000)
    outcomes = stream(task, task.items(), workers=4)
    next(outcomes)
    outcomes.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("evaluate")]
    assert len(task.loaded) < 100


@pytest.mark.parametrize("place", ["load", "infer", "judge"])
def test_what_is_no_failure_of_an_item_ends_it(place, monkeypatch):
    def fail(*_):
        raise UnavailableError("a package is missing")

    task = CountingTask(5)
    monkeypatch.setattr(task, place, fail)
    with pytest.raises(UnavailableError):
        list(stream(task, task.items(), workers=2))


def test_a_failure_to_judge_is_the_items_own(monkeypatch):
    task = CountingTask(3)
    judge = task.judge

    def fail_once(loaded, result):
        if loaded == 1:
            raise ArtifactError("another size")
        return judge(loaded, result)

    monkeypatch.setattr(task, "judge", fail_once)
    found = [type(outcome) for _, outcome in stream(task, task.items(), workers=1)]
    assert found == [dict, ArtifactError, dict]
