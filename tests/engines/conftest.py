# SPDX-License-Identifier: Apache-2.0
"""Faults in the half of a build that needs no device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from evit_deploy.engines import lowered, lowering
from evit_deploy.manifest import GraphInfo, read_artifact, write_artifact

Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture
def perturb_lowering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], None]:
    """Make the lowering change every convolution's weights, as a fault in a pass would."""

    def perturb(change: Change) -> None:
        def lower_graph(source: Path, result: Path, *args: Any) -> tuple[GraphInfo, tuple[str, ...]]:
            typed = lowering.lower_graph(source, result, *args)
            edit_graph(result, lambda model: change_weights(model, change))
            return typed

        monkeypatch.setattr(lowered, "lower_graph", lower_graph)

    return perturb


def change_weights(model: onnx.ModelProto, change: Change, only: str = "") -> None:
    """Replace the weights of convolutions, all or those of one name; their types stay."""
    found = [t for t in model.graph.initializer if len(t.dims) == 4 and only in ("", t.name)]
    assert found
    for tensor in found:
        weights = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(change(weights).astype(weights.dtype), tensor.name))


def edit_graph(path: Path, edit: Callable[[onnx.ModelProto], None]) -> None:
    """Change an ONNX file in place."""
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)


def write_again(folder: Path, edit: Callable[[Path], None]) -> None:
    """Change an artifact's files and write it again, hashes and all: whole, but not what was exported."""
    manifest = read_artifact(folder)
    files = {name: (folder / name).read_bytes() for name in manifest.files}
    with write_artifact(folder) as writer:
        for name, content in files.items():
            (writer.folder / name).write_bytes(content)
        edit(writer.folder)
        writer.commit(replace(manifest, files={}))
