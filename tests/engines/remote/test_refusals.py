# SPDX-License-Identifier: Apache-2.0
"""Devices that cannot be reached or cannot build: said in words, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evit_deploy
from evit_deploy.engines.remote import build_remote
from evit_deploy.engines.remote.client import AgentClient
from evit_deploy.engines.remote.device import NEEDED_DISK
from evit_deploy.errors import EvitError, UnavailableError, UsageError
from evit_deploy.manifest import read_artifact
from tests.devices import Device, Fleet, free_port, make_key

Change = Callable[[dict[str, Any]], None]


def refused(lowered: Path, host: str, **options: Any) -> EvitError:
    """Build where it cannot be done; nothing is written. Return the error."""
    folder = lowered.parent / "refused" / "engine"
    with pytest.raises(EvitError) as caught:
        build_remote(lowered, folder, host, **{"arch": "sm80", **options})
    assert not folder.parent.exists()
    return caught.value


# Who cannot be reached


def test_wrong_host_key(device: Device, lowered_engine: Path) -> None:
    other = make_key(device.folder / "another_key")
    known = device.fleet.folder / "known_hosts"
    known.write_text(f"{device.name} {other}")
    error = refused(lowered_engine, device.name)
    assert isinstance(error, UnavailableError)
    assert error.what == (
        f"{device.name}: its host key has changed: another machine answers under this name, or it was installed again"
    )
    assert error.found is not None
    assert error.found.startswith("ED25519 key SHA256:")
    assert error.fix is not None
    assert f"ssh-keygen -R '{device.name}'" in error.fix
    assert "/etc/ssh/ssh_host_*_key.pub" in error.fix
    assert known.read_text() == f"{device.name} {other}"


def test_unknown_host_key(device: Device, lowered_engine: Path) -> None:
    known = device.fleet.folder / "known_hosts"
    known.write_text("")
    error = refused(lowered_engine, device.name)
    assert isinstance(error, UnavailableError)
    assert "its host key is not known to you, and none is accepted unseen" in error.what
    assert error.fix is not None
    assert f"'ssh {device.name}'" in error.fix
    assert known.read_text() == ""  # nothing was accepted


def test_auth_refused(device: Device, lowered_engine: Path) -> None:
    (device.folder / "authorized_keys").write_text(make_key(device.folder / "another_key"))
    error = refused(lowered_engine, device.name)
    assert isinstance(error, UnavailableError)
    assert error.what == f"{device.name}: it refuses your key"
    assert "Permission denied (publickey)" in (error.found or "")
    assert f"ssh-copy-id {device.name}" in (error.fix or "")


def test_nobody_listens(fleet: Fleet, lowered_engine: Path) -> None:
    fleet.point("gone", free_port())
    error = refused(lowered_engine, "gone")
    assert error.what == "gone: no SSH server answers there"
    assert error.exit_code == 3


def test_no_such_name(fleet: Fleet, lowered_engine: Path) -> None:
    fleet.point("orin-a", free_port())
    error = refused(lowered_engine, "nobody@no-such-robot.invalid")
    assert error.what == "nobody@no-such-robot.invalid: there is no host of this name"
    assert error.exit_code == 3


@pytest.mark.parametrize("host", ["", "-oProxyCommand=true", "a b", "a\nb"])
def test_what_is_no_host(host: str, lowered_engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVIT_SSH", "false")
    assert isinstance(refused(lowered_engine, host), UsageError)


def test_no_ssh_client(lowered_engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVIT_SSH", "/nowhere/ssh")
    error = refused(lowered_engine, "orin-a")
    assert (error.what, error.exit_code) == ("the OpenSSH client cannot be started", 3)
    assert "/nowhere/ssh" in (error.found or "")


def test_broken_configuration(device: Device, lowered_engine: Path) -> None:
    with device.fleet.config.open("a") as file:
        file.write("NoSuchOption yes\n")
    error = refused(lowered_engine, device.name)
    assert "your ssh configuration is refused" in error.what
    assert "nosuchoption" in str(error).lower()


@pytest.mark.parametrize("form", ["{user}@127.0.0.1", "ssh://{user}@127.0.0.1:{port}"])
def test_other_ways_to_name_a_host(form: str, device: Device, lowered_engine: Path) -> None:
    """Reached by address and port, which the client knows by no key: so it is refused for that."""
    import getpass

    host = form.format(user=getpass.getuser(), port=device.port)
    if "://" not in form:
        device.fleet.config.write_text(f"Host 127.0.0.1\n  Port {device.port}\n{device.fleet.config.read_text()}")
    assert f"{host}: its host key is not known" in refused(lowered_engine, host).what


# Who has no evit-deploy that fits


def test_not_installed(device: Device, lowered_engine: Path) -> None:
    (device.home / "bin" / "evit-deploy").unlink()
    error = refused(lowered_engine, device.name)
    assert error.what == f"{device.name}: evit-deploy is not installed there"
    assert "--install" in (error.fix or "")
    assert not device.store.exists()


@pytest.mark.parametrize("place", [".local/share/evit-deploy/venv/bin", ".local/bin"])
def test_found_where_no_path_leads(place: str, device: Device, lowered_engine: Path) -> None:
    program = device.home / "bin" / "evit-deploy"
    (device.home / place).mkdir(parents=True)
    program.rename(device.home / place / "evit-deploy")
    question = {"target": "rtx", "precision": "fp16", "compiler": None, "arch": "sm80", "level": None}
    with AgentClient(device.name) as agent:
        assert agent.key(**question, lowered=read_artifact(lowered_engine).key)


def test_not_installed_and_python_too_old(device: Device, lowered_engine: Path) -> None:
    (device.home / "bin" / "evit-deploy").unlink()
    device.give("echo Python 3.8.10", "python3")
    error = refused(lowered_engine, device.name)
    assert error.what == f"{device.name}: its Python is too old"
    assert error.found == "Python 3.8.10"
    assert "JetPack 6.1" in (error.fix or "")


def test_broken(device: Device, lowered_engine: Path) -> None:
    device.give("echo \"ModuleNotFoundError: No module named 'numpy'\" >&2; exit 1")
    error = refused(lowered_engine, device.name)
    assert "evit-deploy doctor ended with exit code 1: ModuleNotFoundError" in error.what


def test_talks_something_else(device: Device, lowered_engine: Path) -> None:
    device.report(lambda data: None)
    device.give(f'if [ "$1" = agent ]; then yes hello | head -c 200000; fi\n{device.program}')
    error = refused(lowered_engine, device.name)
    assert "answers with something else than messages" in error.what


# Who cannot build


def set_version(data: dict[str, Any]) -> None:
    data["machine"]["evit-deploy"] = "0.0.7"


def set_python(data: dict[str, Any]) -> None:
    data["machine"]["python"] = "3.8.10"


def set_compiler(data: dict[str, Any]) -> None:
    for row in data["abilities"]:
        row["obstacle"] = "not installed, or broken"
    for check in data["checks"]:
        if check["name"] == "tensorrt_rtx fp16":
            check.update(ok=False, found="not installed", fix="pip install 'evit-deploy[rtx]'")


def set_disk(data: dict[str, Any]) -> None:
    data["free_disk"] = NEEDED_DISK - 1_000_000


def set_memory(data: dict[str, Any]) -> None:
    data["free_memory"] = (1 << 30) - 1


def set_shared_memory(data: dict[str, Any]) -> None:
    data["device"] = {**(data["device"] or {}), "integrated": True}
    data["free_memory"] = (2 << 30) - 1


@pytest.mark.parametrize(
    ("change", "what", "found", "fix"),
    [
        (set_version, "it has another evit-deploy than this machine", "0.0.7", "--install"),
        (set_python, "its Python is too old", "Python 3.8.10", "JetPack 6.1"),
        (set_compiler, "no compiler there builds fp16 for rtx", "tensorrt_rtx: not installed", "evit-deploy[rtx]"),
        (set_disk, "too little free disk to build there", "499 MB", "free some space"),
        (set_memory, "too little free memory to build there", "1074 MB", "end other programs"),
        (set_shared_memory, "too little free memory to build there", "2147 MB", "end other programs"),
    ],
)
def test_unfit(change: Change, what: str, found: str, fix: str, device: Device, lowered_engine: Path) -> None:
    device.report(change)
    error = refused(lowered_engine, device.name)
    assert error.what == f"{device.name}: {what}"
    assert found in (error.found or "")
    assert fix in (error.fix or "")
    assert error.exit_code == 3
    assert not device.store.exists()  # nothing was sent
    if change is set_version:
        assert error.expected == evit_deploy.__version__


def test_a_report_of_an_older_form_is_no_obstacle(device: Device, lowered_engine: Path) -> None:
    """What it does not say the agent finds out."""

    def older(data: dict[str, Any]) -> None:
        for name in ("abilities", "versions", "free_disk", "free_memory", "device"):
            data.pop(name, None)

    device.report(older)
    error = refused(lowered_engine, device.name, arch="sm99")
    assert error.what == f"{device.name}: tensorrt_rtx does not build for the architecture 'sm99'"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"arch": "sm99"}, "tensorrt_rtx does not build for the architecture 'sm99'"),
        ({"arch": None}, "rtx is many machines"),
        ({"compiler": "openvino"}, "openvino does not build for rtx"),
    ],
)
def test_the_far_sides_own_refusals(options: dict[str, Any], what: str, device: Device, lowered_engine: Path) -> None:
    error = refused(lowered_engine, device.name, **options)
    assert isinstance(error, UsageError)
    assert error.what.startswith(f"{device.name}: {what}")
    assert not device.store.exists()


def test_an_error_of_the_compiler_there(device: Device, lowered_engine: Path) -> None:
    """Its words arrive, with the kind and exit code they had there."""
    site = device.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'evit_deploy.engines.remote.worker' in ' '.join(sys.orig_argv):\n"
        "    def fail(*_): raise RuntimeError('out of tactics')\n"
        "    from evit_deploy.engines.tensorrt_rtx import COMPILER\n"
        "    type(COMPILER).compile = fail\n"
    )
    device.give(f'PYTHONPATH="{site}:$PYTHONPATH"; export PYTHONPATH\n{device.program}')
    error = refused(lowered_engine, device.name)
    assert isinstance(error, UnavailableError)
    assert error.what.startswith(f"{device.name}: tensorrt_rtx")
    assert error.found == "out of tactics"
    assert device.left() == []


@pytest.mark.parametrize("megabytes", [1, 3, 5, 7])
def test_a_disk_that_fills_up(
    megabytes: int, device: Device, lowered_engine: Path, mount_disk: Callable[[int], Path]
) -> None:
    """While the package comes, is unpacked, is copied, or the engine is written."""
    (device.home / "cache").symlink_to(mount_disk(megabytes << 20))
    error = refused(lowered_engine, device.name)
    assert error.exit_code == 3
    assert error.what.startswith(f"{device.name}: ")
    assert "No space left on device" in (error.found or "")
    assert "there" in (error.fix or "")
    assert not [name for name in device.left() if not name.endswith(".part")]
