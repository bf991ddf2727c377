# SPDX-License-Identifier: Apache-2.0
"""A profile of an engine of several parts: what is timed, written, drawn and said."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from evit_deploy.data.masks import PromptFrame
from evit_deploy.errors import UsageError
from evit_deploy.manifest import Agreement
from evit_deploy.profiles import profile_engine
from evit_deploy.profiles.latency import Latency
from evit_deploy.profiles.memory import Footprint, measure_footprint
from evit_deploy.profiles.pages import Pictures
from evit_deploy.profiles.pages import page as page_module
from evit_deploy.profiles.pages.tables import agreement_table
from evit_deploy.profiles.reading import Recorded, read_report
from evit_deploy.profiles.sam import pictures as pictures_module
from evit_deploy.profiles.sam import profile as profile_module
from evit_deploy.profiles.sam.original import Original
from evit_deploy.profiles.sam.pictures import Pair, draw, pairs
from evit_deploy.profiles.sam.profile import profile_parts
from evit_deploy.profiles.sam.report import PartsReport, Work, commands
from evit_deploy.profiles.sam.verify import read_engine
from evit_deploy.runtime.reference import Reference
from evit_deploy.runtime.sam.reference import PromptReference
from tests.cli.conftest import Program
from tests.profiles.pages.reader import Page

WORKS = ["encoder", "decoder, 1 prompt", "decoder, 8 prompts", "decoder, 64 prompts", "frame to masks"]


def render_page(report: PartsReport) -> str:
    """Its page, without pictures."""
    return page_module.render_page(Recorded(Path(report.engine), report, None, ()), Pictures())


def make_quick(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Replace the slow parts: the timing of each subject by one call, the fresh process by nothing."""
    timed: list[tuple[str, ...]] = []

    def once(subjects: list, *_: object, **__: object) -> tuple[Latency, ...]:
        timed.append(tuple(subject.name for subject in subjects))
        for subject in subjects:
            subject.call()
        return tuple(Latency(item.name, (1.0 + index,) * item.runs, item.frames) for index, item in enumerate(subjects))

    monkeypatch.setattr(profile_module, "measure_together", once)
    monkeypatch.setattr(profile_module, "measure_footprint", lambda *_: Footprint(1.0, 0.1, 2.0))
    return timed


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    monkeypatch.setattr(profile_module, "PROMPTS", (1,))
    return make_quick(monkeypatch)


@pytest.fixture(scope="module")
def timed() -> list[tuple[str, ...]]:
    """Names of what was timed together."""
    return []


@pytest.fixture(scope="module")
def profiled(toy_workspace: Path, tmp_path_factory: pytest.TempPathFactory, timed: list) -> tuple[PartsReport, Path]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        names = make_quick(monkeypatch)
        toy = toy_workspace / "engines" / "l0-sam.cpu.fp32"
        answer = profile_parts(toy, tmp_path_factory.mktemp("profiles"))
    timed += names
    return answer


def test_what_is_timed_and_written(profiled: tuple[PartsReport, Path], timed: list, toy: Path) -> None:
    report, page = profiled
    assert timed == [(name,) for name in WORKS]
    assert [work.name for work in report.works] == WORKS
    assert [work.engine.frames for work in report.works] == [1, 1, 8, 64, 1]
    assert all(work.engine.runs == 100 and work.speedup is None for work in report.works)
    assert any("not the ones this engine was made from" in note for note in report.notes)
    assert report.verdict.passed
    assert report.engine_mb == pytest.approx(sum(path.stat().st_size for path in toy.rglob("*.*")) / 1e6)
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "pictures.json", "report.html", "report.json",
    ]  # fmt: skip
    data = json.loads((page.parent / "report.json").read_text())
    assert data == json.loads(json.dumps(report.to_json()))
    assert list(data["parts"]) == ["encoder", "decoder"]
    assert data["manifest"]["key"] == report.verdict.bundle.key
    assert (data["peak_memory_mb"], data["many_peak_memory_mb"]) == (1.0, 2.0)


def test_what_it_tells_beyond_latency(profiled: tuple[PartsReport, Path]) -> None:
    report, page = profiled
    assert list(report.insights) == ["encoder", "decoder"]
    assert all(insight.layer_times.total_ms > 0 for insight in report.insights.values())
    assert all(0 < insight.wrapper_ms < 0.5 for insight in report.insights.values())
    assert report.predictions == ()
    found = read_report(page.parent / "report.json")
    assert found.insights == report.insights
    assert found.environment == report.environment


def test_the_page(profiled: tuple[PartsReport, Path]) -> None:
    report, path = profiled
    text = path.read_text()
    page = Page(text)
    assert page.open == []
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert not re.search(r"<script|https?://", text)
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("h1") == 1
    assert page.tags.count("svg") >= 1
    assert page.tags.count("table") == page.tags.count("caption") > 3  # latencies, agreement of each part and of all
    assert len(page.alts) == 3 * 2  # the prompts without a mask input
    assert all(page.alts)
    for words in ("l0-sam on cpu, FP32", *WORKS, "From picture to masks", "≥ 0.999", *report.verdict.bundle.warnings):
        assert words in text, words


def test_pytorch_beside_it(profiled: tuple[PartsReport, Path]) -> None:
    report = profiled[0]
    works = tuple(
        Work(work.name, work.engine, Latency(f"{work.name}, PyTorch eager", (3.0,) * 100)) for work in report.works
    )
    with_pytorch = replace(report, works=works)
    assert with_pytorch.works[0].speedup == 3.0
    assert with_pytorch.works[0].speedup_range == (3.0, 3.0)
    assert len(with_pytorch.latencies) == 2 * len(WORKS)
    text = render_page(with_pytorch)
    assert Page(text).open == []
    assert "3.0&nbsp;× as fast as PyTorch" in text
    assert Page(text).tags.count("table") == Page(render_page(report)).tags.count("table") + 1


def test_a_failure_is_shown(profiled: tuple[PartsReport, Path], failed: Agreement) -> None:
    verdict = replace(profiled[0].verdict, parts={"encoder": failed, "decoder": failed})
    text = render_page(replace(profiled[0], verdict=verdict))
    assert '<dd class="value bad">Failed</dd>' in text
    assert "NaN or infinity in the output" in text


def test_commands_that_make_it_again(profiled: tuple[PartsReport, Path], toy_workspace: Path) -> None:
    report = profiled[0]
    assert commands(report) == [
        "evit-deploy export l0-sam --weights random --opset 17 --input image",
        "evit-deploy build l0-sam --target cpu --fp32",
        "evit-deploy profile l0-sam.cpu.fp32 --runs 100",
    ]
    bundle, manifests = read_engine(toy_workspace / "engines" / "l0-sam.orin.fp16")
    gpu = replace(report, engine="front.orin.fp16", verdict=replace(report.verdict, bundle=bundle, manifests=manifests))
    export, build, _ = commands(gpu)
    assert export.endswith("--name front")
    assert build == "evit-deploy build front --target orin --fp16 --prompts 2,5 --points 4"


def test_masks_that_differ_are_drawn(toy: Path) -> None:
    pictures, prompts = Reference.load(toy / "encoder"), PromptReference.load(toy / "decoder")
    from evit_deploy.profiles.sam.verify import Opened
    from evit_deploy.runtime import load

    with load(toy) as sam:
        parts = {engine.folder.name: engine for engine in (sam.encoder, *sam.decoders)}
        ready = {name: Opened(toy / name, engine.manifest, engine.infer, "") for name, engine in parts.items()}
        found = pairs(ready["encoder"], ready["decoder"], pictures, prompts)
    assert [pair.index for pair in found] == [0, 2]
    assert all(np.array_equal(pair.ours, pair.theirs) for pair in found)
    assert found[0].ours.shape == (prompts.frames[0].height, prompts.frames[0].width)
    assert draw(pictures, prompts, found[0]).difference == "no pixel differs"
    other = found[0].theirs.copy()
    other[3, 4] ^= True
    row = draw(pictures, prompts, replace(found[0], theirs=other))
    assert row.difference.startswith("1 of 2,400 pixels differ")
    assert [picture.title for picture in row.pictures] == ["PyTorch", "Engine", "Difference"]
    assert all(picture.uri.startswith("data:image/jpeg;base64,") for picture in row.pictures)


def test_the_masks_that_differ_most_are_drawn_first(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all prompts, not of the first ones."""
    shape = (4, 5)
    differing = {0: [3, 0, 7, 1, 9], 1: [2, 20]}

    def fake(picture: int, *_: object) -> Iterator[Pair]:
        for place, count in enumerate(differing[picture]):
            theirs = np.zeros(20, bool)
            theirs[:count] = True
            yield Pair(10 * picture + place, np.zeros(shape, bool), theirs.reshape(shape))

    monkeypatch.setattr(pictures_module, "_pairs_of", fake)
    prompts = Mock(frames=[None, None])
    found = pairs(Mock(), Mock(), Mock(), prompts)
    assert [pair.index for pair in found] == [11, 4, 2, 0, 10]
    assert [pair.difference for pair in found] == [1.0, 0.45, 0.35, 0.15, 0.1]


def test_an_unwritable_place_is_told_first(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile_module, "load", lambda *_, **__: pytest.fail("loaded first"))
    (tmp_path / "profiles").write_text("a file")
    with pytest.raises(UsageError, match="no profile can be written to"):
        profile_parts(toy, tmp_path / "profiles")


def test_the_table_shows_what_is_there(toy: Path) -> None:
    _, manifests = read_engine(toy)
    assert agreement_table(manifests["encoder"].agreement).headings  # whatever the sample says
    frames = manifests["decoder"].agreement.frames
    only = Agreement("PyTorch", True, manifests["decoder"].agreement.budget, frames[:1])
    assert len(agreement_table(only).rows) == 1


def test_memory_of_one_and_of_many_prompts(toy: Path) -> None:
    footprint = measure_footprint(toy)
    assert 1 < footprint.peak_memory_mb <= footprint.many_peak_memory_mb < 2000


def test_the_command(toy: Path, tmp_path: Path, evit: Program, quick: list) -> None:
    answer = evit("profile", toy, "--no-pytorch")
    assert answer.code == 0, answer.err
    assert "peak memory of the engine: 1 MB, with 64 prompts 2 MB" in answer.out
    assert all(name in answer.out for name in (WORKS[0], WORKS[1], WORKS[-1]))
    assert "it was not asked for" in answer.err
    part = evit("profile", toy / "encoder")
    assert part.code == 2
    assert f"evit-deploy profile {toy}" in part.message


def test_wrong_kinds(toy_workspace: Path, engine_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is an export"):
        profile_parts(toy_workspace / "export" / "l0-sam", tmp_path)
    with pytest.raises(UsageError, match="several parts"):
        profile_engine(toy_workspace / "engines" / "l0-sam.cpu.fp32", tmp_path)
    with pytest.raises(UsageError, match="has no parts"):
        profile_parts(engine_folder, tmp_path)


def test_pytorch_answers_as_the_reference_does(toy: Path) -> None:
    import torch

    from tests.sam import golden, golden_image, golden_masks, golden_model

    file, image = golden("sam-predictor"), golden_image("a")
    _, manifests = read_engine(toy)
    encoder = replace(manifests["encoder"], graph=replace(manifests["encoder"].graph, resolution=(512, 512)))
    original = Original(golden_model("l0-sam"), encoder)
    found = original.segment(image, file["a.point.coords"].reshape(1, -1, 2))[0]
    expected = golden_masks(file, "l0.a.point.multi.masks")
    overlap = (found & expected).sum((1, 2)) / np.maximum((found | expected).sum((1, 2)), 1)
    assert overlap.min() >= 0.99
    assert PromptFrame(*image.shape[:2]).fitted == (738, 1024)
    assert isinstance(original.image(image), torch.Tensor)
