# SPDX-License-Identifier: Apache-2.0
"""A whole evaluation: records, interruptions, failures, and what it refuses."""

from __future__ import annotations

import hashlib
import itertools
import json
from types import SimpleNamespace

import pytest
from filelock import FileLock

import evit_deploy
from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.profiles.evaluate.listing import spread
from evit_deploy.profiles.evaluate.run import Options, evaluate
from evit_deploy.profiles.evaluate.task import Request
from tests.profiles.evaluate.fakes import CountingTask

MANIFEST = SimpleNamespace(key="k" * 64, warnings=("random weights",))


@pytest.fixture
def go(tmp_path):
    """Evaluates a task; returns record, what was said, and the folder."""

    def run(task, *, key=MANIFEST.key, **options):
        said: list[str] = []
        manifest = SimpleNamespace(key=key, warnings=MANIFEST.warnings)
        found, path = evaluate(
            task, Request("scenes"), tmp_path / "engines" / "toy", manifest, tmp_path / "profiles", Options(**options),
            say=said.append,
        )  # fmt: skip
        limit = options.get("limit")
        name = "scenes" if limit is None else f"scenes-limit-{limit}"
        assert path == tmp_path / "profiles" / "toy" / f"evaluation.{name}.json"
        return found, said, json.loads(path.read_text())

    return run


def journals(tmp_path):
    return list((tmp_path / "profiles" / "toy").glob(".*.journal"))


def test_the_record_says_everything(go, tmp_path):
    _, said, record = go(CountingTask(10, broken=[3]), skip_broken=True)
    assert said == []
    assert record["evaluation"] == 1
    assert (record["engine"], record["key"]) == ("toy", MANIFEST.key)
    assert record["dataset"] | {"sha256": ""} == {
        "kind": "scenes", "path": None, "split": "val", "images": 10, "sha256": "",
    }  # fmt: skip
    assert len(bytes.fromhex(record["dataset"]["sha256"])) == hashlib.sha256().digest_size
    assert record["metrics"] == {"sum": sum(n * n for n in range(10)) - 9, "count": 9}
    assert (record["classes"], record["confusion"], record["published"]) == ([], None, None)
    assert record["images"] == 9
    assert record["skipped"] == [{"file": "3", "why": "3 is broken; found nonsense; expected sense"}]
    assert record["frames_per_second"] > 0
    assert record["bare_frames_per_second"] > 0
    assert record["continued"] == 0
    assert record["options"] == {"power": 2}
    assert record["tool"] == evit_deploy.__version__
    assert record["warnings"][0] == "random weights"
    assert "9 of 10 images" in record["warnings"][1]
    assert journals(tmp_path) == []


def test_an_interrupted_evaluation_goes_on(go, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        go(CountingTask(50, stop_at=30))
    assert not (tmp_path / "profiles" / "toy" / "evaluation.scenes.json").exists()
    again = CountingTask(50)
    _, said, record = go(again)
    assert record["metrics"]["count"] == record["images"] == 50
    assert 0 < record["continued"] <= 30
    assert sorted(set(again.judged)) == list(range(record["continued"], 50))
    assert said == [f"an interrupted evaluation goes on: {50 - record['continued']} of 50 images are left"]
    assert journals(tmp_path) == []


@pytest.mark.parametrize("change", ["key", "options", "split"])
def test_another_evaluation_begins_anew_and_says_so(go, tmp_path, change):
    with pytest.raises(KeyboardInterrupt):
        go(CountingTask(20, stop_at=10))
    task = CountingTask(20)
    if change == "options":
        task.options = {"power": 3}
    if change == "split":
        task.split = "train"
    _, said, record = go(task, key="other" if change == "key" else MANIFEST.key)
    assert record["continued"] == 0
    assert "begins anew" in said[0]
    assert len(journals(tmp_path)) == 1  # the interrupted one is not lost
    _, said, record = go(CountingTask(20))
    assert record["continued"] > 0


def test_fresh_begins_anew(go):
    with pytest.raises(KeyboardInterrupt):
        go(CountingTask(20, stop_at=10))
    _, said, record = go(CountingTask(20), fresh=True)
    assert (record["continued"], said) == (0, [])


def test_a_small_evaluation_in_between_loses_nothing(go):
    with pytest.raises(KeyboardInterrupt):
        go(CountingTask(50, stop_at=40))
    go(CountingTask(50), limit=5)
    assert go(CountingTask(50))[2]["continued"] > 20


def test_a_trial_does_not_take_the_place_of_the_whole(go, tmp_path):
    whole = go(CountingTask(50))[2]
    trial = go(CountingTask(50), limit=5)[2]
    assert (trial["images"], trial["dataset"]["kind"]) == (5, "scenes-limit-5")
    assert json.loads((tmp_path / "profiles" / "toy" / "evaluation.scenes.json").read_text()) == whole


def test_what_never_began_leaves_nothing(go, tmp_path):
    task = CountingTask(3)
    task.files = {1: (tmp_path / "none.png",)}
    with pytest.raises(ArtifactError, match="lack a file"):
        go(task)
    assert journals(tmp_path) == []


def test_a_file_that_cannot_be_looked_at_is_named(go, tmp_path):
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    task = CountingTask(3)
    task.files = {1: (loop,)}
    with pytest.raises(ArtifactError, match=r"loop.png: .*symbolic links"):
        go(task)


def test_a_failure_ends_it_and_what_is_done_is_kept(go):
    with pytest.raises(ArtifactError, match="image 30 cannot be evaluated") as caught:
        go(CountingTask(50, broken=[30]))
    assert "--skip-broken" in str(caught.value)
    assert "30 is broken; found nonsense" in str(caught.value)
    assert go(CountingTask(50))[2]["continued"] > 0  # repaired


def test_missing_files_are_found_before_anything_runs(go, tmp_path):
    def task():
        made = CountingTask(8)
        there = tmp_path / "there.png"
        there.write_bytes(b"")
        made.files = {n: (there, tmp_path / f"{n}.png") for n in (1, 2, 3, 4)}
        return made

    strict = task()
    with pytest.raises(ArtifactError, match="4 of 8 images lack a file") as caught:
        go(strict)
    assert "1.png" in str(caught.value)
    assert "1 more" in str(caught.value)
    assert strict.loaded == []
    _, _, record = go(task(), skip_broken=True)
    assert record["images"] == 4
    assert [item["file"] for item in record["skipped"]] == ["1", "2", "3", "4"]
    assert "there is no file" in record["skipped"][0]["why"]


def test_nothing_left_is_an_error(go):
    with pytest.raises(ArtifactError, match="no image is left"):
        go(CountingTask(3, broken=range(3)), skip_broken=True)


def test_two_processes_do_not_write_one_record(go, tmp_path):
    place = tmp_path / "profiles" / "toy"
    place.mkdir(parents=True)
    with FileLock(str(place / ".evaluation.scenes.lock")), pytest.raises(UsageError, match="another process"):
        go(CountingTask(3))


def test_a_place_that_cannot_be_written(go, tmp_path):
    (tmp_path / "profiles").write_text("a file")
    with pytest.raises(UsageError, match="cannot write"):
        go(CountingTask(3))


@pytest.mark.parametrize(("count", "limit"), [(10, None), (10, 10), (10, 99), (10, 3), (500, 7), (1, 1)])
def test_a_limit_takes_items_from_everywhere(count, limit):
    items = CountingTask(count).items()
    chosen = spread(items, limit)
    numbers = [int(item.name) for item in chosen]
    assert len(chosen) == min(count, limit or count)
    assert numbers == sorted(set(numbers))
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    assert not steps or max(steps) - min(steps) <= 1
