# SPDX-License-Identifier: Apache-2.0
"""The index over all profiles, and ``evit-deploy report``, which makes it and all pages again."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from evit_deploy.errors import ArtifactError
from evit_deploy.profiles.pages import remake
from tests.cli.conftest import Program
from tests.profiles.pages.conftest import FULL, PARTS, PLAIN
from tests.profiles.pages.full import full_evaluation
from tests.profiles.pages.reader import Page

COPY = "b0-seg.copy"


@pytest.fixture
def own(profiles: Path, tmp_path: Path) -> Path:
    """A workspace with two small profiles and a broken one."""
    for name, source in ((PLAIN, PLAIN), (COPY, PLAIN), ("broken", "broken")):
        shutil.copytree(profiles / source, tmp_path / "profiles" / name)
    return tmp_path


def test_the_index_lists_everything(profiles: Path) -> None:
    text = (profiles / "index.html").read_text()
    page = Page(text)
    assert page.open == []
    links = [link for link in page.links if not link.startswith(("data:", "#"))]
    assert links == [f"{name}/report.html" for name in (PLAIN, FULL, PARTS)]
    assert all((profiles / link).is_file() for link in links)
    assert set(page.labels) <= set(page.ids)
    assert "cityscapes: mIoU 80.12 %" in text
    assert "3 engines" in text
    assert "broken is not in the table" in text


def test_an_engine_that_was_only_evaluated(tmp_path: Path) -> None:
    full_evaluation().evaluation.write(tmp_path / "evaluated" / "evaluation.cityscapes.json")
    made = remake(tmp_path)
    text = made.index.read_text()
    assert (made.pages, made.broken) == ((), ())
    assert "evaluated" in text
    assert "mIoU 80.12 %" in text
    assert "<svg" not in text


ODD = {
    "a layer of null": lambda data: data["layer_times"]["layers"][0].update(ms=None),
    "a size that is no pair": lambda data: data["manifest"]["graph"].update(resolution=[64]),
    "no time at all": lambda data: data["latencies"][0].update(samples_ms=[]),
    "a negative interval": lambda data: data["prediction"].update(low_ms=1e9, high_ms=-1e9),
    "a roof of nothing": lambda data: data["prediction"]["conditions"].update(bandwidth_gbs=0.0),
}


@pytest.mark.filterwarnings("ignore:Attempt to set non-positive ylim")
@pytest.mark.parametrize("kind", ODD)
def test_an_odd_record_stops_neither_its_neighbours_nor_the_index(profiles: Path, tmp_path: Path, kind: str) -> None:
    for name, source in ((PLAIN, PLAIN), ("b0-seg.odd", FULL)):
        shutil.copytree(profiles / source, tmp_path / name)
        (tmp_path / name / "report.html").unlink()
    path = tmp_path / "b0-seg.odd" / "report.json"
    data = json.loads(path.read_text())
    ODD[kind](data)
    path.write_text(json.dumps({**data, "engine": "b0-seg.odd"}))
    made = remake(tmp_path)
    assert [item.name for item in made.broken] == ["b0-seg.odd"]
    assert made.broken[0].why
    assert made.pages == (tmp_path / PLAIN / "report.html",)
    assert made.index.is_file()
    with pytest.raises(ArtifactError):
        remake(tmp_path, ["b0-seg.odd"])


def test_a_page_that_cannot_be_written_stops_no_other(profiles: Path, tmp_path: Path) -> None:
    for name in (PLAIN, FULL):
        shutil.copytree(profiles / PLAIN, tmp_path / name)
        (tmp_path / name / "report.html").unlink()
    (tmp_path / FULL / "report.html").mkdir()
    made = remake(tmp_path)
    assert [item.name for item in made.broken] == [FULL]
    assert made.pages == (tmp_path / PLAIN / "report.html",)


def test_a_workspace_that_is_none(tmp_path: Path, evit: Program) -> None:
    answer = evit("report", "--workspace", tmp_path / "typo")
    assert answer.code == 2
    assert f"there is no {tmp_path / 'typo' / 'profiles'}" in answer.message
    assert not (tmp_path / "typo").exists()


def test_no_profiles_at_all(tmp_path: Path) -> None:
    assert "Nothing is recorded yet" in remake(tmp_path).index.read_text()


def test_the_command(own: Path, evit: Program) -> None:
    for page in own.glob("profiles/*/report.html"):
        page.unlink()
    answer = evit("report", "--workspace", own)
    assert answer.code == 0
    assert re.findall(r"^(\w+): (.*)$", answer.out, re.M) == [
        *(("report", str(own / "profiles" / name / "report.html")) for name in (COPY, PLAIN)),
        ("index", str(own / "profiles" / "index.html")),
    ]
    assert "broken is left out" in answer.err
    assert all((own / "profiles" / name / "report.html").is_file() for name in (COPY, PLAIN))


def test_json(own: Path, evit: Program) -> None:
    data = json.loads(evit("report", PLAIN, "--workspace", own, "--json").out)
    assert data["pages"] == [str(own / "profiles" / PLAIN / "report.html")]
    assert list(data["unreadable"]) == ["broken"]


def test_a_name_that_is_none(own: Path, evit: Program) -> None:
    answer = evit("report", "b0-seg.orin.fp16", "--workspace", own)
    assert answer.code == 2
    assert f"there is no profile 'b0-seg.orin.fp16' in {own / 'profiles'}" in answer.message
    assert PLAIN in answer.message


def test_a_damaged_report_that_was_named(own: Path, evit: Program) -> None:
    answer = evit("report", "broken", "--workspace", own)
    assert answer.code == 2
    assert "report.json is damaged" in answer.message


def test_a_page_that_cannot_be_made_stops_no_other(own: Path) -> None:
    (own / "profiles" / COPY / "pictures.json").write_text("{")
    made = remake(own / "profiles")
    assert {item.name for item in made.broken} == {"broken", COPY}
    assert [page.parent.name for page in made.pages] == [PLAIN]


def test_a_newer_report(own: Path) -> None:
    path = own / "profiles" / PLAIN / "report.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "report": 99}))
    found = {item.name: item.why for item in remake(own / "profiles").broken}
    assert "newer" in found[PLAIN]
