# SPDX-License-Identifier: Apache-2.0
"""Counts on disk: kept whole, taken only by whom they are of, made again where they are damaged."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from evit_deploy.precision.int8.calibrate import calibrate
from evit_deploy.precision.int8.calibration_store import State, read_state, write_state
from evit_deploy.precision.int8.histogram import NOTHING, Histogram
from tests.precision.int8.graphs import SOURCES, images

TENSORS = tuple(dict.fromkeys(SOURCES.values()))


def histogram_of(*values: float) -> Histogram:
    histogram = Histogram()
    histogram.add(np.array(values, np.float32), max(values))
    return histogram


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Zeros and next to zeros too."""
    store = tmp_path / "deep" / "state.npz"
    whole = {"a": histogram_of(0.3, 7.0), "b": histogram_of(0.0, NOTHING / 2)}
    for half in ({}, {"a": histogram_of(0.3), "b": histogram_of(0.0)}):
        write_state(store, "k", State(whole, 5, half))
        found, problem = read_state(store, "k", ("a", "b"))
        assert problem is None and found is not None and found.frames == 5
        for kept, read in ((whole, found.histograms), (half, found.half)):
            assert list(kept) == list(read)
            for name, one in kept.items():
                assert (one.largest, one.limit) == (read[name].largest, read[name].limit)
                np.testing.assert_array_equal(one.counts, read[name].counts)
    assert [path.name for path in store.parent.iterdir()] == ["state.npz"]


def test_nothing_was_kept(tmp_path: Path) -> None:
    assert read_state(tmp_path / "state.npz", "k", ("a",)) == (None, None)


@pytest.mark.parametrize(("key", "tensors"), [("other", ("a", "b")), ("k", ("a",)), ("k", ("b", "a"))])
def test_it_is_of_one_key_and_its_tensors(tmp_path: Path, key: str, tensors: tuple[str, ...]) -> None:
    store = tmp_path / "state.npz"
    write_state(store, "k", State({"a": histogram_of(1.0), "b": histogram_of(2.0)}, 1))
    found, problem = read_state(store, key, tensors)
    assert found is None and problem is not None and "another graph" in problem


def test_a_state_of_another_graph_is_not_taken(toy: onnx.ModelProto, tmp_path: Path) -> None:
    store = tmp_path / "state.npz"
    calibrate(toy, TENSORS, images(4), total=4, store=store, key="another")
    found = calibrate(toy, TENSORS, images(3, seed=9), total=3, store=store, key="k")
    assert found.scales == calibrate(toy, TENSORS, images(3, seed=9), total=3).scales
    assert any("another graph" in words and "anew" in words for words in found.warnings)


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def damage_text(path: Path) -> None:
    path.write_text("no archive")


def damage_counts(path: Path) -> None:
    """One bit within the compressed counts: numpy alone would not notice."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("all.counts.npy")
    data[entry.header_offset + 60 + entry.compress_size // 2] ^= 0x10
    path.write_bytes(bytes(data))


def rewrite(path: Path, **changes: object) -> None:
    """A whole archive with other arrays: no checksum tells."""
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez_compressed(path, **{**arrays, **changes})


def damage_negative(path: Path) -> None:
    with np.load(path) as stored:
        rewrite(path, **{"all.counts": -stored["all.counts"]})


def damage_nothing_counted(path: Path) -> None:
    rewrite(path, **{"all.counts": np.zeros((0,), np.int64), "all.ranges": np.zeros((0,))})


def damage_no_frames(path: Path) -> None:
    rewrite(path, frames=0)


def damage_range(path: Path) -> None:
    """A range that is no power of two would never be reached by doubling."""
    with np.load(path) as stored:
        rewrite(path, **{"all.ranges": stored["all.ranges"] * [1, 1.5]})


def damage_not_finite(path: Path) -> None:
    with np.load(path) as stored:
        rewrite(path, **{"half.ranges": stored["half.ranges"] * np.nan})


DAMAGES = (
    damage_truncate, damage_text, damage_counts, damage_negative, damage_nothing_counted, damage_no_frames,
    damage_range, damage_not_finite,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_made_again(toy: onnx.ModelProto, tmp_path: Path, damage) -> None:
    store = tmp_path / "state.npz"
    sound = calibrate(toy, TENSORS, images(4), total=4, store=store, key="k")
    damage(store)
    found = calibrate(toy, TENSORS, images(4), total=4, store=store, key="k")
    assert found.scales == sound.scales
    assert any("damaged" in words for words in found.warnings)
    assert calibrate(toy, TENSORS, images(4), total=4, store=store, key="k").warnings == sound.warnings
