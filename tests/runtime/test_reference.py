# SPDX-License-Identifier: Apache-2.0
"""The reference: small, exact where it must be, the same pixels on every machine."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evit_deploy.data.scenes import render_scene
from evit_deploy.errors import ArtifactError
from evit_deploy.manifest import Preprocess
from evit_deploy.runtime.reference import FIXED_POINT, REFERENCE, Reference, fit_exactly

STRETCH = Preprocess("RGB", "stretch", "opencv-cubic", 1.0, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
CROP = Preprocess("RGB", "short-side-crop", "pillow-bicubic", 0.95, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def sample(rules: Preprocess = STRETCH, size: tuple[int, int] = (64, 128), frame: tuple[int, int] = (40, 60)):
    draw = np.random.default_rng(0)
    frames = tuple(render_scene(seed, *frame).image for seed in (1, 2))
    images = np.stack([fit_exactly(frame, rules, size) for frame in frames])
    logits = draw.normal(0, 5, (2, 19, size[0] // 8, size[1] // 8)).astype(np.float32)
    return Reference(("a.png", "scene:2"), images, logits, frames, rules)


@pytest.mark.parametrize("rules", [STRETCH, CROP], ids=["stretch", "crop"])
@pytest.mark.parametrize("frame", [(40, 60), (64, 128), (200, 300)], ids=["smaller", "equal", "larger"])
def test_what_is_written_is_read(rules: Preprocess, frame: tuple[int, int], tmp_path: Path) -> None:
    reference = sample(rules, (64, 64) if rules is CROP else (64, 128), frame)
    reference.save(tmp_path)
    found = Reference.load(tmp_path)
    assert found.names == reference.names
    np.testing.assert_array_equal(found.images, reference.images)
    np.testing.assert_array_equal(found.logits, reference.logits)
    assert (found.images.dtype, found.logits.dtype) == (np.uint8, np.float32)


def test_writing_what_was_read_changes_nothing(tmp_path: Path) -> None:
    sample().save(tmp_path)
    first = (tmp_path / REFERENCE).read_bytes()
    Reference.load(tmp_path).save(tmp_path)
    assert (tmp_path / REFERENCE).read_bytes() == first


def test_frames_alone_are_enough(tmp_path: Path) -> None:
    reference = sample()
    Reference(reference.names, reference.images, reference.logits).save(tmp_path)
    np.testing.assert_array_equal(Reference.load(tmp_path).images, reference.images)


def test_a_small_frame_is_stored_as_it_came(tmp_path: Path) -> None:
    sample(size=(512, 1024), frame=(64, 128)).save(tmp_path)
    with np.load(tmp_path / REFERENCE) as data:
        assert data["frame_0"].shape == (64, 128, 3)
    assert Reference.load(tmp_path).images.shape == (2, 512, 1024, 3)


def test_the_pixels_do_not_depend_on_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = sample()
    reference.save(tmp_path)
    monkeypatch.setattr("evit_deploy.data.resize._optional", lambda name: None)
    np.testing.assert_array_equal(Reference.load(tmp_path).images, reference.images)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-1048576.0, 1048576.0, width=32, allow_subnormal=False), min_size=1, max_size=20),
    st.integers(8, 14),
    st.integers(1, 3),
)
def test_fixed_point(tmp_path_factory: pytest.TempPathFactory, values: list[float], bits: int, rank: int) -> None:
    folder = tmp_path_factory.mktemp("bits")
    logits = np.array(values, np.float32).reshape((1, *[1] * (rank - 1), -1))
    Reference(("a",), np.zeros((1, 2, 2, 3), np.uint8), logits).save(folder, bits)
    found = Reference.load(folder).logits
    assert found.shape == logits.shape
    step = np.abs(logits).max() * 2.0**-bits
    assert np.abs(found - logits).max() <= 0.5001 * step + 1e-37  # steps of subnormal numbers are coarse


def test_what_is_not_finite_stays_so(tmp_path: Path) -> None:
    logits = np.array([[np.nan, np.inf, -np.inf, 0.0]], np.float32)
    Reference(("a",), np.zeros((1, 2, 2, 3), np.uint8), logits).save(tmp_path, 13)
    np.testing.assert_array_equal(Reference.load(tmp_path).logits, logits)


def test_few_bits_make_it_smaller_and_change_little(tmp_path: Path) -> None:
    reference, sizes = sample(), []
    for bits in (None, FIXED_POINT["fp16"]):
        reference.save(tmp_path, bits)
        sizes.append((tmp_path / REFERENCE).stat().st_size)
    found = Reference.load(tmp_path).logits
    assert np.linalg.norm(found - reference.logits) / np.linalg.norm(reference.logits) < 3e-4
    assert sizes[1] < 0.8 * sizes[0]


def test_the_earlier_form_is_read(tmp_path: Path) -> None:
    reference = sample()
    names = np.array(reference.names)
    np.savez_compressed(tmp_path / REFERENCE, names=names, images=reference.images, logits=reference.logits)
    found = Reference.load(tmp_path)
    assert found.names == reference.names
    np.testing.assert_array_equal(found.images, reference.images)
    np.testing.assert_array_equal(found.logits, reference.logits)


@pytest.mark.parametrize("missing", ["names", "frame_1", "logits", "shape", "fitting"])
def test_what_lacks_a_part_is_refused(missing: str, tmp_path: Path) -> None:
    sample().save(tmp_path)
    with np.load(tmp_path / REFERENCE) as data:
        parts = {name: data[name] for name in data if name != missing}
    np.savez_compressed(tmp_path / REFERENCE, **parts)
    with pytest.raises(ArtifactError, match="cannot be read"):
        Reference.load(tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=3))
def test_flipped_bytes_are_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[float, int]]
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    sample(size=(64, 64), frame=(32, 32)).save(folder)
    data = bytearray((folder / REFERENCE).read_bytes())
    for place, mask in flips:
        data[int(place * len(data))] ^= mask
    (folder / REFERENCE).write_bytes(data)
    with contextlib.suppress(ArtifactError):
        Reference.load(folder)


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / REFERENCE).write_bytes(content)
    with pytest.raises(ArtifactError, match="cannot be read"):
        Reference.load(tmp_path)
