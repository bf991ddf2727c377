# SPDX-License-Identifier: Apache-2.0
"""The house keeps its shape: imports point one way, and the ground floor knows nothing of the workshop above."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "evit_deploy"
GROUND_FLOOR = ("errors", "progress", "manifest", "agreement", "targets", "data", "runtime")
FIRST_FLOOR = ("models", "export", "precision", "engines", "profiles", "cli")
FILES = sorted(PACKAGE.rglob("*.py"))
ON_DEMAND = {
    "cv2",
    "rosbags",
    "PIL",
    "onnxruntime",
    "openvino",
    "filelock",
    "cuda",
    "tensorrt",
    "tensorrt_rtx",
    "cryptography",
    "pycocotools",
}


def room(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports(path):
    """All modules a file imports, each with whether the import runs when the file is loaded."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {
        id(node) for function in ast.walk(tree) if isinstance(function, ast.FunctionDef) for node in ast.walk(function)
    }
    typing_only = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and isinstance(test.test, ast.Name) and test.test.id == "TYPE_CHECKING"
        for node in ast.walk(test)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, id(node) not in lazy
            if node.module == "evit_deploy":  # "from evit_deploy import models" imports a room as well
                rooms = {alias.name for alias in node.names} & {*GROUND_FLOOR, *FIRST_FLOOR}
                yield from ((f"evit_deploy.{name}", id(node) not in lazy) for name in rooms)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    here = room(path)
    for module, _ in imports(path):
        if not module.startswith("evit_deploy."):
            continue
        there = module.split(".")[1]
        if here in GROUND_FLOOR:
            assert there in GROUND_FLOOR, f"the ground floor imports {module}"
        elif here in FIRST_FLOOR and there in FIRST_FLOOR:
            assert FIRST_FLOOR.index(there) <= FIRST_FLOOR.index(here), f"{here} imports {module} from its right"


@pytest.mark.parametrize(
    "path", [path for path in FILES if room(path) in GROUND_FLOOR], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_ground_floor_needs_numpy_alone(path):
    import sys

    for module, at_load in imports(path):
        top = module.split(".")[0]
        if top in sys.stdlib_module_names or top in ("numpy", "evit_deploy"):
            continue
        assert top in ON_DEMAND, f"{module} has no place on the ground floor"
        assert not at_load, f"{module} must be imported where it is used"


def test_every_room_is_in_the_picture():
    rooms = {room(path) for path in FILES} - {"__init__"}
    assert rooms == set(GROUND_FLOOR) | set(FIRST_FLOOR)
    picture = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert all(f"`{name}" in picture for name in rooms)


def test_files_stay_small():
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES if path.name != "_validator.py"}
    assert not {str(path): size for path, size in sizes.items() if size > 400}


def test_every_file_says_its_licence():
    assert not [
        str(p) for p in FILES if not p.read_text(encoding="utf-8").startswith("# SPDX-License-Identifier: Apache-2.0")
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_file_is_python_3_10(path):
    """JetPack 6 has it. mypy, set to 3.10, looks after the standard library."""
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
