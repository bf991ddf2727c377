# SPDX-License-Identifier: Apache-2.0
"""``--install``: a wheel of this very package, and how a device gets it."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import evit_deploy
from evit_deploy.engines.remote import build_remote
from evit_deploy.engines.remote.device import VENV, examine
from evit_deploy.engines.remote.install import install_there
from evit_deploy.engines.remote.wheel import make_wheel
from evit_deploy.errors import UnavailableError
from evit_deploy.manifest import read_artifact
from evit_deploy.progress import silent
from tests.devices import Device
from tests.manifest.sample import entries


@pytest.fixture
def bare(real_device: Device) -> Device:
    """A device without evit-deploy, with the Python of these tests."""
    (real_device.home / "bin" / "evit-deploy").unlink()
    real_device.without_package()
    (real_device.home / "bin" / "python3").symlink_to(sys.executable)
    return real_device


# The wheel


def test_the_wheel_is_this_package() -> None:
    wheel = make_wheel()
    assert wheel.name == f"evit_deploy-{evit_deploy.__version__}-py3-none-any.whl"
    archive = zipfile.ZipFile(io.BytesIO(wheel.data))
    assert archive.testzip() is None
    root = Path(evit_deploy.__file__).parent
    names = {f"evit_deploy/{path.relative_to(root).as_posix()}" for path in root.rglob("*.py")}
    assert names <= set(archive.namelist())
    assert archive.read("evit_deploy/errors.py") == (root / "errors.py").read_bytes()
    for data in ("manifest/schema.json", "py.typed", "data/imagenet_classes.txt"):
        assert f"evit_deploy/{data}" in archive.namelist()
    assert not [name for name in archive.namelist() if name.endswith(".pyc")]


def test_the_record_is_right() -> None:
    archive = zipfile.ZipFile(io.BytesIO(make_wheel().data))
    (record,) = [name for name in archive.namelist() if name.endswith("/RECORD")]
    rows = {name: (digest, size) for name, digest, size in csv.reader(io.StringIO(archive.read(record).decode()))}
    assert set(rows) == set(archive.namelist())
    for name in set(rows) - {record}:
        data = archive.read(name)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        assert rows[name] == (f"sha256={digest}", str(len(data)))


def test_the_same_files_give_the_same_wheel() -> None:
    assert make_wheel() == make_wheel()


def test_pip_takes_the_wheel(tmp_path: Path) -> None:
    wheel = make_wheel()
    (tmp_path / wheel.name).write_bytes(wheel.data)
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target"]
    subprocess.run([*command, tmp_path / "site", tmp_path / wheel.name], check=True, capture_output=True)
    code = "import evit_deploy, sys; print(evit_deploy.__file__, evit_deploy.__version__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "site", capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == [str(tmp_path / "site" / "evit_deploy" / "__init__.py"), evit_deploy.__version__]
    scripts = [path for path in (tmp_path / "site").rglob("evit-deploy") if path.is_file()]
    assert len(scripts) == 1


def test_metadata_of_another_version_makes_no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evit_deploy, "__version__", "9.9.9")
    with pytest.raises(UnavailableError, match="no wheel can be made") as caught:
        make_wheel()
    assert "9.9.9" in str(caught.value)


def test_what_was_never_installed_makes_no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evit_deploy.engines.remote.wheel._NAME", "evit-deploy-of-nobody")
    with pytest.raises(UnavailableError, match="no metadata"):
        make_wheel()


# The device


def test_nothing_is_installed_unasked(bare: Device, lowered_engine: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="evit-deploy is not installed there") as caught:
        build_remote(lowered_engine, tmp_path / "engine", bare.name, arch="sm80")
    assert "--install" in str(caught.value)
    assert entries(bare.home) == ["bin"]


def refused(device: Device) -> UnavailableError:
    """Try to install; nothing stays there. Return the error."""
    with pytest.raises(UnavailableError) as caught:
        install_there(device.name, silent)
    assert not (device.home / VENV).exists()
    assert not list(device.tmp.iterdir())
    return caught.value


def test_python_too_old(bare: Device) -> None:
    (bare.home / "bin" / "python3").unlink()
    bare.give('case "$1" in --version) echo "Python 3.8.10";; *) exit 1;; esac', "python3")
    error = refused(bare)
    assert error.what == f"{bare.name}: its Python is too old"
    assert error.found == "Python 3.8.10"
    assert "JetPack 6.1" in (error.fix or "")


def test_no_venv(bare: Device) -> None:
    (bare.home / "bin" / "python3").unlink()
    bare.give(
        'if [ "$1" = -m ]; then mkdir -p "$4"; echo "ensurepip is not available" >&2; exit 1; fi\n'
        f'exec "{sys.executable}" "$@"',
        "python3",
    )
    error = refused(bare)
    assert error.what == f"{bare.name}: no virtual environment can be made there"
    assert error.found == "ensurepip is not available"
    assert "python3-venv" in (error.fix or "")


def test_pip_without_an_index(bare: Device) -> None:
    bare.without_package(PIP_NO_INDEX="1", PIP_CONFIG_FILE="/dev/null", PIP_FIND_LINKS="")
    error = refused(bare)
    assert error.what == f"{bare.name}: pip cannot install evit-deploy there"
    assert "No matching distribution found" in (error.found or "")
    assert "online" in (error.fix or "")


def test_a_wheel_that_arrives_damaged(bare: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from evit_deploy.engines.remote import install

    wheel = make_wheel()
    damaged = replace(wheel, data=wheel.data[:-1] + b"x")
    monkeypatch.setattr(install, "make_wheel", lambda: damaged)
    assert refused(bare).what == f"{bare.name}: the package did not arrive whole"


@pytest.mark.slow
def test_installed_built_and_found_again(bare: Device, lowered_engine: Path, tmp_path: Path) -> None:
    """All of it: a virtual environment, pip with its index, the compiler from the system's packages, a build."""
    before = entries(bare.home)
    assert install_there(bare.name, silent)
    report = examine(bare.name)
    assert report.version == evit_deploy.__version__
    assert sorted(set(entries(bare.home)) - set(before)) in ([".local"], [".cache", ".local"], [".local", "cache"])
    assert entries(bare.home / ".local") == ["share"]
    assert not list(bare.tmp.iterdir())
    assert not install_there(bare.name, silent)  # it is there already
    rtx = next(Path(path) for path in sys.path if (Path(path) / "tensorrt_rtx").is_dir())
    (site,) = (bare.home / VENV / "lib").glob("python*/site-packages")
    (site / "system.pth").write_text(f"{rtx}\n")  # as JetPack's TensorRT comes from the system
    manifest, written = build_remote(lowered_engine, tmp_path / "engine", bare.name, arch="sm80", install=True)
    assert written
    assert manifest == read_artifact(tmp_path / "engine")
    # An upgrade that fails leaves what is there.
    (bare.home / VENV / "wheel.sha256").write_text("another\n")
    bare.without_package(PIP_NO_INDEX="1", PIP_CONFIG_FILE="/dev/null", PIP_FIND_LINKS="")
    shutil.rmtree(site / "typer")
    for info in site.glob("typer-*"):
        shutil.rmtree(info)
    (site / "system.pth").unlink()
    with pytest.raises(UnavailableError, match="pip cannot install"):
        install_there(bare.name, silent)
    assert (bare.home / VENV / "bin" / "evit-deploy").exists()
