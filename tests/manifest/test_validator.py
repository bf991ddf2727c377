# SPDX-License-Identifier: Apache-2.0
"""The generated validator: up to date, and of one mind with the jsonschema library."""

from __future__ import annotations

import copy
import importlib.util
import json
import operator
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evit_deploy.manifest
from evit_deploy.manifest import FileInfo, Part
from evit_deploy.manifest._validator import SchemaError, validate, validate_bundle
from evit_deploy.manifest.model import from_json, to_json
from tests.manifest.sample import SHA, sample_bundle, sample_int8, sample_manifest

jsonschema = pytest.importorskip("jsonschema")

PACKAGE = Path(evit_deploy.manifest.__file__).parent
SCHEMA = json.loads((PACKAGE / "schema.json").read_text(encoding="utf-8"))
TOOL = Path(__file__).parents[2] / "tools" / "make_validator.py"


def _valid(kind: str) -> dict[str, Any]:
    manifest = replace(sample_manifest(kind), files={"model.onnx": FileInfo(SHA, 7), "reference.npz": FileInfo(SHA, 0)})
    if manifest.engine is not None:
        manifest = replace(manifest, engine=replace(manifest.engine, int8=sample_int8()))
    data: dict[str, Any] = json.loads(json.dumps(to_json(manifest)))
    return data


def _containers(value: Any) -> list[Any]:
    """All objects and arrays inside a JSON value, itself first."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [*([value] if isinstance(value, (dict, list)) else []), *(c for item in inner for c in _containers(item))]


SCALARS: list[Any] = [
    None, True, False, -2, -1, 0, 1, 1.0, 1.5, 16, 17, 31, 32, 2**70, 1e300, "", "cls", "image", "fp64", "uint8",
    SHA, SHA.upper(), SHA[1:], SHA + "0", "g" * 64,
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(SCALARS), st.text(max_size=3), st.lists(st.sampled_from(SCALARS), max_size=4),
    st.dictionaries(st.text(max_size=2), st.sampled_from(SCALARS), max_size=2),
)  # fmt: skip


@st.composite
def _mutated(draw: st.DrawFn) -> Any:
    """A valid manifest with one to three things changed."""
    data = draw(st.sampled_from(["export", "engine"]).map(_valid))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(_containers(data)))
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        action = draw(st.sampled_from(["replace", "drop", "add", "swap"] if keys else ["add"]))
        if action == "add" and isinstance(place, dict):
            place[draw(st.text(max_size=3))] = draw(VALUES)
        elif action == "add":
            place.append(draw(VALUES))
        elif action == "drop":
            place.pop(draw(st.sampled_from(keys)))
        elif action == "replace":
            place[draw(st.sampled_from(keys))] = draw(VALUES)
        else:  # a value that is right elsewhere
            other = draw(st.sampled_from(_containers(data)))
            place[draw(st.sampled_from(keys))] = copy.deepcopy(other)
    return data


def _valid_bundle() -> dict[str, Any]:
    parts = {"encoder": Part(SHA, SHA), "decoder-8": Part(SHA, SHA)}
    data: dict[str, Any] = json.loads(json.dumps(to_json(replace(sample_bundle(), parts=parts))))
    return data


@st.composite
def _mutated_bundle(draw: st.DrawFn) -> Any:
    """The manifest of a bundle with one or two things changed."""
    data = _valid_bundle()
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from([value for value in _containers(data) if isinstance(value, dict)]))
        if draw(st.booleans()) and place:
            place[draw(st.sampled_from(list(place)))] = draw(VALUES)
        else:
            place[draw(st.sampled_from(["../encoder", "decoder-", "decoder-64", "files", "A", ""]))] = draw(VALUES)
    return data


@settings(max_examples=200, deadline=None)
@given(_mutated_bundle())
def test_it_agrees_with_jsonschema_about_bundles(data: Any) -> None:
    schema = {**SCHEMA["definitions"]["bundle"], "definitions": SCHEMA["definitions"]}
    assert _accepts(data, validate_bundle) == jsonschema.Draft7Validator(schema).is_valid(data)


def test_it_accepts_a_bundle_that_is_right() -> None:
    validate_bundle(_valid_bundle())
    assert not _accepts(_valid_bundle())


def _accepts(data: Any, check: Callable[[Any], Any] = validate) -> bool:
    try:
        check(data)
    except SchemaError:
        return False
    return True


@settings(max_examples=400, deadline=None)
@given(_mutated())
def test_it_agrees_with_jsonschema(data: Any) -> None:
    assert _accepts(data) == jsonschema.Draft7Validator(SCHEMA).is_valid(data)


@pytest.mark.parametrize("kind", ["export", "engine"])
def test_it_accepts_what_is_right(kind: str) -> None:
    data = _valid(kind)
    validate(data)
    jsonschema.Draft7Validator(SCHEMA).validate(data)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in [(*path, key), *_paths(item, (*path, key))]]


OPEN = {"machine", "environment", "files", "methods", "sensitivity"}
DEFAULTS = {
    ("agreement", "method"): "the artifact itself",
    ("engine", "attention"): "portable",
    ("engine", "notes"): (),
    ("engine", "lowered"): None,
    ("engine", "int8"): None,
    ("engine", "int8", "warnings"): (),
    ("engine", "int8", "source"): "",
    ("engine", "int8", "max_error"): None,
    ("engine", "int8", "spread"): 0.0,
    ("engine", "lowered", "agreement", "method"): "the artifact itself",
    ("agreement", "budget", "mask_iou"): 0.99,
    ("agreement", "budget", "score_error"): 0.02,
    ("engine", "lowered", "agreement", "budget", "mask_iou"): 0.99,
    ("engine", "lowered", "agreement", "budget", "score_error"): 0.02,
}
"""Keys that came later, and what their absence means."""
IN_FRAMES = {"mask_iou", "score_error"}
"""Keys that came later, in lists."""
REQUIRED = [
    path
    for path in _paths(_valid("engine"))
    if isinstance(path[-1], str) and not (len(path) > 1 and path[-2] in OPEN) and path not in DEFAULTS
    if path[-1] not in IN_FRAMES
]


@pytest.mark.parametrize("path", REQUIRED, ids=lambda path: ".".join(map(str, path)))
def test_every_key_is_required_and_none_may_be_added(path: tuple[Any, ...]) -> None:
    data = _valid("engine")
    place = data
    for key in path[:-1]:
        place = place[key]
    value = place.pop(path[-1])
    with pytest.raises(SchemaError, match=rf"must contain .*'{path[-1]}'"):
        validate(data)
    place[path[-1]] = value
    place["surplus"] = 1
    with pytest.raises(SchemaError, match=r"must not contain .*surplus"):
        validate(data)


@pytest.mark.parametrize("path", DEFAULTS, ids=".".join)
def test_a_manifest_without_a_later_key_is_read(path: tuple[str, ...]) -> None:
    data = place = _valid("engine")
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    validate(data)
    jsonschema.Draft7Validator(SCHEMA).validate(data)
    assert operator.attrgetter(".".join(path))(from_json(data)) == DEFAULTS[path]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("agreement", "method"), None, "string"),
        (("engine", "attention"), 1, "string"),
        (("engine", "notes"), "one text", "array"),
        (("engine", "lowered"), "a key", "object"),
        (("engine", "lowered", "key"), "short", "pattern"),
        (("engine", "lowered", "agreement", "frames"), [], "at least"),
        (("engine", "notes"), [1], "string"),
        (("engine", "int8"), "fast", "object"),
        (("engine", "int8", "metric"), "luck", "one of"),
        (("engine", "int8", "mac_share"), 1.5, "smaller than or equal to 1"),
        (("engine", "int8", "images"), 0, "bigger than or equal to 1"),
        (("engine", "int8", "full"), None, "object"),
        (("engine", "int8", "sensitivity"), {"/conv": "much"}, "number"),
        (("key",), SHA.upper(), "pattern"),
        (("key",), SHA[1:], "pattern"),
        (("key",), SHA + "\n", "pattern"),
        (("weights", "sha256"), 7, "string"),
        (("model", "task"), "detect", "one of"),
        (("graph", "precision"), 3, "one of"),
        (("graph", "opset"), 16, "bigger than or equal to 17"),
        (("graph", "opset"), True, "integer"),
        (("graph", "batch"), [0, 1], "bigger than or equal to 1"),
        (("graph", "resolution"), [64], "at least 2"),
        (("agreement", "frames"), [], "at least 1"),
        (("preprocess", "mean"), [0.0, 0.0], "at least 3"),
        (("files",), {}, "at least 1"),
        (("engine", "machine"), {"cores": 2}, "string"),
        (("warnings",), "one text", "array"),
    ],
)
def test_the_refusal_says_where_and_what(path: tuple[str, ...], value: Any, words: str) -> None:
    data = _valid("engine")
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(SchemaError) as caught:
        validate(data)
    assert ".".join(path) in str(caught.value)
    assert words in str(caught.value)


@pytest.fixture
def tool() -> ModuleType:
    pytest.importorskip("fastjsonschema")
    spec = importlib.util.spec_from_file_location("make_validator", TOOL)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_up_to_date() -> None:
    pytest.importorskip("fastjsonschema")
    done = subprocess.run([sys.executable, str(TOOL), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, "run python tools/make_validator.py"


def test_the_check_sees_a_changed_schema(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "manifest"
    package.mkdir()
    shutil.copy(PACKAGE / "_validator.py", package)
    (package / "schema.json").write_text(json.dumps({**SCHEMA, "minProperties": 3}), encoding="utf-8")
    monkeypatch.setattr(tool, "PACKAGE", package)
    monkeypatch.setattr(sys, "argv", ["make_validator.py", "--check"])
    assert tool.main() == 1
    monkeypatch.setattr(sys, "argv", ["make_validator.py"])
    tool.main()
    monkeypatch.setattr(sys, "argv", ["make_validator.py", "--check"])
    assert tool.main() == 0


def test_it_needs_no_package() -> None:
    program = "import sys, evit_deploy.manifest; print([m for m in sys.modules if 'jsonschema' in m or m == 'numpy'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
