# SPDX-License-Identifier: Apache-2.0
"""Charts: what they show, for everyone, and side by side on one page."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evit_deploy.profiles.latency import Latency
from evit_deploy.profiles.pages.charts import canvas
from evit_deploy.profiles.pages.charts.bars import bars, shortened
from evit_deploy.profiles.pages.charts.breakdown import CAUSES, stage_bars, waterfall
from evit_deploy.profiles.pages.charts.confusion import confusion_matrix
from evit_deploy.profiles.pages.charts.latency import latency_drift, latency_histogram
from evit_deploy.profiles.pages.charts.roofline import roof_names, roofline
from evit_deploy.profiles.pages.graph import bottleneck
from evit_deploy.profiles.pages.words import energy, identifier, milliseconds, three_figures
from evit_deploy.profiles.predict.machine import conditions
from evit_deploy.profiles.predict.prediction import KernelTime, Prediction, Terms
from tests.profiles.pages.full import full_prediction

CARDS = ("#ffffff", "#191f26")  # --card of base.html, in light and in dark

# Machado, Oliveira and Fernandes 2009, severity 1: linear RGB as people with protanopia and deuteranopia see it.
BLIND = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def linear(colour: str) -> np.ndarray:
    """sRGB to linear RGB (IEC 61966-2-1)."""
    values = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def words_of(svg: str) -> str:
    return " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg))


@pytest.mark.parametrize("colour", [canvas.BLUE, canvas.GREEN, canvas.VERMILION, canvas.PURPLE])
@pytest.mark.parametrize("card", CARDS)
def test_colours_stand_out(colour: str, card: str) -> None:
    low, high = sorted(float(linear(one) @ (0.2126, 0.7152, 0.0722)) for one in (colour, card))
    assert (high + 0.05) / (low + 0.05) >= 3


@pytest.mark.parametrize("kind", BLIND)
def test_subjects_differ_for_everyone(kind: str) -> None:
    seen = [np.array(BLIND[kind]) @ linear(colour) for colour in canvas.COLOURS]
    distances = [
        np.abs(np.cbrt(np.clip(a, 0, 1)) - np.cbrt(np.clip(b, 0, 1))).max() for a, b in itertools.combinations(seen, 2)
    ]
    assert min(distances) > 0.1


def test_charts_do_not_share_ids() -> None:
    drawn = [waterfall(name, full_prediction(), 20.0) for name in ("a", "b")]
    found = [set(re.findall(r' id="([^"]*)"', svg)) for svg in drawn]
    assert found[0]
    assert not found[0] & found[1]
    for svg, ids in zip(drawn, found, strict=True):
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) == ids


def test_a_name_is_no_markup() -> None:
    svg = bars('x" onload="alert(1)', [("a", 1.0)], "ms")
    assert "alert(1)" not in svg
    assert f'aria-labelledby="{identifier(chr(120) + chr(34) + " onload=" + chr(34) + "alert(1)")}-caption"' in svg


@given(st.lists(st.text(max_size=5), unique=True, max_size=5))
def test_identifiers(names: list[str]) -> None:
    found = [identifier(name) for name in names]
    assert len(set(found)) == len(names)
    assert all(re.fullmatch(r"[\w-]*", one, re.ASCII) for one in found)
    assert identifier("encoder-stages") == "encoder-stages"


@pytest.mark.parametrize("samples", [(5.0,) * 100, (5.0, 5.01) * 50, (0.02, 700.0) * 50, (1.0,)])
def test_latencies_of_odd_samples(samples: tuple[float, ...]) -> None:
    latencies = [Latency("a < b & c", samples), Latency("d", samples)]
    for drawn in (latency_histogram(latencies), latency_drift(latencies)):
        assert drawn.startswith("<svg")
        assert "a &lt; b &amp; c" in drawn
        assert "currentColor" in drawn
        assert canvas.INK not in drawn


@given(st.floats(1e-4, 1e4), st.floats(1.001, 1e4))
def test_ticks_are_few_and_inside(low: float, factor: float) -> None:
    found = canvas.ticks(low, low * factor)
    assert 2 <= len(found) <= 18
    assert all(low <= tick <= low * factor for tick in found)


def test_a_drift_shows_in_the_order_of_time() -> None:
    svg = latency_drift([Latency("slower", tuple(np.linspace(10, 12, 100)))])
    line = max(re.findall(r'<path d="(M[^"]*)"', svg), key=lambda path: path.count("L") * ("z" not in path))
    heights = [float(pair.split()[1]) for pair in re.findall(r"[ML] ([\d.]+ [\d.]+)", line)]
    assert len(heights) == 20
    assert heights == sorted(heights, reverse=True)  # SVG counts from the top


def test_the_waterfall_says_every_cause() -> None:
    found = full_prediction()
    text = words_of(waterfall("waterfall", found, 123.0))
    for cause in CAUSES.values():
        assert cause.words in text
    assert f"{milliseconds(found.terms.traffic)} ms, {found.terms.traffic / found.ms:.0%}" in text
    assert f"{milliseconds(found.ms)} ms" in text
    assert "123.0 ms" in text


def test_a_waterfall_of_what_nobody_measured() -> None:
    text = words_of(waterfall("waterfall", full_prediction()))
    assert "Predicted" in text
    assert "Measured" not in text


def test_units() -> None:
    assert (energy(12.34), energy(999.9), energy(1234.0)) == ("12.3 mJ", "999.9 mJ", "1.23 J")
    assert (energy(12.34, 0.21), energy(123456.0, 700.0)) == ("12.3 ± 0.2 mJ", "123.5 ± 0.7 J")
    assert [three_figures(value) for value in (0.1234, 19.2, 312.0, 999.9, 1979.0)] == [
        "0.123", "19.2", "312", "1,000", "1,979",
    ]  # fmt: skip


def test_stages_with_and_without_measurements() -> None:
    stages = full_prediction().stages
    assert "Measured" not in words_of(stage_bars("stages", stages, {}))
    both = words_of(stage_bars("stages", stages, {"stem": 1.0, "a stage of its own": 2.0}))
    assert "Measured" in both
    assert "a stage of its own" in both


def test_every_kernel_is_on_the_roofline() -> None:
    found = full_prediction()
    svg = roofline("roofline", found)
    assert svg.count("fill-opacity: 0.7") == len(found.kernels), (
        "the marks of kernels, and nothing else, are translucent"
    )
    assert "(derived)" in words_of(svg), "the peak of an Orin NX is not published"


def test_figures_that_are_not_published_are_marked() -> None:
    assert roof_names(conditions("orin-nx")) == ("102.4 GB/s", "19.2 TFLOP/s (derived)")
    assert roof_names(conditions("a100")) == ("2039 GB/s", "312 TFLOP/s")


@pytest.mark.parametrize("kinds", [["traffic"], ["arithmetic"], []])
def test_a_roofline_of_few_kernels(kinds: list) -> None:
    found = full_prediction()
    kernels = tuple(kernel for kernel in found.kernels if kernel.bound in kinds)[:1]
    assert "GB/s" in words_of(roofline("roofline", _with(found, kernels)))


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10**9), st.integers(0, 10**12)), min_size=1, max_size=5))
def test_kernels_of_any_size(sizes: list[tuple[int, int]]) -> None:
    kernels = tuple(
        KernelTime(number, "k", "t", "stem", (), moved, flops, Terms(moved / 1e8 + flops / 1e10), "traffic")
        for number, (moved, flops) in enumerate(sizes)
    )
    svg = roofline("roofline", _with(full_prediction(), kernels))
    assert "nan" not in svg.lower().replace("nanum", "")


def _with(found: Prediction, kernels: tuple[KernelTime, ...]) -> Prediction:
    return Prediction(**{**vars(found), "kernels": kernels})


@pytest.mark.parametrize("cause", CAUSES)
def test_the_bottleneck_is_the_largest_term(cause: str) -> None:
    terms = Terms(**{"traffic": 1.0, "arithmetic": 1.0, "launches": 1.0, "copies": 1.0, cause: 7.0})
    found = bottleneck(Prediction(**{**vars(full_prediction()), "terms": terms}))
    assert found.cause == CAUSES[cause].words.lower()
    assert found.share == pytest.approx(0.7)


def test_the_ideal_is_the_slower_of_the_two_roofs() -> None:
    machine = conditions("orin-nx")
    kernel = KernelTime(0, "k", "t", "stem", (), 10**8, 1, Terms(3.0), "traffic")
    slow = bottleneck(_with(full_prediction(), (kernel,)))
    assert slow.ideal_ms == pytest.approx(10**8 / (machine.bandwidth_gbs * 1e6))
    busy = KernelTime(0, "k", "t", "stem", (), 1, 10**12, Terms(3.0), "arithmetic")
    assert bottleneck(_with(full_prediction(), (busy,))).ideal_ms == pytest.approx(10**12 / (machine.peak_tflops * 1e9))


def test_bars_name_everything() -> None:
    rows = [("a" * 100, 1.0), ("b <&> c", 20.0)]
    for logarithmic in (False, True):
        text = words_of(bars("bars", rows, "milliseconds", logarithmic=logarithmic))
        assert "b &lt;&amp;&gt; c" in text
        assert "20" in text
        assert "…" in text


@given(st.text(max_size=200))
def test_shortened_names(name: str) -> None:
    short = shortened(name)
    assert len(short) <= 64
    assert short == name or (name.startswith(short[:20]) and name.endswith(short[-20:]))


def test_a_confusion_matrix_with_an_empty_class() -> None:
    svg = confusion_matrix("confusion", [[3, 1], [0, 0]], ["road", "a <class>"])
    assert "a &lt;class&gt;" in svg
    assert "nan" not in svg.lower()
