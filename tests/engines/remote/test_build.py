# SPDX-License-Identifier: Apache-2.0
"""Remote builds on a real SSH server, whose far side really compiles."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from evit_deploy.engines.compilation import compile_engine
from evit_deploy.engines.remote import build_remote
from evit_deploy.engines.remote.client import AgentClient
from evit_deploy.errors import ArtifactError
from evit_deploy.manifest import read_artifact
from tests.devices import Device, Heard
from tests.manifest.sample import entries, snapshot

NO_OP = 10.0  # s; 1.3 s on two idle cores, and others work on them as well


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the engine goes."""
    return tmp_path / "engines" / "b0-seg.rtx-sm80.fp16"


def test_round_trip(real_device: Device, lowered_engine: Path, folder: Path) -> None:
    device, heard = real_device, Heard()
    before = snapshot(lowered_engine)
    manifest, written = build_remote(lowered_engine, folder, device.name, arch="sm80", progress=heard)
    assert written
    assert manifest == read_artifact(folder)
    assert manifest.engine is not None
    assert (manifest.engine.state, manifest.engine.entry) == ("compiled", "engine.rtx")
    assert snapshot(lowered_engine) == before
    # What was built there is here, byte for byte, and beside it what was measured there.
    (job,) = (device.store / "jobs").iterdir()
    there = {name: data for name, data in snapshot(job / "engine").items() if name != "manifest.json"}
    here = snapshot(folder)
    assert {name: here[name] for name in there} == there
    assert set(here) - set(there) == {"manifest.json", "profile.json"}
    assert json.loads(here["profile.json"])["engine"] == manifest.key
    assert "profile.json" in manifest.files
    # Progress of the far side is shown here, in order.
    order = ["examine the device", "send", "check the lowered engine", "compile with", "fetch engine.rtx"]
    places = [next(i for i, step in enumerate(heard.steps) if step.startswith(name)) for name in order]
    assert places == sorted(places)
    assert all(heard.marks[step] == total for step, total in heard.totals.items() if total)
    assert heard.open == 0
    assert device.left() == []
    assert entries(folder.parent) == [folder.name]
    assert not list((folder.parents[1] / "host-cache" / "evit-deploy" / "remote" / "fetched").glob("*"))


def test_the_same_engine_is_built_here_and_there(device: Device, lowered_engine: Path, tmp_path: Path) -> None:
    there, _ = build_remote(lowered_engine, tmp_path / "there", device.name, arch="sm80")
    here, _ = compile_engine(lowered_engine, tmp_path / "here", arch="sm80")
    assert there.key == here.key
    assert there.engine == here.engine
    assert there.agreement == here.agreement


def test_nothing_to_do(real_device: Device, lowered_engine: Path, folder: Path) -> None:
    device = real_device
    first, _ = build_remote(lowered_engine, folder, device.name, arch="sm80")
    before = snapshot(folder)
    shutil.rmtree(device.store)  # not even that is needed
    heard, start = Heard(), time.perf_counter()
    second, written = build_remote(lowered_engine, folder, device.name, arch="sm80", progress=heard)
    seconds = time.perf_counter() - start
    assert (second, written) == (first, False)
    assert snapshot(folder) == before
    assert not device.store.exists()
    assert heard.steps == ["examine the device"]
    assert seconds < NO_OP, f"{seconds:.1f} s"


def test_a_compiled_engine_is_compiled_again_in_its_place(device: Device, lowered_engine: Path, folder: Path) -> None:
    shutil.copytree(lowered_engine, folder)
    build_remote(folder, folder, device.name, arch="sm80")
    (package,) = entries(device.store / "packages")
    manifest, written = build_remote(folder, folder, device.name, arch="sm86")
    assert written
    assert manifest.engine is not None
    assert manifest.engine.machine["arch"] == "sm86"
    assert entries(device.store / "packages") == [package]  # the lowered half is the same, so it is not sent again


def test_a_package_that_is_there_is_not_sent(device: Device, lowered_engine: Path, tmp_path: Path) -> None:
    build_remote(lowered_engine, tmp_path / "one", device.name, arch="sm80")
    heard = Heard()
    manifest, written = build_remote(lowered_engine, tmp_path / "two", device.name, arch="sm80", progress=heard)
    assert written
    assert manifest == read_artifact(tmp_path / "two")
    assert not [step for step in heard.steps if step.startswith(("send", "compile"))]


def test_damage_there_is_repaired(device: Device, lowered_engine: Path, tmp_path: Path) -> None:
    build_remote(lowered_engine, tmp_path / "one", device.name, arch="sm80")
    for path in device.store.rglob("*"):
        if path.is_file() and path.name != "lock":
            path.write_bytes(path.read_bytes()[:-1])
    heard = Heard()
    build_remote(lowered_engine, tmp_path / "two", device.name, arch="sm80", progress=heard)
    assert [step for step in heard.steps if step.startswith("send")]
    assert [step for step in heard.steps if step.startswith("compile")]
    assert device.left() == []


@pytest.mark.parametrize("noise", ["echo Welcome to this robot", "printf '{x\\n'", "echo Welcome >&2"])
def test_a_login_may_print_a_greeting(noise: str, device: Device, lowered_engine: Path) -> None:
    (device.home / ".bashrc").write_text(f"{noise}\n")
    device.give(f"{noise}\n{device.program}")
    with AgentClient(device.name) as agent:
        assert len(agent.key(**question(lowered_engine))) == 64


def question(lowered: Path, **changes: object) -> dict[str, object]:
    """What a host asks first."""
    asked = {"target": "rtx", "precision": "fp16", "compiler": None, "arch": "sm80", "level": None}
    return {**asked, "lowered": read_artifact(lowered).key, **changes}


def test_an_engine_made_from_something_else_is_refused(
    device: Device, lowered_engine: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    def build(self, package, progress, **options):
        result = real(self, package, progress, **options)
        engine = result.manifest.engine
        other = replace(engine.lowered, key="0" * 64)
        return replace(result, manifest=replace(result.manifest, engine=replace(engine, lowered=other)))

    real = AgentClient.build
    monkeypatch.setattr(AgentClient, "build", build)
    with pytest.raises(ArtifactError, match="not made from what was sent"):
        build_remote(lowered_engine, folder, device.name, arch="sm80")
    assert not folder.exists()
