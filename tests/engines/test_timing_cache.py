# SPDX-License-Identifier: Apache-2.0
"""Timings of kernels, kept between builds: never a reason to fail."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import pytest

from evit_deploy.engines import timing_cache
from evit_deploy.engines.timing_cache import attach_cache, cache_path, store_cache
from tests.engines.devices import A100, ORIN
from tests.engines.fake_tensorrt import World, make_tensorrt


def new_config(world: World | None = None) -> Any:
    trt = make_tensorrt(world or World())
    return trt.IBuilderConfig()


def build(path: Path, kernel: str, world: World | None = None) -> Any:
    """What a build does with a cache: take it, time a kernel, store it."""
    config = new_config(world)
    attach_cache(config, path)
    config.get_timing_cache()._content["times"][kernel] = 1
    store_cache(config, path)
    return config


def kernels(path: Path) -> set[str]:
    return set(json.loads(path.read_bytes())["times"])


# Where it is


def test_a_file_per_version_and_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = [
        cache_path(*pair).relative_to(tmp_path / "evit-deploy" / "timing").name
        for pair in (
            ("10.3.0", ORIN),
            ("10.16.2", ORIN),
            ("10.3.0", replace(ORIN, multiprocessors=8, power_mode="30W")),
            ("10.3.0", replace(ORIN, power_mode=None)),
            ("11.4.0", A100),
        )
    ]
    assert names[0] == "tensorrt-10.3.0-Orin-8.7-16-MAXN.cache"
    assert names[4] == "tensorrt-11.4.0-NVIDIA_A100_SXM4_80GB-8.0-108.cache"
    assert len(set(names)) == 5


@pytest.mark.parametrize("value", ["", "relative/path"])
def test_the_default_folder(value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The XDG specification: a relative path is to be ignored."""
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_path("10.3.0", ORIN).parent == tmp_path / ".cache" / "evit-deploy" / "timing"


def test_a_name_cannot_leave_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = cache_path("../1", replace(ORIN, gpu="a/../../b", power_mode="../.."))
    assert path.parent == tmp_path / "evit-deploy" / "timing"


# What is in it


def test_builds_add_to_each_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "sub" / "t.cache"
    build(path, "first")
    assert kernels(path) == {"first"}
    config = build(path, "second")
    assert set(config.get_timing_cache()._content["times"]) == {"first", "second"}
    assert kernels(path) == {"first", "second"}
    assert not caplog.records
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["t.cache", "t.lock"]


def test_what_another_build_stored_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.cache"
    slow = new_config()
    attach_cache(slow, path)
    slow.get_timing_cache()._content["times"]["slow"] = 1
    build(path, "quick")
    store_cache(slow, path)
    assert kernels(path) == {"quick", "slow"}


def test_many_builds_at_once(tmp_path: Path) -> None:
    path = tmp_path / "t.cache"
    threads = [threading.Thread(target=build, args=(path, f"k{number}")) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kernels(path) == {f"k{number}" for number in range(8)}


UNUSABLE = [b"\x00\xff damaged", b'{"device": "another", "times": {"foreign": 1}}']


@pytest.mark.parametrize("content", UNUSABLE)
def test_a_damaged_or_foreign_cache_is_dropped(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "t.cache"
    path.write_bytes(content)
    config = new_config()
    attach_cache(config, path)
    assert config.get_timing_cache()._content == {"device": "here", "times": {}}
    assert "damaged or from another device" in caplog.text
    assert str(path) in caplog.text


@pytest.mark.parametrize("content", UNUSABLE)
def test_an_unusable_cache_is_replaced(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.cache"
    path.write_bytes(content)
    build(path, "first")
    assert kernels(path) == {"first"}


# Where it cannot be kept


def test_a_folder_that_cannot_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    build(tmp_path / "file" / "t.cache", "first")
    assert "cannot be written" in caplog.text


def test_a_file_that_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "t.cache").mkdir()
    build(tmp_path / "t.cache", "first")
    assert "cannot be read" in caplog.text
    assert "cannot be written" in caplog.text
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["t.cache", "t.lock"]


def test_a_lock_that_stays_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(timing_cache, "_PATIENCE_S", 0.01)
    with filelock.FileLock(tmp_path / "t.lock"):
        build(tmp_path / "t.cache", "first")
    assert "cannot be written" in caplog.text
    assert not (tmp_path / "t.cache").exists()


def test_without_the_package_that_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "filelock", None)
    build(tmp_path / "t.cache", "first")
    assert "cannot be written" in caplog.text
    assert "evit-deploy[device]" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_build_without_a_cache_stores_none(tmp_path: Path) -> None:
    store_cache(new_config(), tmp_path / "t.cache")
    assert not list(tmp_path.iterdir())
