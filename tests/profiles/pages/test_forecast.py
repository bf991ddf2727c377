# SPDX-License-Identifier: Apache-2.0
"""The page of a prediction: whole, in one file, and never to be taken for a measurement."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from evit_deploy.errors import MissingExtraError, UsageError
from evit_deploy.profiles.pages import write_prediction_page
from evit_deploy.profiles.pages.forecast import render_prediction
from evit_deploy.profiles.pages.words import milliseconds
from evit_deploy.profiles.predict.ask import Whole
from evit_deploy.profiles.predict.prediction import PREDICTED
from tests.profiles.pages.full import full_prediction
from tests.profiles.pages.reader import Page
from tests.profiles.pages.test_names import NASTY, require_escaped

ONE = Whole((full_prediction(),))
TWO = Whole((full_prediction(), full_prediction("prompts")))


@pytest.mark.parametrize("whole", [ONE, TWO], ids=["one", "two"])
def test_everything_is_there(whole: Whole, tmp_path: Path) -> None:
    path = write_prediction_page(whole, tmp_path / "pages" / "prediction.html")
    text = re.sub(r"\s+", " ", path.read_text())
    page, first = Page(text), whole.parts[0]
    assert page.open == []
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert not re.search(r"<script|https?://", text)
    assert path.stat().st_size < 3_000_000
    assert page.tags.count("svg") == 3 * len(whole.parts)  # waterfall, parts of the network, roofline
    assert set(page.labels) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    kernel = max(first.kernels, key=lambda item: item.ms)
    for words in (
        f"<h1>{first.subject} on orin-nx, FP16 ",
        f"{milliseconds(whole.ms)} <small>ms</small>",
        f"{milliseconds(whole.low_ms)} to {milliseconds(whole.high_ms)}&nbsp;ms; not measured",
        "a note on the prediction",
        "Not published by the vendor: FP16 peak (derived)",
        "kernels launched one by one; copies: pinned",
        f"{kernel.number}: {kernel.name}",
        "stage 2",
    ):
        assert words in text, words


@pytest.mark.parametrize("whole", [ONE, TWO], ids=["one", "two"])
def test_it_is_called_a_prediction_everywhere(whole: Whole) -> None:
    text = render_prediction(whole)
    heading = re.search("<h1>.*?</h1>", text, re.S)
    assert heading
    assert PREDICTED in heading[0]
    assert "prediction, not measured</title>" in text
    assert "no engine ran" in text
    assert "were measured" not in text
    assert "Measured" not in text
    assert all("not measured" in part for part in re.findall(r"<dt>[^<]*predicted</dt>.*?</div>", text, re.S))
    assert all(PREDICTED in found for found in re.findall("<h2.*?</h2>", text, re.S))


def test_parts_have_names() -> None:
    text = render_prediction(TWO)
    for part in ("encoder", "decoder"):
        assert f"Why the {part} is not faster" in text
    assert "All parts, one after the other, predicted" in text
    assert "One run, predicted" in render_prediction(ONE)


def test_names_are_escaped() -> None:
    found = full_prediction()
    kernels = tuple(replace(kernel, name=NASTY, stage=NASTY) for kernel in found.kernels)
    machine = replace(found.conditions, target=NASTY, variant=NASTY, mode=NASTY, uncertain=(NASTY,))
    nasty = replace(
        found, subject=NASTY, model=NASTY, precision=NASTY, plan=NASTY, notes=(NASTY,), kernels=kernels,
        stages={NASTY: found.terms}, conditions=machine,
    )  # fmt: skip
    require_escaped(render_prediction(Whole((nasty, replace(nasty, input="prompts")))))


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError):
        write_prediction_page(ONE, tmp_path / "file" / "page.html")


def test_a_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError):
        write_prediction_page(ONE, tmp_path / "page.html")
