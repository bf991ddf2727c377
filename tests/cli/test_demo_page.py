# SPDX-License-Identifier: Apache-2.0
"""The demo page in a real browser: clicked, dragged, tapped and typed at, with a predictor whose masks are known."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evit_deploy.data.images import read_image, write_image
from evit_deploy.data.rle import encode, from_dict
from evit_deploy.data.scenes import render_scene
from tests.browser import Browser, find_chromium
from tests.cli.fake_sam import FakeSam

uvicorn = pytest.importorskip("uvicorn")
HEIGHT, WIDTH = 300, 400
STATUS = "document.querySelector('#status').textContent"


def visible(selector: str) -> str:
    return f"document.querySelector({selector!r}).getClientRects().length > 0"


def enabled(selector: str) -> str:
    return f"!document.querySelector({selector!r}).disabled"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, FakeSam]]:
    """The address of a demo with two engines, and the first of them."""
    from evit_deploy.cli.web.server import make_app

    listener, sam = socket.socket(), FakeSam()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    app = make_app({"first": sam, "second": FakeSam()}, port, render_scene(3, HEIGHT, WIDTH).image)
    config = uvicorn.Config(app, log_level="warning", ws="none", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{port}/", sam
    server.should_exit = True
    thread.join(timeout=10)
    listener.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(find_chromium(), tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


@pytest.fixture
def page(browser: Browser, running: tuple[str, FakeSam]) -> Iterator[Browser]:
    """The page with its example; whatever it complains of fails the test."""
    browser.size(1200, 800)
    browser.trouble.clear()
    running[1].asked.clear()
    browser.open(running[0])
    browser.until(visible("#canvas"))
    yield browser
    assert browser.trouble == []


@pytest.fixture
def sam(running: tuple[str, FakeSam]) -> FakeSam:
    return running[1]


def wait_for_answers(page: Browser, sam: FakeSam, count: int) -> None:
    """Until that many prompts were answered, and the last answer is on the page."""
    page.until(lambda: len(sam.asked) >= count, f"{count} prompts")
    page.until(f"{enabled('#json')} && document.querySelector('#canvas').ariaBusy === 'false'")
    page.ask("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def pixel(page: Browser, x: float, y: float) -> list[int]:
    """What the canvas shows at a place, as parts of its sides."""
    return page.ask(
        "(() => { const c = document.querySelector('#canvas'), one = new OffscreenCanvas(1, 1).getContext('2d');"
        f"one.drawImage(c, -Math.floor({x} * c.width), -Math.floor({y} * c.height));"
        "return [...one.getImageData(0, 0, 1, 1).data].slice(0, 3); })()"
    )


def choose_mode(page: Browser, mode: str) -> None:
    page.click(f"input[name=mode][value={mode}]")


# Prompts


def test_a_click_shows_a_mask(page: Browser, sam: FakeSam) -> None:
    before, away = pixel(page, 0.34, 0.4), pixel(page, 0.9, 0.9)
    shot = page.screenshot()
    page.click("#canvas", 0.3, 0.4)
    wait_for_answers(page, sam, 1)
    (asked,) = sam.asked
    assert asked["points"].tolist() == [[119.5, 119.5]]
    assert asked["labels"].tolist() == [1]
    assert pixel(page, 0.34, 0.4) != before
    assert pixel(page, 0.9, 0.9) == away
    assert (page.screenshot() != shot).any(axis=2).sum() > 5000
    assert "3 masks, the best with a predicted IoU of 0.970" in page.ask(STATUS)
    assert page.ask("document.querySelector('#encoder').textContent").endswith("ms")
    assert page.ask("document.querySelector('#decoder').textContent").endswith("ms")
    page.click("#canvas", 0.35, 0.4)
    wait_for_answers(page, sam, 2)
    assert page.ask("document.querySelector('#encoder').textContent") == "kept"


@pytest.mark.parametrize("way", ["right", "shift", "mode"])
def test_points_outside_the_object(page: Browser, sam: FakeSam, way: str) -> None:
    page.click("#canvas", 0.5, 0.5)
    wait_for_answers(page, sam, 1)
    covered = pixel(page, 0.53, 0.5)
    if way == "mode":
        choose_mode(page, "outside")
    page.click("#canvas", 0.56, 0.5, button="right" if way == "right" else "left", shift=way == "shift")
    wait_for_answers(page, sam, 2)
    assert sam.asked[-1]["labels"].tolist() == [1, 0]
    page.until(lambda: pixel(page, 0.53, 0.5) != covered, "the mask to shrink")


def test_a_drag_makes_a_box(page: Browser, sam: FakeSam) -> None:
    before = pixel(page, 0.3, 0.3)
    page.drag("#canvas", (0.8, 0.7), (0.1, 0.1))
    wait_for_answers(page, sam, 1)
    assert sam.asked[0]["points"] is None
    assert np.allclose(sam.asked[0]["box"], [39.5, 29.5, 319.5, 209.5], atol=1)
    assert pixel(page, 0.3, 0.3) != before
    page.click("#canvas", 0.3, 0.3, button="right")
    wait_for_answers(page, sam, 2)
    assert sam.asked[1]["points"].shape == (1, 2)
    assert sam.asked[1]["box"] is not None


def test_corners_are_inside_the_picture(page: Browser, sam: FakeSam) -> None:
    page.click("#canvas", 0.003, 0.003)
    page.click("#canvas", 0.997, 0.997)
    wait_for_answers(page, sam, 2)
    points = sam.asked[-1]["points"]
    assert (points >= 0).all()
    assert (points <= [WIDTH - 1, HEIGHT - 1]).all()
    assert np.allclose(points, [[0, 0], [WIDTH - 1, HEIGHT - 1]], atol=1.5)


def test_undo_and_clear(page: Browser, sam: FakeSam) -> None:
    bare = pixel(page, 0.53, 0.5)
    page.click("#canvas", 0.5, 0.5)
    page.click("#canvas", 0.2, 0.5)
    wait_for_answers(page, sam, 2)
    page.key("u")
    wait_for_answers(page, sam, 3)
    assert sam.asked[-1]["points"].shape == (1, 2)
    page.click("#canvas", 0.2, 0.2)
    wait_for_answers(page, sam, 4)
    page.key("z", 90, control=True)
    wait_for_answers(page, sam, 5)
    assert pixel(page, 0.53, 0.5) != bare
    page.key("Escape", 27)
    page.until("document.querySelector('#json').disabled")
    page.until(lambda: pixel(page, 0.53, 0.5) == bare, "the mask to go")
    page.click("#undo")
    wait_for_answers(page, sam, 6)
    page.click("#clear")
    page.until("document.querySelector('#json').disabled")
    assert page.ask("document.querySelector('#candidates').hidden")


def test_candidates(page: Browser, sam: FakeSam) -> None:
    page.click("#canvas", 0.5, 0.5)
    wait_for_answers(page, sam, 1)
    labels = page.ask("[...document.querySelectorAll('#candidates label')].map((label) => label.textContent)")
    assert [label.partition(",")[0] for label in labels] == ["0.910", "0.970", "0.890"]
    assert page.ask("document.querySelector('input[name=candidate]:checked').value") == "1"
    edge = pixel(page, 0.6, 0.5)
    page.key("3")
    page.until("document.querySelector('input[name=candidate]:checked').value === '2'")
    page.until(lambda: pixel(page, 0.6, 0.5) != edge, "the larger mask")
    page.click("#candidates label:nth-of-type(1) input")
    page.until("document.querySelector('input[name=candidate]:checked').value === '0'")
    page.until(lambda: pixel(page, 0.6, 0.5) == edge, "the smaller mask")
    page.click("#multimask")
    wait_for_answers(page, sam, 2)
    assert sam.asked[-1]["multimask"] is False
    page.until("document.querySelector('#candidates').hidden")


def test_the_keyboard_alone(page: Browser, sam: FakeSam) -> None:
    page.ask("document.querySelector('#canvas').focus()")
    page.key("ArrowRight", 39)
    page.key("ArrowDown", 40, shift=True)
    page.key("Enter", 13)
    wait_for_answers(page, sam, 1)
    assert sam.asked[0]["points"].tolist() == [[208, 151]]
    page.ask("document.querySelector('input[name=mode][value=box]').click()")
    page.ask("document.querySelector('#canvas').focus()")
    page.key("Enter", 13)
    for _ in range(4):
        page.key("ArrowLeft", 37)
        page.key("ArrowUp", 38)
    page.key("Enter", 13)
    wait_for_answers(page, sam, 2)
    assert sam.asked[1]["box"].tolist() == [176, 119, 208, 151]


def test_another_engine(page: Browser, sam: FakeSam) -> None:
    page.click("#canvas", 0.5, 0.5)
    wait_for_answers(page, sam, 1)
    page.ask("(() => { const e = document.querySelector('#engine'); e.value = 'second';"
             "e.dispatchEvent(new Event('change')); })()")  # fmt: skip
    page.until("document.querySelector('#encoder').textContent.endsWith('ms')")
    assert len(sam.asked) == 1
    assert page.ask("document.querySelector('#warnings').textContent") == "random weights"


# Everything


def set_value(page: Browser, name: str, value: object) -> None:
    page.ask(f"document.querySelector('#{name}').value = {str(value)!r}")


def test_everything(page: Browser, sam: FakeSam) -> None:
    shot = page.screenshot()
    set_value(page, "points_per_side", 6)
    page.click("#everything")
    page.until(f"/^[0-9]+ masks in/.test({STATUS})")
    assert page.ask("document.querySelector('#everything').textContent") == "Everything"
    page.ask("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    stage = page.screenshot()
    assert (stage != shot).any(axis=2).mean() > 0.1
    page.click("#canvas", 0.5, 0.5)
    wait_for_answers(page, sam, 1)
    assert page.ask("!document.querySelector('#candidates').hidden")


def test_everything_can_be_stopped(page: Browser, sam: FakeSam) -> None:
    set_value(page, "points_per_side", 16)
    sam.hold.clear()
    try:
        page.click("#everything")
        page.until(f"{visible('#progress')} && document.querySelector('#everything').textContent === 'Stop'")
        page.until("document.querySelector('#progress').max === 256")
        page.click("#everything")
        page.until(f"{STATUS} === 'Stopped.'")
    finally:
        sam.hold.set()
    page.click("#canvas", 0.5, 0.5)
    wait_for_answers(page, sam, 1)


# Pictures


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture taken upright by a camera that stores it lying: 90 high and 120 wide in the file."""
    path, image = tmp_path / "my photo.jpg", Image.fromarray(render_scene(9, 90, 120).image)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    return path


def test_a_file_is_chosen(page: Browser, sam: FakeSam, photo: Path) -> None:
    page.choose_file("#open", photo)
    page.until(f"{STATUS}.includes('my photo.jpg, 90 × 120 pixels')")
    page.click("#canvas", 0.999, 0.999)
    wait_for_answers(page, sam, 1)
    assert np.allclose(sam.asked[0]["points"], [[89, 119]], atol=1)


def test_a_file_is_dropped(page: Browser, photo: Path) -> None:
    x, y = page.place("#stage")
    data = {"items": [], "files": [str(photo)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        page.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)
    page.until(f"{STATUS}.includes('my photo.jpg')")
    page.click("#example")
    page.until(f"{STATUS}.includes('example.png, 400 × 300')")


def test_a_file_that_is_no_picture(page: Browser, sam: FakeSam, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    page.choose_file("#open", tmp_path / "notes.txt")
    page.until(visible("#error"))
    assert "not an image" in page.ask("document.querySelector('#error').textContent")
    assert any("400" in line for line in page.trouble), "a refusal is in the network's log"
    page.trouble.clear()
    page.click("#canvas", 0.5, 0.5)
    wait_for_answers(page, sam, 1)
    assert page.ask("document.querySelector('#error').hidden")


def test_an_engine_that_fails(page: Browser, sam: FakeSam) -> None:
    sam.broken = True
    page.click("#canvas", 0.5, 0.5)
    page.until(visible("#error"))
    assert "the engine failed" in page.ask("document.querySelector('#error').textContent")
    page.trouble.clear()
    page.click("#canvas", 0.4, 0.5)
    wait_for_answers(page, sam, 2)


# Files to keep


def wait_for_file(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not (path.is_file() and path.stat().st_size):
        assert time.monotonic() < deadline, [entry.name for entry in path.parent.iterdir()]
        time.sleep(0.05)


def test_files_to_keep(page: Browser, sam: FakeSam, tmp_path: Path) -> None:
    page.download_to(tmp_path)
    page.click("#canvas", 0.5, 0.5)
    wait_for_answers(page, sam, 1)
    page.click("#json")
    wait_for_file(tmp_path / "example.masks.json")
    document = json.loads((tmp_path / "example.masks.json").read_text())
    (one,) = document["annotations"]
    frame = render_scene(3, HEIGHT, WIDTH).image
    mask = sam.predict([[199.5, 149.5]], embedding=sam.embed(frame)).best().masks[0]
    assert np.array_equal(from_dict(one["segmentation"]).decode(), mask)
    assert document["info"]["prompt"] == {"points": [[199.5, 149.5, 1]], "box": None}
    assert document["images"][0]["file_name"] == "example.png"
    page.click("#png")
    wait_for_file(tmp_path / "example.overlay.png")
    overlay = read_image(tmp_path / "example.overlay.png")
    assert overlay.shape == frame.shape
    far = np.abs(overlay.astype(int) - frame).max(axis=2)
    assert (far[mask] > 20).mean() > 0.9
    assert (far[~mask] > 60).mean() < 0.05


# Any window


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_nothing_sticks_out(page: Browser, width: int) -> None:
    page.size(width, 700, mobile=width < 1000)
    page.until(f"innerWidth === {width}")
    assert page.ask("document.documentElement.scrollWidth") <= width
    small = page.ask(
        "[...document.querySelectorAll('button, select, label')].filter((e) => e.getClientRects().length)"
        ".map((e) => [e.textContent.trim().slice(0, 20), e.getBoundingClientRect().height]).filter(([, h]) => h < 34)"
    )
    assert small == []


def test_touch(page: Browser, sam: FakeSam) -> None:
    page.size(390, 800, mobile=True)
    page.until("(() => { const c = document.querySelector('#canvas');"
               "return c.clientWidth < 390 && Math.abs(c.width - 2 * c.clientWidth) <= 2; })()")  # fmt: skip
    page.touch("#canvas", (0.5, 0.5))
    wait_for_answers(page, sam, 1)
    assert np.allclose(sam.asked[0]["points"], [[199.5, 149.5]], atol=2)
    choose_mode(page, "box")
    page.touch("#canvas", (0.2, 0.2), (0.4, 0.5), (0.7, 0.8))
    wait_for_answers(page, sam, 2)
    assert np.allclose(sam.asked[1]["box"], [79.5, 59.5, 279.5, 239.5], atol=3)


def test_labels_for_everybody(page: Browser) -> None:
    nameless = page.ask(
        "[...document.querySelectorAll('input, select, button, canvas')].filter((e) => "
        "!(e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label'))).map((e) => e.outerHTML)"
    )
    assert nameless == []
    assert page.ask("document.documentElement.lang") == "en"
    assert page.ask("getComputedStyle(document.querySelector('#canvas')).touchAction") == "pan-y pinch-zoom"


@pytest.mark.parametrize("size", [(37, 23), (400, 300), (513, 1023)])
def test_masks_are_decoded_as_they_were(page: Browser, size: tuple[int, int]) -> None:
    """The page's own reader of run lengths, at the masks' own size and at half of it, held against ours."""
    dice = np.random.default_rng(size[0])
    rough = dice.random((size[0] // 8 + 1, size[1] // 8 + 1)) > 0.5
    mask = np.kron(rough, np.ones((8, 8), bool))[: size[0], : size[1]]
    mask[dice.integers(size[0]), :] = True
    for height, width in (size, (size[0] // 2, size[1] // 2)):
        found = page.ask(
            f"import('/masks.js').then(({{ fillMask }}) => {{ const labels = new Uint16Array({width * height});"
            f"fillMask(labels, {width}, {height}, {json.dumps(encode(mask).to_coco())}, 7);"
            "return labels.reduce((text, label) => text + (label === 7 ? 1 : label), ''); })"
        )
        rows = np.floor((np.arange(height) + 0.5) * size[0] / height).astype(int)
        columns = np.floor((np.arange(width) + 0.5) * size[1] / width).astype(int)
        shown = np.array(list(found), int).reshape(height, width).astype(bool)
        expected = mask[rows][:, columns]
        assert (shown == expected).mean() > (0.9999 if (height, width) == size else 0.97)


def test_the_picture_that_comes_is_the_picture_that_went(page: Browser, tmp_path: Path) -> None:
    image = render_scene(4, 64, 96).image
    write_image(tmp_path / "it.png", image)
    page.choose_file("#open", tmp_path / "it.png")
    page.until(f"{STATUS}.includes('it.png')")
    shown = page.ask("fetch(performance.getEntriesByType('resource').map((e) => e.name).filter((n) => "
                     "/pictures\\/.+/.test(n)).at(-1)).then((a) => a.arrayBuffer()).then((b) => "
                     "[...new Uint8Array(b)])")  # fmt: skip
    again = np.asarray(Image.open(io.BytesIO(bytes(shown))).convert("RGB"), int)
    assert np.abs(again - image).mean() < 4
