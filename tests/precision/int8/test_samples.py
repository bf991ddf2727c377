# SPDX-License-Identifier: Apache-2.0
"""Frames to calibrate with and to judge on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evit_deploy.errors import UsageError
from evit_deploy.manifest import Manifest, read_manifest
from evit_deploy.precision.int8.samples import FIRST_SCENE, open_samples

HEIGHT, WIDTH = 64, 128


@pytest.fixture
def manifest(small_workspace: Path) -> Manifest:
    return read_manifest(small_workspace / "export" / "b0-seg")


def write_images(folder: Path, count: int, size: tuple[int, int] = (40, 60)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(count)
    for index in range(count):
        Image.fromarray(draw.integers(0, 256, (*size, 3), np.uint8)).save(folder / f"{index:03}.png")
    return folder


def test_frames_are_dealt_out_once(manifest: Manifest, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", 30)
    calibrated, judged = open_samples(str(folder), manifest, 20, held_out=5)
    assert (len(calibrated), len(judged)) == (20, 5)
    assert not set(calibrated.names) & set(judged.names)
    assert len(set(calibrated.names)) == 20 and calibrated.key != judged.key
    assert min(judged.names) < "010.png" and max(judged.names) > "020.png"  # evenly, not the end
    assert not calibrated.warnings and not calibrated.labelled and calibrated.labels(0) is None


def test_they_come_as_the_graph_takes_them_again_and_again(manifest: Manifest, tmp_path: Path) -> None:
    calibrated, _ = open_samples(str(write_images(tmp_path / "f", 6)), manifest, 4, held_out=2)
    first, second = list(calibrated), list(calibrated)
    assert len(first) == 4 and set(first[0]) == {"image"}
    assert first[0]["image"].shape == (1, HEIGHT, WIDTH, 3) and first[0]["image"].dtype == np.uint8
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one["image"], two["image"])


def test_fewer_than_asked_for_are_shared_and_said(manifest: Manifest, tmp_path: Path) -> None:
    calibrated, judged = open_samples(str(write_images(tmp_path / "f", 10)), manifest, 128, held_out=32)
    assert (len(calibrated), len(judged)) == (8, 2)
    assert "10 frames there" in calibrated.warnings[0] and "128" in calibrated.warnings[0]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_frames(manifest: Manifest, tmp_path: Path, count: int) -> None:
    with pytest.raises(UsageError, match="no image in" if count == 0 else "too few frames"):
        open_samples(str(write_images(tmp_path / "f", count)), manifest, 8, held_out=2)


def test_unreadable_files_are_named_before_anything_is_done(manifest: Manifest, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "f", 6)
    (folder / "broken.png").write_bytes(b"no picture")
    whole = (folder / "000.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError) as caught:
        open_samples(str(folder), manifest, 128, held_out=2)
    assert "cannot be read as images" in str(caught.value) and "broken.png" in str(caught.value)


def test_mixed_sizes_are_said(manifest: Manifest, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "f", 6)
    write_images(folder / "others", 3, (30, 30))
    calibrated, _ = open_samples(str(folder), manifest, 128, held_out=2)
    assert any("frames of 2 sizes" in words and "40x60" in words for words in calibrated.warnings)
    assert {feed["image"].shape for feed in calibrated} == {(1, HEIGHT, WIDTH, 3)}


def test_frames_of_one_colour_are_said(manifest: Manifest, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "f", 6)
    Image.new("RGB", (60, 40), (9, 9, 9)).save(folder / "flat.png")
    calibrated, _ = open_samples(str(folder), manifest, 128, held_out=1)
    again, _ = open_samples(str(folder), manifest, 128, held_out=1)
    list(calibrated)
    assert any("1 of 6 frames are of one colour: flat.png" in words for words in calibrated.warnings)
    assert again.warnings == calibrated.warnings  # of a calibration that was kept nobody goes through the frames


def test_frames_that_are_all_of_one_colour_are_refused(manifest: Manifest, tmp_path: Path) -> None:
    for index in range(4):
        Image.new("RGB", (60, 40), (index, 9, 9)).save(tmp_path / f"{index}.png")
    calibrated, _ = open_samples(str(tmp_path), manifest, 128, held_out=1)
    for use in (list, lambda frames: frames.warnings):
        with pytest.raises(UsageError, match=r"all 3 frames of .* are of one colour"):
            use(calibrated)


def test_scenes_of_their_own_with_labels_for_demo_weights(manifest: Manifest) -> None:
    demo = replace(manifest, weights=replace(manifest.weights, source="demo"))
    calibrated, judged = open_samples("scenes", demo, 2, held_out=3)
    assert calibrated.names == [f"scene:{FIRST_SCENE['calibrate'] + i}" for i in range(2)]
    assert judged.names == [f"scene:{FIRST_SCENE['judge'] + i}" for i in range(3)]
    labels = judged.labels(1)
    assert judged.labelled and labels is not None and labels.shape == (HEIGHT, WIDTH)
    assert open_samples("scenes", manifest, 2, held_out=3)[1].labels(1) is None
    assert len(list(judged)) == 3 and judged.source == "drawn street scenes"


def test_random_noise_is_warned_of(manifest: Manifest) -> None:
    calibrated, judged = open_samples("random", manifest, 2, held_out=2)
    assert any("random noise" in words for words in calibrated.warnings)
    first, again = list(calibrated), list(calibrated)
    np.testing.assert_array_equal(first[1]["image"], again[1]["image"])
    assert not np.array_equal(first[0]["image"], next(iter(judged))["image"])


def test_the_key_tells_what_the_frames_are(manifest: Manifest, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "f", 6)

    def key(**changes: object) -> str:
        graph = replace(manifest.graph, **changes)
        return open_samples(str(folder), replace(manifest, graph=graph), 128, held_out=1)[0].key

    before = key()
    assert key() == before != key(resolution=(32, 64))
    Image.new("RGB", (60, 40), (1, 2, 3)).save(folder / "001.png")
    assert key() != before


def test_a_graph_of_batches_only_is_refused(manifest: Manifest) -> None:
    batched = replace(manifest, graph=replace(manifest.graph, batch=(4, 4)))
    with pytest.raises(UsageError, match="frame by frame"):
        open_samples("scenes", batched, 2, held_out=2)


def test_tensor_graphs_and_padded_ones(manifest: Manifest) -> None:
    image = manifest.graph.inputs[0]
    tensor = replace(
        manifest.graph, input="tensor", inputs=(replace(image, dtype="float32", shape=(1, 3, HEIGHT, WIDTH)),)
    )
    feed = next(iter(open_samples("scenes", replace(manifest, graph=tensor), 1, held_out=1)[0]))
    assert feed["image"].shape == (1, 3, HEIGHT, WIDTH) and feed["image"].dtype == np.float32


def test_the_end_of_a_film_is_held_out(manifest: Manifest, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for index in range(20):
        writer.write(np.full((48, 64, 3), 10 * index, np.uint8))
    writer.release()
    calibrated, judged = open_samples(str(path), manifest, 10, held_out=4)
    numbers = [[int(name.rpartition("#")[2]) for name in samples.names] for samples in (calibrated, judged)]
    assert max(numbers[0]) < min(numbers[1]) and [len(part) for part in numbers] == [10, 4]
