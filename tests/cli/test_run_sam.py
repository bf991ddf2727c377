# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy run`` on engines that take prompts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import evit_deploy
from evit_deploy.cli import run_sam
from evit_deploy.data.images import read_image, write_image
from evit_deploy.data.rle import from_dict
from evit_deploy.errors import UsageError
from tests.cli.conftest import Program
from tests.cli.fake_sam import SCORES, FakeSam
from tests.manifest.sample import entries

NO_SETTINGS = {"--points-per-side": ("points_per_side", None)}


@pytest.fixture
def sam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frame: np.ndarray) -> FakeSam:
    """What engines/fake is loaded as; street.png lies beside it."""
    fake = FakeSam()
    monkeypatch.setattr(evit_deploy, "load", lambda folder, **_: fake)
    (tmp_path / "engines" / "fake").mkdir(parents=True)
    write_image(tmp_path / "street.png", frame)
    return fake


def masks_of(document: dict) -> list[np.ndarray]:
    return [from_dict(one["segmentation"]).decode() for one in document["annotations"]]


# Words


@pytest.mark.parametrize(
    ("text", "point"),
    [("320,240", (320, 240, 1)), ("3.5,4,0", (3.5, 4, 0)), ("-1,2,1", (-1, 2, 1)), (" 1 , 2 ", (1, 2, 1))],
)
def test_points_in_words(text: str, point: tuple[float, ...]) -> None:
    wish = run_sam.read_wish([text], [], False, None, NO_SETTINGS)
    assert wish == run_sam.Wish((point,))


@pytest.mark.parametrize(
    "text", ["", "1", "1,2,3", "1,2,0.5", "1,2,1,1", "a,b", "nan,1", "1,inf", "1;2", "1,2,", "1e999,1"]
)
def test_words_that_are_no_point(text: str) -> None:
    with pytest.raises(UsageError, match="is no point"):
        run_sam.read_wish([text], [], False, None, NO_SETTINGS)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "1,2,3,x", "1,2,3,nan"])
def test_words_that_are_no_box(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no box(.|\n)*x0,y0,x1,y1"):
        run_sam.read_wish([], [text], False, None, NO_SETTINGS)


def test_nothing_asked_is_no_wish() -> None:
    assert run_sam.read_wish([], [], False, None, NO_SETTINGS) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--point", "1,2", "--everything"], ["--everything and --point do not go together"]),
        (["--box", "1,2,3,4", "--everything"], ["--everything and --box do not go together"]),
        (["--single", "--everything"], ["do not go together"]),
        (["--point", "1,2", "--points-per-side", "8"], ["--points-per-side is for --everything"]),
        (["--min-area", "8"], ["--min-area is for --everything"]),
        (["--multimask"], ["no prompt", "--point"]),
        ([], ["l0-sam needs to know what to look for", "--point", "--box", "--everything"]),
        (["--point", "1,2", "--box", "1,2,3,4", "--box", "1,2,3,5"], ["points and several boxes", "2 boxes"]),
        (["--point", "one"], ["'one' is no point", "320,240"]),
        (["--point", "1000,2"], ["outside of the frame", "(1000, 2)"]),
        (["--point", "-1,2"], ["outside of the frame"]),
        (["--box", "9,9,3,20"], ["has no area"]),
        (["--everything", "--stability", "2"], ["stability_score_thresh"]),
        (["--point", "1,2", "--out", "masks.txt"], ["cannot write masks.txt"]),
        (["--point", "1,2", "--out", "street.png/masks.json"], ["street.png"]),
    ],
)
def test_wrong_words(sam: FakeSam, evit: Program, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    answer = evit("run", "fake", "street.png", *arguments)
    assert answer.code == 2
    for word in words:
        assert word in answer.message
    assert entries(tmp_path) == ["engines", "street.png"]


def test_engines_of_classes_take_no_prompts(small_workspace: Path, evit: Program, tmp_path: Path) -> None:
    engine = small_workspace / "engines" / "b0-seg.cpu.fp32.onnxruntime"
    for option in (["--point", "1,2"], ["--box", "1,2,3,4"], ["--everything"]):
        answer = evit("run", engine, "scene:1", *option)
        assert answer.code == 2
        assert "b0-seg takes no prompts" in answer.message
        assert "l0-sam" in answer.message
    assert entries(tmp_path) == []


def test_classes_as_json(small_workspace: Path, evit: Program, tmp_path: Path, frame: np.ndarray) -> None:
    write_image(tmp_path / "street.png", frame)
    answer = evit("run", small_workspace / "engines" / "b0-seg.cpu.fp32.onnxruntime", "street.png", "--json")
    (one,) = json.loads(answer.out)
    assert one["frame"] == "street.png"
    assert one["overlay"] == "street.overlay.png"
    assert sum(one["fractions"].values()) == pytest.approx(1)


# Prompts


def test_a_point_gives_three_candidates_and_a_picture(sam: FakeSam, evit: Program, frame: np.ndarray) -> None:
    answer = evit("run", "fake", "street.png", "--point", "40,30", "--point", "90,60,0")
    assert answer.code == 0, answer.err
    assert "warning: random weights" in answer.err
    (asked,) = sam.asked
    assert asked["points"].tolist() == [[[40, 30], [90, 60]]]
    assert asked["labels"].tolist() == [[1, 0]]
    assert asked["box"] is None
    assert asked["multimask"] is True
    lines = answer.out.splitlines()
    assert lines[0] == "street.png: 3 masks -> street.overlay.png"
    assert [line.split()[0] for line in lines[3:]] == ["1", "2", "3"]
    assert ["*" in line for line in lines] == [False, False, False, False, True, False]
    assert all(f"{score:.3f}" in line and "2 points" in line for line, score in zip(lines[3:], SCORES, strict=True))
    overlay = read_image(Path("street.overlay.png"))
    assert overlay.shape == frame.shape
    assert (overlay != frame).any(axis=2).mean() > 0.02


def test_the_overlay_shows_the_best_mask_and_the_prompts(sam: FakeSam, evit: Program, frame: np.ndarray) -> None:
    evit("run", "fake", "street.png", "--point", "40,30", "--out", "new/it.png")
    masks = sam.predict([[40, 30]], embedding=sam.embed(frame))
    overlay, inside = read_image(Path("new/it.png")), masks.best().masks[0]
    changed = (overlay != frame).any(axis=2)
    assert changed[inside].all()
    assert not changed[masks.masks[2] & ~masks.masks[1]].all()
    assert overlay[30, 40].tolist() == [255, 255, 255]


def test_boxes_are_an_object_each(sam: FakeSam, evit: Program) -> None:
    boxes = ["10,10,50,40", "60,20,120,80"]
    answer = evit("run", "fake", "street.png", "--box", boxes[0], "--box", boxes[1], "--single", "--out", "masks.json")
    assert answer.code == 0, answer.err
    assert sam.asked[0]["box"].tolist() == [[10, 10, 50, 40], [60, 20, 120, 80]]
    assert sam.asked[0]["multimask"] is False
    assert all(f"box {box}" in answer.out for box in boxes)
    assert entries(Path()) == ["engines", "masks.json", "street.png"]
    document = json.loads(Path("masks.json").read_text())
    assert [one["prompt"] for one in document["annotations"]] == [0, 1]
    assert all(one["best"] for one in document["annotations"])
    first, second = masks_of(document)
    assert first[25, 30]
    assert not first[50, 90]
    assert second[50, 90]
    assert document["annotations"][0]["bbox"] == pytest.approx([10, 10, 40, 30], abs=2)


def test_a_box_may_help_points(sam: FakeSam, evit: Program) -> None:
    answer = evit("run", "fake", "street.png", "--point", "30,30,0", "--box", "10,10,50,40")
    assert answer.code == 0
    assert "1 point and a box" in answer.out
    assert sam.asked[0]["points"].shape == (1, 1, 2)
    assert sam.asked[0]["box"].shape == (1, 4)


def test_json_for_programs(sam: FakeSam, evit: Program, frame: np.ndarray) -> None:
    answer = evit("run", "fake", "street.png", "--point", "40,30", "--json")
    document = json.loads(answer.out)
    assert document["images"] == [{"id": 1, "file_name": "street.png", "height": 90, "width": 140}]
    assert [one["predicted_iou"] for one in document["annotations"]] == pytest.approx(SCORES)
    assert [one["best"] for one in document["annotations"]] == [False, True, False]
    expected = sam.predict([[40, 30]], embedding=sam.embed(frame)).masks
    assert all(np.array_equal(mask, one) for mask, one in zip(masks_of(document), expected, strict=True))


def test_a_folder_gives_pictures_and_one_file(sam: FakeSam, evit: Program, tmp_path: Path, frame: np.ndarray) -> None:
    for name in ("a.png", "deep/a.png", "b.jpg"):
        write_image(tmp_path / "images" / name, frame)
    answer = evit("run", "fake", "images", "--point", "40,30", "--out", "found")
    assert answer.code == 0
    assert entries(tmp_path / "found") == ["a-2.overlay.png", "a.overlay.png", "b.overlay.png", "masks.json"]
    document = json.loads((tmp_path / "found" / "masks.json").read_text())
    assert len(document["images"]) == 3
    assert [one["image_id"] for one in document["annotations"]] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert "masks: found/masks.json" in answer.out


def test_a_scene(sam: FakeSam, evit: Program) -> None:
    assert evit("run", "fake", "scene:3", "--point", "40,30").code == 0
    assert read_image(Path("scene-3.overlay.png")).shape == (1024, 2048, 3)


# Everything


def test_everything(sam: FakeSam, evit: Program) -> None:
    answer = evit("run", "fake", "street.png", "--everything", "--points-per-side", "6", "--out", "all.json")
    assert answer.code == 0, answer.err
    assert "segment everything" in answer.err
    document = json.loads(Path("all.json").read_text())
    count = len(document["annotations"])
    assert f"street.png: {count} masks" in answer.out
    assert count > run_sam.ROWS
    assert f"… and {count - run_sam.ROWS} more" in answer.out
    for one, mask in zip(document["annotations"], masks_of(document), strict=True):
        assert one["area"] == mask.sum()
        assert one["stability_score"] >= 0.95
        assert {"point_coords", "crop_box", "predicted_iou"} <= set(one)
        assert "best" not in one


@pytest.mark.parametrize(
    ("option", "fewer"), [(["--pred-iou", "0.95"], True), (["--stability", "0.99"], True), (["--pred-iou", "0"], False)]
)
def test_settings_of_everything_arrive(sam: FakeSam, evit: Program, option: list[str], fewer: bool) -> None:
    ask = ("run", "fake", "street.png", "--everything", "--points-per-side", "4", "--json")
    plain, other = (len(json.loads(evit(*ask, *more).out)["annotations"]) for more in ([], option))
    assert (other < plain) == fewer


def test_crops_and_small_regions_arrive(sam: FakeSam, evit: Program) -> None:
    ask = ("run", "fake", "street.png", "--everything", "--points-per-side", "2", "--json")
    assert evit(*ask, "--crop-layers", "1").code == 0
    assert len(sam.embedded) == 5
    found = json.loads(evit(*ask, "--min-area", "3").out)["annotations"]
    assert found


def test_everything_in_a_picture(sam: FakeSam, evit: Program, frame: np.ndarray) -> None:
    evit("run", "fake", "street.png", "--everything", "--points-per-side", "4", "--out", "all.png")
    assert (read_image(Path("all.png")) != frame).any(axis=2).mean() > 0.5


def test_nothing_found_is_no_error(sam: FakeSam, evit: Program, frame: np.ndarray) -> None:
    answer = evit("run", "fake", "street.png", "--everything", "--pred-iou", "5", "--points-per-side", "2")
    assert answer.code == 0
    assert answer.out == "street.png: 0 masks -> street.overlay.png\n"
    assert np.array_equal(read_image(Path("street.overlay.png")), frame)
