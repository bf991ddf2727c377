# SPDX-License-Identifier: Apache-2.0
"""The small export of b0-seg as it is before Q/DQ."""

from __future__ import annotations

import onnx
import pytest

from evit_deploy.precision.arrange import arrange
from evit_deploy.precision.fp16 import lower_fp16
from tests.precision.int8.graphs import toy_network


@pytest.fixture(scope="session")
def arranged(exported: onnx.ModelProto) -> onnx.ModelProto:
    """b0-seg, FP32, arranged for a GPU. Do not change it."""
    return arrange(exported)


@pytest.fixture(scope="session")
def half(arranged: onnx.ModelProto) -> onnx.ModelProto:
    """The same, typed FP16. Do not change it."""
    return lower_fp16(arranged)[0]


@pytest.fixture
def toy() -> onnx.ModelProto:
    """A network in miniature."""
    return toy_network()
