# SPDX-License-Identifier: Apache-2.0
"""Pictures of what PyTorch and the engine see: the most different frames, marked, and kept."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.engines import build_engine
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.manifest import Manifest
from evit_deploy.profiles.pages.pictures import _grow, frame_pictures, read_pictures, write_pictures
from evit_deploy.profiles.verify import compare_reference
from evit_deploy.runtime import load
from evit_deploy.runtime.verify import Reference

Outputs = list[dict[str, np.ndarray]]


def outputs_of(folder: Path) -> tuple[Manifest, Reference, Outputs]:
    """An engine's manifest, its reference and its own outputs."""
    reference, found = Reference.load(folder), []
    with load(folder) as task:

        def infer(inputs: dict) -> dict:
            found.append({name: array[-1].copy() for name, array in task.infer(inputs).items()})
            return task.infer(inputs)

        compare_reference(infer, task.manifest, reference)
        return task.manifest, reference, found


@pytest.fixture
def made(small_workspace: Path) -> tuple[Manifest, Reference, Outputs]:
    return outputs_of(small_workspace / "engines" / "b0-seg.cpu.fp32.onnxruntime")


def test_the_most_different_frame_is_first(made: tuple[Manifest, Reference, Outputs]) -> None:
    manifest, reference, outputs = made
    outputs[1]["classes"][10, 20] = (outputs[1]["classes"][10, 20] + 1) % 19
    outputs[2]["classes"][:] = 255  # a broken engine
    found = frame_pictures(manifest, reference, outputs)
    assert [row.frame for row in found.rows] == [reference.names[index] for index in (2, 1, 0)]
    assert found.rows[0].difference.startswith("8,192 of 8,192")
    assert found.rows[1].difference == "1 of 8,192 pixels differ (0.0122%)"
    assert found.rows[2].difference == "no pixel differs"
    assert all(re.match("data:image/(png|jpeg);base64,", item.uri) for row in found.rows for item in row.pictures)
    assert found.legend
    assert all(re.fullmatch("#[0-9a-f]{6}", swatch.colour) for swatch in found.legend)


def test_pictures_are_kept(made: tuple[Manifest, Reference, Outputs], tmp_path: Path) -> None:
    pictures = frame_pictures(*made)
    write_pictures(tmp_path, pictures)
    assert read_pictures(tmp_path) == pictures


def test_logits_have_pictures(tmp_path: Path) -> None:
    export_model("b0-seg", tmp_path / "e", ExportOptions(weights="random", resolution=(32, 64), output="logits"))
    build_engine(tmp_path / "e", tmp_path / "engine", target="cpu", compiler="onnxruntime")
    rows = frame_pictures(*outputs_of(tmp_path / "engine")).rows
    assert len(rows) == 3
    assert all(len(row.pictures) == 4 and row.difference == "no pixel differs" for row in rows)


def test_classifiers_have_rankings(tmp_path: Path) -> None:
    export_model("b0-cls", tmp_path / "e", ExportOptions(weights="random", resolution=(64, 64)))
    build_engine(tmp_path / "e", tmp_path / "engine", target="cpu", compiler="onnxruntime")
    manifest, reference, outputs = outputs_of(tmp_path / "engine")
    outputs[1]["logits"] = outputs[1]["logits"][::-1]
    found = frame_pictures(manifest, reference, outputs)
    assert found.legend == ()
    assert found.rows[0].frame == reference.names[1]
    assert found.rows[0].difference == "another top 5"
    for row in found.rows[1:]:
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
