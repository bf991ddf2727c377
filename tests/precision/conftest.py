# SPDX-License-Identifier: Apache-2.0
"""The small export of b0-seg, in FP32 and typed half, with a frame for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from evit_deploy.export import ExportOptions, export_model
from evit_deploy.runtime.verify import Reference
from tests.precision.typed import half_graph


@pytest.fixture(scope="session")
def exported(small_workspace: Path) -> onnx.ModelProto:
    """b0-seg in FP32, 64×128, uint8 in, class map out. Do not change it."""
    return onnx.load(small_workspace / "export" / "b0-seg" / "model.onnx")


@pytest.fixture(scope="session")
def tensor_exports(tmp_path_factory: pytest.TempPathFactory) -> dict[int, onnx.ModelProto]:
    """b0-seg in FP32, 64×96, float in, logits out, at batch 1 and with a batch of 1 to 2. Do not change them."""
    models = {}
    for batch in (1, 2):
        folder = tmp_path_factory.mktemp("exports") / "export"
        options = ExportOptions(
            weights="random", resolution=(64, 96), batch=(1, batch), input="tensor", output="logits"
        )
        export_model("b0-seg", folder, options)
        models[batch] = onnx.load(folder / "model.onnx")
    return models


@pytest.fixture
def typed(exported: onnx.ModelProto) -> onnx.ModelProto:
    """The same with half for float."""
    return half_graph(exported)


@pytest.fixture(scope="session")
def feed(small_workspace: Path) -> dict[str, np.ndarray]:
    """A photo for it."""
    return {"image": Reference.load(small_workspace / "export" / "b0-seg").images[:1]}
