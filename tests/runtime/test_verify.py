# SPDX-License-Identifier: Apache-2.0
"""Verification on a robot: from the reference in the engine, without PyTorch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from evit_deploy.agreement import BUDGETS
from evit_deploy.errors import ArtifactError
from evit_deploy.manifest import read_artifact
from evit_deploy.runtime import open_engine
from evit_deploy.runtime.verify import Reference, verify


def test_an_engine_agrees_without_torch(engine_folder):
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['onnx'] = None\n"
        "from pathlib import Path\n"
        "from evit_deploy.agreement import BUDGETS\n"
        "from evit_deploy.manifest import read_artifact\n"
        "from evit_deploy.runtime import open_engine\n"
        "from evit_deploy.runtime.verify import Reference, verify\n"
        f"folder = Path({str(engine_folder)!r}); manifest = read_artifact(folder)\n"
        "with open_engine(folder, manifest) as engine:\n"
        "    print(verify(engine.infer, manifest, Reference.load(folder), BUDGETS['fp32']).passed)\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "True"


def test_a_shifted_answer_is_found(engine_folder):
    manifest, reference = read_artifact(engine_folder), Reference.load(engine_folder)
    with open_engine(engine_folder, manifest) as engine:
        honest = verify(engine.infer, manifest, reference, BUDGETS["fp32"])
        shifted = verify(
            lambda inputs: {"classes": np.roll(engine.infer(inputs)["classes"], 3, axis=2)},
            manifest, reference, BUDGETS["fp32"],
        )  # fmt: skip
    assert honest.passed
    assert not shifted.passed


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_damaged_reference(own_engine, content):
    path = own_engine / "reference.npz"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"reference\.npz cannot be read"):
        Reference.load(own_engine)
