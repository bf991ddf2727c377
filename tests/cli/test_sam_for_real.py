# SPDX-License-Identifier: Apache-2.0
"""A real engine of l0-sam through ``run``, the example and the demo, each a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import evit_deploy
from evit_deploy.data.images import read_image, write_image
from evit_deploy.data.rle import from_dict
from evit_deploy.data.scenes import render_scene
from tests.browser import Browser, find_chromium
from tests.cli.conftest import Program
from tests.cli.test_demo_page import STATUS, enabled, visible

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
POINT = (120, 80)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine of l0-sam with random weights; EVIT_TEST_SAM may name one that is there already."""
    if os.environ.get("EVIT_TEST_SAM"):
        return Path(os.environ["EVIT_TEST_SAM"]).resolve()
    from evit_deploy.engines.bundle import build_bundle
    from evit_deploy.export import ExportOptions, export_model

    folder = tmp_path_factory.mktemp("sam")
    export_model("l0-sam", folder / "export" / "l0-sam", ExportOptions(weights="random"))
    build_bundle(folder / "export" / "l0-sam", folder / "engines" / "l0-sam.cpu.fp32", target="cpu")
    return folder / "engines" / "l0-sam.cpu.fp32"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    write_image(tmp_path / "street.png", render_scene(3, 200, 300).image)
    return tmp_path / "street.png"


def test_run(engine: Path, program: Program, photo: Path, tmp_path: Path) -> None:
    answer = program("run", engine, photo, "--point", f"{POINT[0]},{POINT[1]}", "--out", tmp_path / "masks.json")
    assert answer.code == 0, answer.err
    found = json.loads((tmp_path / "masks.json").read_text())["annotations"]
    frame = read_image(photo)
    with evit_deploy.load(engine) as sam:
        masks = sam.predict([POINT], embedding=sam.embed(frame))
    for one, mask, score in zip(found, masks.masks, masks.iou, strict=True):
        assert np.array_equal(from_dict(one["segmentation"]).decode(), mask)
        assert one["predicted_iou"] == pytest.approx(float(score), abs=1e-6)


def test_run_everything(engine: Path, program: Program, photo: Path) -> None:
    answer = program(
        "run", engine, photo, "--everything", "--points-per-side", "4", "--stability", "0", "--pred-iou", "0", "--json"
    )
    assert answer.code == 0, answer.err
    assert "segment everything" in answer.err
    assert json.loads(answer.out)["annotations"]


def test_the_example(engine: Path, photo: Path) -> None:
    command = [sys.executable, ROOT / "examples" / "sam.py", engine, photo, *map(str, POINT)]
    done = subprocess.run(command, cwd=photo.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "predicted IoU" in done.stdout
    (one,) = json.loads((photo.parent / "street.sam.json").read_text())
    assert one["segmentation"]["size"] == [200, 300]
    assert read_image(photo.parent / "street.sam.png").shape == (200, 300, 3)


@pytest.fixture
def demo(engine: Path, photo: Path) -> Iterator[str]:
    """The address of a running demo, which must end by itself when it is interrupted."""
    command = [sys.executable, "-m", "evit_deploy.cli.main", "demo-sam", engine, "--no-browser", "--port", "0"]
    process = subprocess.Popen([*command, "--image", photo], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    found = re.match(r"Segment Anything at (http://127\.0\.0\.1:\d+/)", line)
    try:
        assert found, line + process.communicate(timeout=10)[1]
        yield found[1]
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
    assert process.returncode in (0, 130)


def test_the_demo(engine: Path, demo: str, tmp_path: Path) -> None:
    page = Browser(find_chromium(), tmp_path)
    try:
        page.size(1200, 800)
        page.open(demo)
        page.until(visible("#canvas"))
        before = page.screenshot()
        page.click("#canvas", 0.4, 0.4)
        page.until(enabled("#json"))
        assert re.search(r"predicted IoU of -?\d", page.ask(STATUS))
        assert page.ask("document.querySelector('#encoder').textContent").endswith("ms")
        assert (page.screenshot() != before).any(axis=2).sum() > 500
        page.drag("#canvas", (0.2, 0.2), (0.7, 0.8))
        page.until("document.querySelector('#encoder').textContent === 'kept'")
        for name, value in (("points_per_side", 3), ("pred_iou_thresh", 0), ("stability_score_thresh", 0)):
            page.ask(f"document.querySelector('#{name}').value = {value}")
        page.click("#everything")
        page.until(f"/^([0-9]+|One|No) masks? in/.test({STATUS})")
        assert page.trouble == []
    finally:
        page.close()
