# SPDX-License-Identifier: Apache-2.0
"""The manifest as Python values: round trips, and agreement with the published schema."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evit_deploy.manifest
from evit_deploy.manifest import (
    ITSELF,
    SCHEMA_VERSION,
    Agreement,
    Budget,
    Bundle,
    EngineInfo,
    FileInfo,
    FrameAgreement,
    Int8Info,
    Manifest,
    Part,
)
from evit_deploy.manifest._validator import validate
from evit_deploy.manifest.model import from_json, to_json
from evit_deploy.models import MODELS
from evit_deploy.targets import PRECISIONS
from tests.manifest.sample import SHA, sample_engine, sample_int8, sample_manifest

SCHEMA = json.loads((Path(evit_deploy.manifest.__file__).parent / "schema.json").read_text(encoding="utf-8"))

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
FRAMES = st.builds(
    FrameAgreement,
    frame=st.text(),
    class_agreement=st.none() | FLOATS,
    miou=st.none() | FLOATS,
    conceded_margin=st.none() | FLOATS,
    finite=st.booleans(),
    relative_l2=st.none() | FLOATS,
    max_error=st.none() | FLOATS,
    cosine=st.none() | FLOATS,
    mask_iou=st.none() | FLOATS,
    score_error=st.none() | FLOATS,
)
MANIFESTS = st.builds(
    lambda manifest, frames, machine, int8, **changes: replace(
        manifest,
        agreement=Agreement("PyTorch", False, manifest.agreement.budget, tuple(frames)),
        engine=machine if machine is None else replace(sample_engine(), machine=machine, int8=int8),
        **changes,
    ),
    manifest=st.sampled_from([sample_manifest("export"), sample_manifest("engine")]),
    frames=st.lists(FRAMES, min_size=1, max_size=3),
    machine=st.none() | st.dictionaries(st.text(), st.text(), max_size=3),
    int8=st.sampled_from([None, sample_int8()]),
    warnings=st.lists(st.text(), max_size=2).map(tuple),
    environment=st.dictionaries(st.text(), st.text(), max_size=2),
    files=st.dictionaries(st.text(), st.builds(FileInfo, st.just(SHA), st.integers(0, 2**60)), min_size=1, max_size=3),
)


@settings(max_examples=100, deadline=None)
@given(MANIFESTS)
def test_a_manifest_survives_json(manifest: Manifest) -> None:
    data = json.loads(json.dumps(to_json(manifest)))
    validate(data)
    assert from_json(data) == manifest


@pytest.mark.parametrize("kind", ["export", "engine"])
def test_values_come_back_with_their_types(kind: str) -> None:
    back = from_json(json.loads(json.dumps(to_json(sample_manifest(kind)))))
    assert isinstance(back.graph.resolution, tuple)
    assert isinstance(back.graph.inputs[0].shape, tuple)
    assert isinstance(back.agreement.frames[0], FrameAgreement)
    assert back == sample_manifest(kind)
    assert (back.engine is None) == (kind == "export")


def test_json_whole_numbers_become_what_the_field_is() -> None:
    data = json.loads(json.dumps(to_json(replace(sample_manifest(), files={"model.onnx": FileInfo(SHA, 3)}))))
    data["graph"]["batch"] = [1.0, 4.0]
    data["preprocess"]["mean"] = [0, 1, 0]
    validate(data)
    back = from_json(data)
    assert [type(size) for size in back.graph.batch] == [int, int]
    assert [type(value) for value in back.preprocess.mean] == [float, float, float]


def _resolve(node: dict[str, Any]) -> dict[str, Any]:
    return SCHEMA["definitions"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def _pairs(kind: Any, node: dict[str, Any]) -> list[tuple[Any, dict[str, Any]]]:
    """Every dataclass reachable from `kind`, with the part of the schema that describes it."""
    node = _resolve(node)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return [pair for option in arguments for pair in _pairs(option, node)]
    if origin is tuple:
        return _pairs(arguments[0], node["items"])
    if origin is dict:
        return _pairs(arguments[1], node["additionalProperties"])
    if not dataclasses.is_dataclass(kind):
        return []
    hints = typing.get_type_hints(kind)
    return [(kind, node), *(pair for name, hint in hints.items() for pair in _pairs(hint, node["properties"][name]))]


_BUNDLE = _pairs(Bundle, SCHEMA["definitions"]["bundle"])
PAIRS = [*_pairs(Manifest, SCHEMA), *(pair for pair in _BUNDLE if pair[0] in (Bundle, Part))]


ADDED_LATER = {
    Agreement: {"method"},
    Budget: {"mask_iou", "score_error"},
    EngineInfo: {"attention", "notes", "lowered", "int8"},
    FrameAgreement: {"mask_iou", "score_error"},
    Int8Info: {"warnings", "source", "max_error", "spread"},
}
"""Fields with defaults, so that artifacts of earlier versions stay readable."""


def test_artifacts_of_earlier_versions_stay_readable() -> None:
    document = json.loads(
        json.dumps(to_json(replace(sample_manifest("engine"), files={"model.onnx": FileInfo(SHA, 1)})))
    )
    del document["agreement"]["method"]
    for name in ("attention", "notes", "lowered", "int8"):
        del document["engine"][name]
    for frame in document["agreement"]["frames"]:
        del frame["mask_iou"], frame["score_error"]
    del document["agreement"]["budget"]["mask_iou"], document["agreement"]["budget"]["score_error"]
    validate(document)
    manifest = from_json(document)
    assert {frame.mask_iou for frame in manifest.agreement.frames} == {None}
    assert manifest.engine is not None
    assert (manifest.agreement.method, manifest.engine.attention, manifest.engine.notes) == (ITSELF, "portable", ())
    assert (manifest.engine.lowered, manifest.engine.int8) == (None, None)


@pytest.mark.parametrize(("kind", "node"), PAIRS, ids=[kind.__name__ for kind, _ in PAIRS])
def test_the_schema_names_exactly_the_fields(kind: Any, node: dict[str, Any]) -> None:
    names = {field.name for field in dataclasses.fields(kind)}
    assert set(node["properties"]) == names
    assert set(node["required"]) == names - ADDED_LATER.get(kind, set())
    assert node["additionalProperties"] is False


def test_every_dataclass_is_published() -> None:
    classes = {value for value in vars(evit_deploy.manifest).values() if dataclasses.is_dataclass(value)}
    assert {kind for kind, _ in PAIRS} == classes


def test_the_schema_is_of_this_version() -> None:
    assert SCHEMA["properties"]["schema"]["enum"] == [SCHEMA_VERSION]


def test_the_schema_knows_every_word_the_package_uses() -> None:
    model, graph = SCHEMA["definitions"]["model"]["properties"], SCHEMA["properties"]["graph"]["properties"]
    assert {spec.task for spec in MODELS.values()} <= set(model["task"]["enum"])
    assert {spec.dataset for spec in MODELS.values()} <= set(model["dataset"]["enum"])
    assert set(PRECISIONS) == set(graph["precision"]["enum"])
    assert set(PRECISIONS) == set(SCHEMA["properties"]["engine"]["properties"]["precision"]["enum"])
    exporter = pytest.importorskip("evit_deploy.export.exporter")
    assert {*exporter.INPUTS, "prompts"} == set(graph["input"]["enum"])
    assert {*exporter.OUTPUTS, "embedding", "masks", "pixels"} == set(graph["output"]["enum"])
