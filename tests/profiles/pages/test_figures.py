# SPDX-License-Identifier: Apache-2.0
"""Figures on a page: in which words, of what, and odd ones."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.profiles.layer_times.record import LayerTime
from evit_deploy.profiles.pages.index import line_of, render_index
from evit_deploy.profiles.pages.words import interval, milliseconds, scientific
from evit_deploy.profiles.predict.prediction import Terms
from evit_deploy.profiles.reading import Recorded
from tests.profiles.pages.full import full_layer_times, full_manifest, full_parts, full_prediction, full_report
from tests.profiles.pages.reader import Page, page_of
from tests.profiles.records import make_latency, make_power, make_report


def test_large_numbers_are_written_out() -> None:
    """On a slow board: seconds per frame, and joules."""
    slow = tuple(make_latency(item.name, 12345.0) for item in full_report().latencies)
    terms = Terms(traffic=5000.0, arithmetic=2000.0)
    prediction = replace(full_prediction(), low_ms=6000.0, high_ms=9000.0, terms=terms, stages={"stem": terms})
    layers = replace(full_layer_times(), layers=(LayerTime("a", "b", 4321.0, ("a",)),))
    report = full_report(latencies=slow, prediction=prediction, layer_times=layers, power=make_power(1234.5))
    text = page_of(report)
    assert not re.search(r"\de\+\d", text)
    shown = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", text))
    for words in ("5,000.0 ms, 71%", "7,000.0 ms", "4,321.0", f"median {milliseconds(slow[0].p50)} ms"):
        assert words in shown, words
    assert "123.5 <small>J</small>" in text.replace("123.4 <", "123.5 <")
    index = render_index([line_of(Recorded(Path("x"), report, None, ()))])
    assert not re.search(r"\de\+\d", index)
    assert " J</td>" in index


def test_the_first_call_stands_beside_what_it_was_a_call_of() -> None:
    """It is a call with a frame; only of a fixed batch is it a run of the graph."""
    whole = page_of(full_report())
    facts = {found[0]: found[1] for found in re.findall(r"<dt>([^<]*)</dt>(.*?)</div>", whole, re.S)}
    assert "first call 80.0" in facts["Frame to result"]
    assert "first" not in facts["Engine, raw graph"]
    report = full_report()
    text = page_of(replace(report, latencies=report.latencies[:1]))
    assert re.search(r"fixed batch of 1; first run 80\.0", text)


def test_what_was_timed_of_a_decoder_is_said() -> None:
    text = re.sub(r"\s+", " ", page_of(full_parts()))
    decode = "decode (the raw graph with the steps before and after it)"
    assert text.count(f"were measured of {decode}.") == 1
    assert text.count("were measured of the raw graph.") == 1
    assert f"Below, the measured median of {decode}." in text
    assert f"without, {decode} took" in text
    assert "two runs under way" in text
    assert "1 part<" in text


def test_a_report_without_a_date() -> None:
    report = make_report(manifest=full_manifest())
    environment = {name: value for name, value in report.environment.items() if name != "date"}
    text = page_of(replace(report, environment=environment))
    assert Page(text).open == []
    assert "<time" not in text


def test_an_odd_neighbour_is_left_out() -> None:
    report = make_report(manifest=full_manifest(model="l0-sam"))
    nameless = replace(full_parts().verdict, manifests={})
    odd = [replace(full_parts(), engine="odd", works=()), replace(full_parts(), engine="odder", verdict=nameless)]
    text = page_of(report, beside=[Recorded(Path(item.engine), item, None, ()) for item in odd])
    assert Page(text).open == []
    assert 'id="others"' not in text
    good = replace(full_parts(), engine="good")
    both = page_of(report, beside=[Recorded(Path(item.engine), item, None, ()) for item in (*odd, good)])
    assert 'href="../good/report.html"' in both
    assert "../odd" not in both


def test_a_prediction_of_nothing() -> None:
    nothing = replace(full_prediction(), terms=Terms(), low_ms=0.0, high_ms=0.0, stages={"stem": Terms()}, kernels=())
    assert Page(page_of(full_report(prediction=nothing))).open == []


@pytest.mark.parametrize(
    ("value", "words"), [(0.01234, "0.012"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234.5")]
)
def test_milliseconds(value: float, words: str) -> None:
    assert milliseconds(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0"), (2.1e-5, "2.1 × 10⁻⁵"), (3.0, "3.0 × 10⁰"), (float("inf"), "inf"), (float("nan"), "nan")],
)
def test_scientific(value: float, words: str) -> None:
    assert scientific(value) == words


@pytest.mark.parametrize(
    ("value", "sigma", "words"),
    [(12.34, 0.21, "12.3 ± 0.2"), (1234.5, 3.0, "1,234 ± 3"), (5.0, 0.0, "5 ± 0"), (0.1234, 0.004, "0.123 ± 0.004")],
)
def test_an_interval(value: float, sigma: float, words: str) -> None:
    assert interval(value, sigma) == words


@given(st.floats(0.001, 1e4), st.floats(1e-4, 1e3))
def test_an_interval_shows_its_error(value: float, sigma: float) -> None:
    shown = float(interval(value, sigma).partition(" ± ")[2].replace(",", ""))
    assert shown == pytest.approx(sigma, rel=0.5, abs=1e-12)
