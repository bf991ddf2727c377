# SPDX-License-Identifier: Apache-2.0
"""Frames from files, folders and scenes, and what happens when they are none."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from evit_deploy.data.images import installed_photos, list_images, read_image, read_source, write_image
from evit_deploy.errors import UsageError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_round_trip(tmp_path):
    write_image(tmp_path / "deep" / "a.png", PIXELS)
    np.testing.assert_array_equal(read_image(tmp_path / "deep" / "a.png"), PIXELS)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    Image.fromarray(PIXELS).convert(mode).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.shape == PIXELS.shape
    assert image.dtype == np.uint8


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(PIXELS, -1))


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jpg", b"just text"), ("a.png", b""), ("a.png", None), ("a.bmp", b"BM" + bytes(20))],
)
def test_not_an_image(tmp_path, name, content):
    path = tmp_path / name
    if content is None:  # a PNG cut in the middle
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (99, 99, 3), dtype=np.uint8)).save(path)
        content = path.read_bytes()[:3000]
    path.write_bytes(content)
    with pytest.raises(UsageError, match="not an image"):
        read_image(path)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_images_are_not_squeezed(tmp_path, mode):
    Image.fromarray(np.arange(35, dtype=np.uint8).reshape(5, 7)).convert("I").convert(mode).save(tmp_path / "a.tiff")
    with pytest.raises(UsageError, match="more than 8 bits"):
        read_image(tmp_path / "a.tiff")


def test_missing_image_and_folder(tmp_path):
    with pytest.raises(UsageError, match="no image"):
        read_image(tmp_path / "a.png")
    with pytest.raises(UsageError, match="no folder"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no image in"):
        list_images(tmp_path)


def test_unwritable_place_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot write"):
        write_image(tmp_path / "file" / "a.png", PIXELS)
    for name in ("a.nonsense", "a.h5", "a"):
        with pytest.raises(UsageError, match="cannot write"):
            write_image(tmp_path / name, PIXELS)
        assert not (tmp_path / name).exists()


def test_sources(tmp_path):
    for name in ("b.png", "a.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"") if name.endswith("txt") else write_image(tmp_path / name, PIXELS)
    assert [frame.name for frame in read_source(str(tmp_path))] == ["a.jpg", "b.png"]
    assert [frame.name for frame in read_source(str(tmp_path / "b.png"))] == ["b.png"]
    (scene,) = read_source("scene:3", size=(64, 96))
    assert (scene.name, scene.image.shape, scene.real) == ("scene:3", (64, 96, 3), False)
    with pytest.raises(UsageError, match="scene:SEED"):
        list(read_source("scene:x"))


def test_installed_photos_are_real_photos():
    photos = installed_photos()
    assert photos, "the dev extra installs scikit-learn, which ships two photos"
    assert all(min(read_image(path).shape[:2]) > 200 for path in photos)
