# SPDX-License-Identifier: Apache-2.0
"""What a wheel holds, and what a robot that installs it without extras can do."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that nothing is left in the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "evit_deploy", source / "evit_deploy", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(source / "dist")]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return next((source / "dist").glob("*.whl"))


def test_wheel_holds_code_and_data_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    web = [
        path.name
        for path in (ROOT / "evit_deploy" / "cli" / "web").iterdir()
        if path.suffix in (".html", ".css", ".js")
    ]
    assert len(web) > 2
    for needed in (
        "evit_deploy/py.typed",
        "evit_deploy/manifest/schema.json",
        "evit_deploy/data/imagenet_classes.txt",
        "evit_deploy/data/ade20k_classes.txt",
        "evit_deploy/models/demo/b0-seg.safetensors",
        "evit_deploy/models/demo/b1-seg.safetensors",
        *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "evit_deploy/profiles/pages").glob("*.html"))),
        *(
            f"evit_deploy/profiles/predict/{name}"
            for name in ("calibration.json", "published.json", "zoo_plans.json.xz")
        ),
        *(f"evit_deploy/cli/web/{name}" for name in web),
        "evit_deploy/profiles/selftest.tar.xz",
    ):
        assert needed in names
    assert all(name.startswith(("evit_deploy/", "evit_deploy-")) for name in names)
    assert not [name for name in names if "/test" in name or name.endswith((".onnx", ".npz"))]
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_runtime_requires_numpy_alone():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 cannot read TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [requirement.split(">")[0] for requirement in project["dependencies"]] == ["numpy"]


def test_a_robot_with_numpy_and_one_backend(wheel, small_workspace, tmp_path):
    """The unpacked wheel, in a Python that sees only numpy and ONNX Runtime (and what that one needs)."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    engine = small_workspace / "engines" / "b0-seg.cpu.fp32.onnxruntime"
    program = f"""
import sys
class Refuse:
    allowed = {{*sys.stdlib_module_names, "numpy", "onnxruntime", "evit_deploy", "flatbuffers", "packaging", "google"}}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in self.allowed:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import numpy, evit_deploy
assert evit_deploy.__file__.startswith({str(tmp_path)!r}), evit_deploy.__file__
with evit_deploy.load({str(engine)!r}) as task:
    print(task(numpy.zeros((90, 120, 3), numpy.uint8)).class_map.shape)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "site", capture_output=True, text=True, check=False
    )
    assert result.stdout.strip() == "(90, 120)", result.stderr


@pytest.mark.parametrize("package", ["torch", "onnx", "onnxsim", "onnxruntime"])
def test_export_without_its_extra_names_it(tmp_path, package):
    code = f"import sys; sys.modules[{package!r}] = None; from evit_deploy.cli.main import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, "export", "b0-seg", "--workspace", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 3, result.stderr
    assert f"'{package}', which is not installed" in result.stderr
    assert "pip install 'evit-deploy[export]'" in result.stderr
