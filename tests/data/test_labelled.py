# SPDX-License-Identifier: Apache-2.0
"""Images with label maps, read as they are stored."""

from __future__ import annotations

import numpy as np
import pytest

from evit_deploy.data.images import read_image, write_image
from evit_deploy.data.labelled import LabelledImage, read_label_ids, read_labelled
from evit_deploy.errors import ArtifactError, MissingExtraError, UsageError

PIL = pytest.importorskip("PIL.Image")
IDS = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.fixture
def files(tmp_path):
    write_image(tmp_path / "image.png", np.dstack([IDS, IDS, IDS]))
    write_image(tmp_path / "labels.png", IDS)
    return LabelledImage("image.png", tmp_path / "image.png", tmp_path / "labels.png")


def test_an_image_and_its_labels(files):
    image, ids = read_labelled(files)
    assert image.shape == (3, 4, 3)
    np.testing.assert_array_equal(ids, IDS)


def test_pixels_stay_where_they_are_stored(tmp_path):
    exif = PIL.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    PIL.fromarray(np.dstack([IDS, IDS, IDS])).save(tmp_path / "turned.png", exif=exif)
    assert read_image(tmp_path / "turned.png").shape == (4, 3, 3)
    stored = read_image(tmp_path / "turned.png", upright=False)
    np.testing.assert_array_equal(stored[..., 0], IDS)


def test_ids_of_a_palette_image_are_its_indices(tmp_path):
    image = PIL.fromarray(IDS, "P")
    image.putpalette([255 - value for value in range(256) for _ in range(3)])
    image.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_label_ids(tmp_path / "palette.png"), IDS)


def test_sizes_that_differ(files):
    write_image(files.labels, IDS.T)
    with pytest.raises(ArtifactError, match="differ in size") as caught:
        read_labelled(files)
    assert "4x3" in str(caught.value)
    assert "3x4" in str(caught.value)


def test_missing_files(files):
    files.labels.unlink()
    with pytest.raises(ArtifactError, match="no labels"):
        read_labelled(files)
    files.image.unlink()
    with pytest.raises(UsageError, match="there is no image"):
        read_labelled(files)


@pytest.mark.parametrize("mode", ["RGB", "I;16", "1"])
def test_other_pixels_are_no_ids(tmp_path, mode):
    PIL.new(mode, (4, 3)).save(tmp_path / "x.png")
    with pytest.raises(ArtifactError, match="no image of label ids"):
        read_label_ids(tmp_path / "x.png")


def test_a_label_file_that_was_cut_is_whole_or_an_error(files):
    whole, refused = files.labels.read_bytes(), 0
    for length in range(len(whole)):
        files.labels.write_bytes(whole[:length])
        try:
            np.testing.assert_array_equal(read_label_ids(files.labels), IDS)
        except ArtifactError as error:
            assert "cannot be read" in str(error)
            refused += 1
    assert refused > len(whole) / 2


def test_without_pillow(files, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(MissingExtraError):
        read_label_ids(files.labels)
