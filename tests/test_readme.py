# SPDX-License-Identifier: Apache-2.0
"""The README keeps its promises: every command in it is run, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.test_build import HAS_BF16

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands(program):
    lines = [line.split("  #")[0].strip() for block in blocks("console") for line in block.splitlines()]
    return [line for line in lines if line.startswith(program)]


@pytest.mark.slow
def test_every_command_and_the_program(tmp_path):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    found = commands("evit-deploy")
    assert len(found) >= 14
    for command in found:
        arguments = shlex.split(command)[1:]
        result = subprocess.run(
            [sys.executable, "-m", "evit_deploy.cli.main", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        expected = 3 if "--bf16" in arguments and not HAS_BF16 else 0  # the README says which CPUs can
        assert result.returncode == expected, f"{command}\n{result.stdout}\n{result.stderr}"
    for name in ("scene.png", "profiles/b1-seg.cpu.fp32/report.html", "engines/b2-cls.cpu.fp32/manifest.json"):
        assert (tmp_path / name).is_file()
    (program,) = blocks("python")
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_every_tool_runs(tmp_path):
    """Evaluation on fewer and smaller scenes, on a copy of the weights: the last of two equal options counts."""
    shutil.copytree(ROOT / "evit_deploy" / "models" / "demo", tmp_path / "demo")
    shorter = {"train_demo": ["--held-out", "1", "--sizes", "64", "--out", tmp_path / "demo"], "draw_scenes": []}
    found = commands("python")
    assert len(found) == 2
    for command in found:
        arguments = [part.replace("/tmp/streets", str(tmp_path / "streets")) for part in shlex.split(command)[1:]]
        result = subprocess.run(
            [sys.executable, *arguments, *shorter[Path(arguments[0]).stem]],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
    assert "held_out" in (tmp_path / "demo" / "b1-seg.json").read_text()
    assert len(list((tmp_path / "streets").rglob("*_leftImg8bit.png"))) == 4


def test_make_targets_come_first_and_exist():
    first = blocks("console")[0].splitlines()
    assert [line.split("#")[0].split() for line in first] == [["make", "demo"], ["make", "test"]]
    for line in first:
        target = line.split()[1]
        assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
