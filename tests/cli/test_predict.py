# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy predict``: what it prints, and that it always says what it is."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Program


def test_a_prediction_is_called_one(evit: Program) -> None:
    answer = evit("predict", "b1-seg", "--target", "orin", "--kernels", "2")
    assert answer.code == 0, answer.err
    assert "predicted, not measured" in answer.out
    assert "90% of held-out published latencies of the reference's graphs lie in such an interval" in answer.out
    for word in (
        "stem",
        "stage 1",
        "stage 4",
        "head",
        "traffic",
        "arithmetic",
        "launches",
        "copies",
        "TensorRT for RTX",
    ):
        assert word in answer.out
    assert "FP16 peak (derived)" in answer.out


def test_json(evit: Program) -> None:
    answer = evit(
        "predict", "b1-seg", "--target", "orin", "--what-if", "cuda-graph", "--what-if", "zero-copy", "--json"
    )
    data = json.loads(answer.out)
    (found,) = data["predictions"]
    assert [one["kind"] for one in (data, *data["what_if"])] == ["predicted, not measured"] * 3
    assert data["low_ms"] < data["total_ms"] < data["high_ms"]
    assert found["kind"] == "predicted, not measured"
    assert 15 < found["ms"] < 30
    assert found["low_ms"] < found["ms"] < found["high_ms"]
    assert [change["change"] for change in data["what_if"]] == ["cuda-graph", "zero-copy"]
    assert all(change["total_ms"] < data["total_ms"] for change in data["what_if"])


def test_a_page(evit: Program, tmp_path: Path) -> None:
    answer = evit("predict", "l0-sam", "--target", "orin", "--kernels", "0", "--page", "l0-sam.html")
    assert "page: l0-sam.html" in answer.err
    text = (tmp_path / "l0-sam.html").read_text()
    assert "predicted, not measured" in text
    assert text.count("<svg") >= 4  # a waterfall and a roofline for encoder and decoder
    assert len(text) < 3_000_000


def test_segment_anything(evit: Program) -> None:
    answer = evit("predict", "l0-sam", "--target", "orin", "--kernels", "0")
    assert answer.out.count("predicted, not measured") == 3
    assert "all of it, one prompt" in answer.out


def test_a_power_mode(evit: Program) -> None:
    answer = evit("predict", "b1-seg", "--target", "orin", "--mode", "30w")
    assert "orin 64 GB, 30W: 8 multiprocessors, 612 MHz" in answer.out
    assert "spans assumptions" in answer.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["b1-seg", "--target", "orin", "--mode", "20W"], "one of MAXN, 50W, 30W, 15W"),
        (["b1-seg", "--target", "rtx"], "it is many machines"),
        (["b1-seg", "--target", "cpu"], "measured, not predicted"),
        (["b1-seg", "--target", "orin", "--resolution", "500x500"], "multiples of 32"),
        (["b1-seg", "--target", "orin", "--what-if", "magic"], "nothing to change"),
        (["b1-seg", "--target", "a100", "--what-if", "zero-copy"], "must be copied"),
        (["b9-seg", "--target", "orin"], "no model"),
        (["b1-seg", "--target", "orin", "--page", "."], "is a folder"),
        (["b1-cls", "--target", "orin", "--output", "classes"], "no class map"),
    ],
)
def test_bad_input(evit: Program, arguments: list[str], message: str) -> None:
    answer = evit("predict", *arguments)
    assert answer.code == 2
    assert message in answer.message


@pytest.mark.slow
def test_a_model_is_predicted_in_seconds(program: Program, tmp_path: Path) -> None:
    """Plan included, nothing kept: 15 s on two quiet cores; more is allowed where others work beside."""
    start = time.perf_counter()
    answer = program(
        "predict", "b1-seg", "--target", "orin", "--output", "logits", env={"XDG_CACHE_HOME": str(tmp_path / "cache")}
    )
    assert answer.code == 0, answer.err
    assert "trace b1-seg" in answer.err
    assert time.perf_counter() - start < 45
