# SPDX-License-Identifier: Apache-2.0
"""The report page in a real browser: rendered, complete, and without sideways scrolling on a phone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from evit_deploy.data.images import read_image
from evit_deploy.profiles import ProfileReport

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--enable-logging=stderr",
)  # fmt: skip

# Put into a copy of the page only: asks the browser what it made of it.
PROBE = """<script>addEventListener("load", () => {
  const images = [...document.images], root = document.documentElement;
  document.body.dataset.probe = JSON.stringify({
    broken: images.filter(i => !(i.complete && i.naturalWidth)).length, images: images.length,
    wide: root.scrollWidth, window: innerWidth, ink: getComputedStyle(document.body).color,
    loaded: performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith("data:")),
    chart: document.querySelector("svg").getBoundingClientRect().height,
    text: [...document.querySelectorAll("svg text")].map(t => t.textContent).join(" ")});
});</script></body>"""


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Chromium; without it the tests are skipped, on a CI machine they fail."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None and os.environ.get("CI"):
        pytest.fail("CI needs Chromium: apt-get install chromium")
    if found is None:
        pytest.skip("Chromium is not installed")
    return found


def browse(chromium: str, page: Path, folder: Path, *flags: str) -> subprocess.CompletedProcess:
    command = [chromium, *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, page.resolve().as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


def ask(chromium: str, page: Path, folder: Path, *flags: str) -> dict:
    copy = folder / "probed.html"
    copy.write_text(page.read_text().replace("</body>", PROBE))
    dom = browse(chromium, copy, folder, "--dump-dom", *flags).stdout
    text = re.search(r'data-probe="([^"]*)"', dom).group(1)
    return json.loads(text.replace("&quot;", '"').replace("&amp;", "&"))


def test_the_page_renders(chromium: str, profiled: tuple[ProfileReport, Path], tmp_path: Path) -> None:
    result = browse(chromium, profiled[1], tmp_path, "--dump-dom")
    assert "<h1>b0-seg on cpu, FP32</h1>" in result.stdout
    assert result.stdout.count("<img ") == 12
    assert "</svg>" in result.stdout
    console = [line for line in result.stderr.splitlines() if ":CONSOLE" in line]
    assert console == []


def test_a_broken_page_would_show_in_the_console(chromium: str, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text("<script>console.error('it is broken')</script>")
    result = browse(chromium, tmp_path / "bad.html", tmp_path, "--dump-dom")
    assert ":CONSOLE" in result.stderr


@pytest.mark.parametrize(("width", "height"), [(1280, 1600), (500, 1600)])
def test_the_screenshot(
    chromium: str, profiled: tuple[ProfileReport, Path], tmp_path: Path, width: int, height: int
) -> None:
    picture = tmp_path / "page.png"
    browse(chromium, profiled[1], tmp_path, f"--screenshot={picture}", f"--window-size={width},{height}")
    pixels = read_image(picture)
    assert pixels.shape == (height, width, 3)
    assert pixels.std() > 5
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
    for colour in ((0x3B, 0x82, 0xF6), (0x0D, 0x94, 0x88), (0xEA, 0x7A, 0x1C)):
        assert (pixels == colour).all(axis=2).sum() > 100, "a histogram is missing"


@pytest.mark.parametrize("width", [1280, 400])
def test_everything_is_there_and_nothing_sticks_out(
    chromium: str, profiled: tuple[ProfileReport, Path], tmp_path: Path, width: int
) -> None:
    found = ask(chromium, profiled[1], tmp_path, f"--window-size={width},900")
    assert found["images"] == 12
    assert found["broken"] == 0
    assert found["loaded"] == []
    assert found["window"] <= max(width, 500)  # some versions have no narrower window
    assert found["wide"] <= found["window"]
    assert found["chart"] > 100
    assert "engine infer: median" in found["text"]


def test_dark(chromium: str, profiled: tuple[ProfileReport, Path], tmp_path: Path) -> None:
    light = ask(chromium, profiled[1], tmp_path)
    dark = ask(chromium, profiled[1], tmp_path, "--blink-settings=preferredColorScheme=0")
    assert light["ink"] == "rgb(26, 32, 39)"
    assert dark["ink"] == "rgb(230, 234, 239)"
