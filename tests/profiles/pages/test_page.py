# SPDX-License-Identifier: Apache-2.0
"""The report page: complete in itself, escaped, honest about failures, and a function of what is recorded."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.manifest import Agreement
from evit_deploy.profiles import ProfileReport
from evit_deploy.profiles.pages import write_page, write_pictures
from evit_deploy.profiles.pages.words import milliseconds
from evit_deploy.profiles.predict.prediction import PREDICTED
from evit_deploy.profiles.reading import Recorded
from tests.profiles.pages.conftest import FULL, PARTS, PLAIN, some_pictures
from tests.profiles.pages.full import full_evaluation, full_manifest, full_prediction, full_report
from tests.profiles.pages.reader import Page, page_of
from tests.profiles.records import make_latency, make_report

LARGEST = 3_000_000  # bytes


@pytest.fixture(params=[FULL, PLAIN, PARTS])
def text(request: pytest.FixtureRequest, profiles: Path) -> str:
    """A page of each kind."""
    return (profiles / request.param / "report.html").read_text()


def plain() -> ProfileReport:
    """A profile with nothing but what every profile has."""
    return make_report(manifest=full_manifest())


def titles(text: str) -> list[str]:
    """The headings of the sections of a page."""
    return [
        re.sub(r"\s+", " ", re.sub("<[^>]*>", "", found)).strip() for found in re.findall("<h2.*?</h2>", text, re.S)
    ]


def test_a_page_needs_nothing_else(text: str) -> None:
    page = Page(text)
    assert page.open == []
    assert all(link.startswith(("data:", "#", "../")) for link in page.links), page.links
    assert not re.search(r"url\((?!#)|@import|<script|<iframe|<object|https?://", text)
    assert len(page.ids) == len(set(page.ids))
    assert set(page.labels) <= set(page.ids), "everything that is labelled by another has it"
    assert len(text) < LARGEST


def test_a_page_is_semantic(text: str) -> None:
    page = Page(text)
    assert page.tags.count("h1") == page.tags.count("main") == 1
    assert page.tags.count("caption") == page.tags.count("table") > 1
    assert all(page.alts)


def test_the_whole_way(profiled: tuple[ProfileReport, Path]) -> None:
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
    assert len(Page(text).alts) == 12
    assert "Frames, the most different first" in text


def test_a_page_can_be_made_again_without_the_engine(profiled: tuple[ProfileReport, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(profiled[1].parent, tmp_path / profiled[1].parent.name))
    (copy / "report.html").unlink()
    assert write_page(copy).read_bytes() == profiled[1].read_bytes()


@pytest.fixture(scope="module")
def whole() -> str:
    """A page with everything."""
    other = Recorded(Path("another"), replace(plain(), engine="another"), None, ())
    return page_of(full_report(), some_pictures(), evaluations=(full_evaluation(),), beside=[other])


def test_sections_are_there_where_there_is_something_to_say(whole: str) -> None:
    always = ["Agreement with PyTorch passed", "Latency", "Origin and environment", "Make it again"]
    assert titles(page_of(plain())) == always
    assert titles(whole) == [
        *always[:1], "Frames, the most different first", "Latency", f"Why it is not faster {PREDICTED}",
        "Layers, measured", "Power and energy", "Accuracy on cityscapes", "Beside other profiles of the model",
        *always[2:],
    ]  # fmt: skip


def test_a_prediction_always_says_that_it_is_one(whole: str) -> None:
    shown = milliseconds(full_prediction().ms)
    words = re.compile(rf"[>\s]{re.escape(shown)}(?: <small>| ms|&nbsp;ms)")
    parts = [part for part in re.findall(r"<section.*?</section>|<div>.*?</div>", whole, re.S) if words.search(part)]
    assert len(parts) == 2
    assert all("not measured" in part for part in parts)
    assert "Not published by the vendor: FP16 peak (derived)" in whole
    assert "held 90&nbsp;% of the published latencies" in whole


def test_an_interval_of_assumptions_is_called_that() -> None:
    report = replace(plain(), prediction=replace(full_prediction(), coverage=None))
    assert "an interval of assumptions" in page_of(report)


def test_what_was_measured_is_said(whole: str) -> None:
    text = re.sub(r"\s+", " ", whole)
    for words in (
        "first call 80.0&nbsp;ms",
        "41.2",  # frames per second
        "as trtexec up to 10",
        "0.021&nbsp;ms are the checks and the lock of <code>Engine.infer</code>, without what the backend does",
        "30 layers take",
        "a note on layers",
        "VDD_GPU_SOC",
        "sum of rails, an estimate",
        "80.12 %",
        "81.25 %",  # published
        "12,345",
        "broken.png (no image)",
        "a warning of the evaluation",
    ):
        assert words in text, words


def test_parts_have_their_own_sections(profiles: Path) -> None:
    found = titles((profiles / PARTS / "report.html").read_text())
    for part in ("encoder", "decoder"):
        assert f"Why the {part} is not faster {PREDICTED}" in found
        assert f"Layers of the {part}, measured" in found
    assert "Power and energy" in found


def test_layers_without_a_prediction_have_stages() -> None:
    text = page_of(full_report(prediction=None))
    assert "Measured milliseconds by part of the network" in text
    assert "Why it is not faster" not in titles(text)


def test_a_slowing_run_is_said() -> None:
    report = plain()
    slowing = replace(report.engine_infer, samples_ms=tuple(10 + 0.05 * number for number in range(100)))
    assert "did not keep its pace" in page_of(replace(report, latencies=(slowing, *report.latencies[1:])))
    assert "did not keep its pace" not in page_of(report)


def test_others_are_of_the_same_model_and_fastest_first() -> None:
    others = [
        replace(plain(), engine="slow", latencies=(make_latency("engine infer", 30.0),)),
        replace(plain(), engine="fast", latencies=(make_latency("engine infer", 5.0),)),
        replace(plain(), engine="elsewhere", environment={**plain().environment, "processor": "another CPU"}),
        replace(make_report(manifest=full_manifest(model="b1-seg")), engine="another-model"),
    ]
    text = page_of(plain(), beside=[Recorded(Path(item.engine), item, None, ()) for item in others])
    section = text[text.index('id="others"') : text.index('id="origin"')]
    names = re.findall(r'href="../([^/]*)/report.html"', section)
    assert names == ["fast", "elsewhere", "slow"]
    assert "another-model" not in section
    assert "processor" in section, "what forbids to compare"
    assert "evit-deploy compare b0-seg.cpu.fp32 fast" in section


def test_a_failure_is_shown(failed: Agreement) -> None:
    text = page_of(replace(plain(), agreement=failed))
    assert Page(text).open == []
    assert '<dd class="value bad">Failed</dd>' in text
    assert "NaN or infinity in the output" in text
    assert "<td>inf</td>" in text


def test_pictures_are_shown_where_they_were_kept(tmp_path: Path, profiles: Path) -> None:
    copy = Path(shutil.copytree(profiles / PLAIN, tmp_path / PLAIN))
    assert "Frames, the most different first" not in titles((copy / "report.html").read_text())
    write_pictures(copy, some_pictures())
    assert "Frames, the most different first" in titles(write_page(copy).read_text())


@pytest.mark.parametrize("content", [b"", b"[]", b'{"rows": 1}', b"\xff", json.dumps({"rows": [{}]}).encode()])
def test_damaged_pictures(tmp_path: Path, profiles: Path, content: bytes) -> None:
    copy = Path(shutil.copytree(profiles / FULL, tmp_path / FULL))
    (copy / "pictures.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"pictures\.json is damaged"):
        write_page(copy)


def test_nothing_to_make_a_page_of(tmp_path: Path) -> None:
    full_evaluation().evaluation.write(tmp_path / "evaluation.cityscapes.json")
    with pytest.raises(UsageError, match=r"has no report\.json"):
        write_page(tmp_path)


def test_a_broken_neighbour_is_no_hindrance(tmp_path: Path, profiles: Path) -> None:
    copy = Path(shutil.copytree(profiles, tmp_path / "profiles"))
    (copy / "another").mkdir()
    (copy / "another" / "report.json").write_text("{")
    assert write_page(copy / PLAIN).read_bytes() == (profiles / PLAIN / "report.html").read_bytes()
