# SPDX-License-Identifier: Apache-2.0
"""The report page: complete in itself, escaped, and honest about failures."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.engines import build_engine
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.manifest import Agreement
from evit_deploy.profiles import ProfileReport, chart
from evit_deploy.profiles.latency import Latency
from evit_deploy.profiles.page import render_page
from evit_deploy.profiles.pictures import _grow, frame_rows, legend
from evit_deploy.profiles.verify import compare_reference
from evit_deploy.profiles.words import milliseconds, scientific
from evit_deploy.runtime import load
from evit_deploy.runtime.verify import Reference

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects what a page refers to, and checks that its tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.alts: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        found = dict(attributes)
        self.tags.append(tag)
        self.links += [found[name] for name in ("src", "href", "srcset", "data", "action") if found.get(name)]
        self.ids += [found["id"]] if "id" in found else []
        if tag == "img":
            self.alts.append(found.get("alt", ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outputs_of(folder: Path) -> list[dict[str, np.ndarray]]:
    reference, found = Reference.load(folder), []
    with load(folder) as task:

        def infer(inputs: dict) -> dict:
            found.append({name: array[-1].copy() for name, array in task.infer(inputs).items()})
            return task.infer(inputs)

        compare_reference(infer, task.manifest, reference)
    return found


@pytest.fixture(scope="module")
def folder(small_workspace: Path) -> Path:
    return small_workspace / "engines" / "b0-seg.cpu.fp32.onnxruntime"


def test_the_page_needs_nothing_else(profiled: tuple[ProfileReport, Path]) -> None:
    text = profiled[1].read_text()
    page = Page(text)
    assert page.open == []
    assert all(link.startswith(("data:", "#")) for link in page.links), page.links
    assert not re.search(r"url\((?!#)|@import|<script|<iframe|<object", text)
    assert not re.search(r"https?://", text)
    assert len(page.ids) == len(set(page.ids))


def test_the_page_is_semantic(profiled: tuple[ProfileReport, Path]) -> None:
    page = Page(profiled[1].read_text())
    assert page.tags.count("h1") == page.tags.count("main") == page.tags.count("svg") == 1
    assert page.tags.count("caption") == page.tags.count("table") == 2
    assert len(page.alts) == 12
    assert all(page.alts)


def test_the_page_says_what_matters(profiled: tuple[ProfileReport, Path]) -> None:
    report, path = profiled
    text = re.sub(r"\s+", " ", path.read_text())
    graph = report.manifest.files[report.manifest.graph.file]
    for words in (
        "b0-seg on cpu, FP32",
        f"onnxruntime {report.manifest.engine.compiler_version}",
        *report.manifest.warnings,
        "PyTorch eager + upsampling + argmax",
        "≥ 99.9 %",
        report.manifest.weights.sha256,
        graph.sha256,
        "evit-deploy export b0-seg --weights random --resolution 64x128 --opset 17",
        report.environment["date"],
        *(frame.frame for frame in report.agreement.frames),
    ):
        assert words in text, words
    for item in report.latencies:
        assert f"<td>{milliseconds(item.p50)}</td>" in text
    assert text.index("weights are random") < text.index('id="latency"')


def test_a_failure_is_shown(profiled: tuple[ProfileReport, Path], folder: Path, failed: Agreement) -> None:
    report = replace(profiled[0], agreement=failed)
    text = render_page(report, Reference.load(folder), outputs_of(folder))
    assert Page(text).open == []
    assert '<dd class="value bad">Failed</dd>' in text
    assert "NaN or infinity in the output" in text
    assert "<td>inf</td>" in text


def test_names_are_escaped(profiled: tuple[ProfileReport, Path], folder: Path) -> None:
    reference = Reference.load(folder)
    nasty = replace(reference, names=("<script>alert(1)</script>.png", '"onload="x', "c"))
    warned = replace(profiled[0], manifest=replace(profiled[0].manifest, warnings=("<b>bold</b>",)))
    text = render_page(warned, nasty, outputs_of(folder))
    assert "<script" not in text
    assert "<b>" not in text
    assert '"onload=' not in text


def test_differing_pixels_are_counted_and_marked(folder: Path) -> None:
    reference, outputs = Reference.load(folder), outputs_of(folder)
    with load(folder) as task:
        manifest = task.manifest
    outputs[0]["classes"][10, 20] = (outputs[0]["classes"][10, 20] + 1) % 19
    outputs[1]["classes"][:] = 255  # a broken engine
    rows = frame_rows(manifest, reference, outputs)
    assert rows[0].difference == "1 of 8,192 pixels differ (0.0122%)"
    assert rows[1].difference.startswith("8,192 of 8,192")
    assert rows[2].difference == "no pixel differs"
    assert all(picture.uri.startswith("data:image/png;base64,") for row in rows for picture in row.pictures)
    assert all(re.fullmatch("#[0-9a-f]{6}", swatch.colour) for swatch in legend(manifest, reference, 3))


def test_logits_and_classifiers_have_pictures(tmp_path: Path) -> None:
    for name, size, output in (("b0-seg", (32, 64), "logits"), ("b0-cls", (64, 64), None)):
        export, engine = tmp_path / f"{name}-export", tmp_path / name
        export_model(name, export, ExportOptions(weights="random", resolution=size, output=output))
        manifest, _ = build_engine(export, engine, target="cpu", compiler="onnxruntime")
        rows = frame_rows(manifest, Reference.load(engine), outputs_of(engine))
        assert len(rows) == 3
        if name == "b0-seg":
            assert all(len(row.pictures) == 4 for row in rows)
            assert all("no pixel differs" in row.difference for row in rows)
            continue
        assert legend(manifest, Reference.load(engine), 3) == []
        for row in rows:
            assert [ranking.title for ranking in row.rankings] == ["PyTorch", "Engine"]
            assert [entry[0] for entry in row.rankings[0].rows] == [entry[0] for entry in row.rankings[1].rows]
            assert row.difference.startswith("the same top 5, probabilities within")


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4), st.data())
def test_marks_grow_to_squares(height: int, width: int, radius: int, data: st.DataObject) -> None:
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    mask = np.zeros((height, width), bool)
    mask[y, x] = True
    expected = np.zeros_like(mask)
    expected[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1] = True
    np.testing.assert_array_equal(_grow(mask, radius), expected)


@pytest.mark.parametrize("samples", [(5.0,) * 100, (5.0, 5.01) * 50, (0.02, 700.0) * 50, (1.0,)])
def test_histograms_of_odd_samples(samples: tuple[float, ...]) -> None:
    drawn = chart.latency_histogram([Latency("a < b & c", samples), Latency("d", samples)])
    assert drawn.startswith("<svg")
    assert "a &lt; b &amp; c" in drawn
    assert "currentColor" in drawn
    assert "#010203" not in drawn
    low, high = min(samples) / 1.08, max(samples) * 1.08
    assert len(chart._ticks(low, high)) >= 2


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
