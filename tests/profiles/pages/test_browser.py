# SPDX-License-Identifier: Apache-2.0
"""All pages in a real browser: rendered, complete, and without sideways scrolling on a phone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evit_deploy.profiles.pages.forecast import write_prediction_page
from evit_deploy.profiles.predict.ask import Whole
from tests.browser import Browser
from tests.profiles.pages.conftest import FULL, PARTS, PLAIN
from tests.profiles.pages.full import full_prediction

PAGES = [f"{FULL}/report.html", f"{PLAIN}/report.html", f"{PARTS}/report.html", "index.html"]
CHARTS = {FULL: 8, PLAIN: 2, PARTS: 9, "index.html": 1}
NOTHING_ELSE = "performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))"


def show(browser: Browser, page: Path, width: int = 1280, height: int = 1600, scheme: str = "light") -> None:
    """Open a page in a window of a size, and forget what was wrong with the ones before."""
    browser.trouble.clear()
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.size(width, height, mobile=width < 500)
    browser.open(page.resolve().as_uri())


@pytest.mark.parametrize("page", PAGES)
def test_a_page_renders(browser: Browser, profiles: Path, page: str) -> None:
    show(browser, profiles / page)
    assert browser.trouble == []
    assert browser.ask(NOTHING_ELSE) == []
    charts = browser.ask("[...document.querySelectorAll('svg')].map(e => e.getBoundingClientRect().height)")
    assert len(charts) == CHARTS[page.partition("/")[0]]
    assert min(charts) > 60
    assert browser.ask(OUTSIDE) == []
    broken = browser.ask("[...document.images].filter(e => !(e.complete && e.naturalWidth)).length")
    assert broken == 0


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("parts", [("image",), ("image", "prompts")])
def test_the_page_of_a_prediction(browser: Browser, tmp_path: Path, parts: tuple[str, ...], width: int) -> None:
    whole = Whole(tuple(full_prediction(part) for part in parts))
    show(browser, write_prediction_page(whole, tmp_path / "page.html"), width)
    assert browser.trouble == []
    assert browser.ask(NOTHING_ELSE) == []
    assert browser.ask("document.querySelectorAll('svg').length") == 3 * len(parts)
    browser.ask("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    assert browser.ask("[document.documentElement.scrollWidth, innerWidth]") == [width, width]
    assert browser.ask(OUTSIDE) == []


@pytest.mark.parametrize("page", PAGES)
def test_nothing_sticks_out(browser: Browser, profiles: Path, page: str) -> None:
    show(browser, profiles / page)
    browser.ask("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    for width in (1280, 768, 360):
        browser.size(width, 900, mobile=width < 500)
        assert browser.ask("[document.documentElement.scrollWidth, innerWidth]") == [width, width]


# Height of the letters of charts in pixels, and the words of charts that stick out of them.
LETTERS = "[...document.querySelectorAll('svg text')].map(e => parseFloat(getComputedStyle(e).fontSize) * e.getCTM().a)"
OUTSIDE = """[...document.querySelectorAll('svg')].flatMap(chart => {
  const box = chart.getBoundingClientRect();
  return [...chart.querySelectorAll('text')].filter(text => {
    const found = text.getBoundingClientRect();
    return found.left < box.left - 2 || found.right > box.right + 2;
  }).map(text => text.textContent);
})"""


@pytest.mark.parametrize("page", PAGES)
def test_charts_can_be_read_on_a_phone(browser: Browser, profiles: Path, page: str) -> None:
    show(browser, profiles / page, 360)
    assert min(size for size in browser.ask(LETTERS) if size) > 8
    assert browser.ask(OUTSIDE) == []


def edges(browser: Browser, left: int) -> tuple[float, float]:
    """Mean brightness of a wide table at its left and right edge, scrolled so far."""
    box = browser.ask(f"""(() => {{
      const all = [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 60);
      all[0].scrollIntoView(); all[0].scrollLeft = {left};
      const box = all[0].getBoundingClientRect(); return [box.left, box.top, box.right, box.bottom];
    }})()""")
    pixels = browser.screenshot().mean(axis=2)
    scale = pixels.shape[1] / 360
    x0, y0, x1, y1 = (int(value * scale) for value in box)
    rows = pixels[max(y0, 0) : y1]
    return float(np.median(rows[:, x0 + 1 : x0 + 3])), float(np.median(rows[:, x1 - 3 : x1 - 1]))


def test_a_wide_table_shows_that_it_scrolls(browser: Browser, profiles: Path) -> None:
    """A shadow on the side where there is more, and none where there is not."""
    show(browser, profiles / FULL / "report.html", 360)
    left, right = edges(browser, 0)
    assert right < left - 5
    left, right = edges(browser, 100_000)
    assert left < right - 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_screenshot(browser: Browser, profiles: Path, scheme: str) -> None:
    show(browser, profiles / FULL / "report.html", scheme=scheme)
    browser.size(1280, int(browser.ask("document.documentElement.scrollHeight")))
    pixels = browser.screenshot()
    dark = pixels.mean() < 100
    assert dark == (scheme == "dark")
    assert pixels.std() > 10
    assert len(np.unique(pixels[::4, ::4] @ (1, 256, 65536))) > 100
    for colour in ((0x00, 0x72, 0xB2), (0x00, 0x9E, 0x73), (0xD5, 0x5E, 0x00)):
        assert (pixels == colour).all(axis=2).sum() > 100, "a chart is missing"


def test_a_click_in_the_index_leads_to_the_page(browser: Browser, profiles: Path) -> None:
    show(browser, profiles / "index.html")
    browser.click(f'a[href="{FULL}/report.html"]')
    browser.until("document.querySelector('h1')?.textContent.startsWith('b0-seg on orin-nx')")


def test_a_broken_page_would_show(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text("<script>console.error('it is broken')</script><img src='nothing.png'>")
    show(browser, tmp_path / "bad.html")
    browser.until(lambda: len(browser.trouble) >= 2)
