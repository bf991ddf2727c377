# SPDX-License-Identifier: Apache-2.0
"""Scenes drawn from the command line are a Cityscapes folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from evit_deploy.data.cityscapes import read_dataset

TOOL = Path(__file__).parents[2] / "tools" / "draw_scenes.py"


def test_folder_can_be_read_back(tmp_path):
    command = [sys.executable, TOOL, tmp_path, "--count", "2", "--size", "64x96", "--first-seed", "5"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = list(read_dataset(tmp_path, "val"))
    assert [labels.shape for _, labels in found] == [(64, 96)] * 2
