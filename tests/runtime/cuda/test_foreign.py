# SPDX-License-Identifier: Apache-2.0
"""Plans that are foreign, altered or not trusted: none of them reaches TensorRT."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import evit_deploy
from evit_deploy.errors import ArtifactError
from evit_deploy.manifest import Manifest, read_artifact
from evit_deploy.manifest.keys import make_key, read_private_key
from evit_deploy.manifest.signing import TRUSTED_KEYS, SignatureError, sign
from evit_deploy.runtime import compatibility, open_engine
from evit_deploy.runtime.compatibility import EngineMismatchError, this_system
from evit_deploy.targets import device
from evit_deploy.targets.device import Device, machine_record
from evit_deploy.targets.machine import describe
from tests.runtime.cuda.conftest import ORIN
from tests.runtime.doubles import bench
from tests.runtime.doubles.trt import plan_of


@pytest.fixture
def sealed(double: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The double, whose TensorRT must not be given a plan."""

    def given(*_: object) -> None:
        raise AssertionError("TensorRT was given a plan")

    monkeypatch.delenv(TRUSTED_KEYS, raising=False)
    monkeypatch.setattr(sys.modules["tensorrt"].Runtime, "deserialize_cuda_engine", given)
    return double


def engine(machine: Any, version: str = "10.3.0", **recorded: str) -> tuple[Path, Manifest]:
    """An engine that this machine, or another one, compiled."""
    folder = machine.tmp / "engine"
    record = {"compute capability": "8.7", **{name.replace("_", " "): text for name, text in recorded.items()}}
    bench.write_engine(folder, plan_of(bench.small_graph()), version=version, machine=record)
    return folder, read_artifact(folder)


FOREIGN: list[tuple[dict[str, str], str, str]] = [
    ({"version": "10.16.2"}, "TensorRT 10.16.2", "TensorRT 10.3.0"),
    ({"version": "11.4.0.106"}, "TensorRT 11.4.0.106", "TensorRT 10.3.0"),
    ({"version": "10.2.0"}, "TensorRT 10.2.0", "TensorRT 10.3.0"),
    ({"compute_capability": "8.0"}, "SM 8.0", "SM 8.7"),
    ({"system": "Plan9 4", "architecture": "riscv64"}, "Plan9 riscv64", this_system()),
]


@pytest.mark.parametrize(("made", "theirs", "ours"), FOREIGN)
def test_a_foreign_plan_never_reaches_tensorrt(made: dict[str, str], theirs: str, ours: str, sealed: Any) -> None:
    folder, manifest = engine(sealed, **made)
    with pytest.raises(EngineMismatchError) as caught:
        open_engine(folder, manifest)
    assert f"engine:   {theirs}\n" in str(caught.value)
    assert f"device:   {ours}\n" in str(caught.value)
    assert caught.value.fix == f"evit-deploy build {folder}"


def _flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


ALTERED = {"cut": lambda data: data[:-1], "empty": lambda _: b"", "flipped": _flip, "longer": lambda data: data + b"\0"}


@pytest.mark.parametrize("change", ALTERED.values(), ids=ALTERED)
def test_an_altered_plan_never_reaches_tensorrt(change: Callable[[bytes], bytes], sealed: Any) -> None:
    """Also where it is altered after everything was checked."""
    folder, manifest = engine(sealed)
    plan = folder / "engine.plan"
    plan.write_bytes(change(plan.read_bytes()))
    with pytest.raises(ArtifactError, match="not the file that was verified"):
        evit_deploy.load(folder)
    with pytest.raises(ArtifactError, match="not the file that was verified"):
        open_engine(folder, manifest)


def test_a_plan_that_is_gone(sealed: Any) -> None:
    folder, manifest = engine(sealed)
    (folder / "engine.plan").unlink()
    with pytest.raises(ArtifactError, match="incomplete"):
        open_engine(folder, manifest)


def test_a_plan_that_nobody_signed_never_reaches_tensorrt(sealed: Any) -> None:
    folder, _ = engine(sealed)
    make_key(sealed.tmp / "release.key")
    with pytest.raises(SignatureError, match="is not signed"):
        evit_deploy.load(folder, trusted_keys=sealed.tmp / "release.key.pub")


def test_a_signed_plan_runs(double: Any) -> None:
    folder, _ = engine(double)
    make_key(double.tmp / "release.key")
    sign(folder, read_private_key(double.tmp / "release.key"))
    with evit_deploy.load(folder, trusted_keys=double.tmp / "release.key.pub") as task:
        image = bench.frame(1)
        assert bench.agree(task.infer({"image": image}), image)


def test_another_power_mode_is_told_and_runs(double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here = replace(ORIN, multiprocessors=8, power_mode="30W", power_modes=((0, "MAXN"), (2, "30W")))
    monkeypatch.setattr(compatibility, "this_device", lambda: here)
    folder, manifest = engine(double, multiprocessors="16", power_mode="MAXN")
    with pytest.warns(UserWarning, match="compiled elsewhere") as told, open_engine(folder, manifest) as opened:
        image = bench.frame(2)
        assert bench.agree(opened.infer({"image": image}), image)
    assert len(told) == 1
    assert "engine: 16 SMs, mode MAXN; device: 8 SMs, mode 30W" in str(told[0].message)
    assert "sudo nvpmodel -m 0" in str(told[0].message)


@pytest.mark.parametrize("rtx", [False, True])
def test_another_gpu_of_this_machine_is_named_in_the_command(
    rtx: bool, make_double: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    double, asked = make_double(rtx=rtx), []

    def read(index: int) -> Device:
        asked.append(index)
        return replace(ORIN, compute_capability="8.6" if rtx else "8.7")

    monkeypatch.setattr(device, "read_device", read)
    folder = double.tmp / "engine"
    record = {"compute capability": "8.0"}
    bench.write_engine(folder, plan_of(bench.small_graph()), backend=double.backend, machine=record)
    with pytest.raises(EngineMismatchError) as caught:
        open_engine(folder, read_artifact(folder), device=1)
    assert caught.value.fix == f"CUDA_VISIBLE_DEVICES=1 evit-deploy build {folder}"
    assert asked == [1]


def test_an_engine_for_orin_that_an_nx_compiled_is_silent_there(double: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its target is another board; what counts is where it was compiled."""
    board = "NVIDIA Jetson Orin NX Engineering Reference Developer Kit"
    here = replace(ORIN, multiprocessors=8, memory_gb=16.3, board=board, l4t="36.4.3", power_mode="25W")
    monkeypatch.setattr(compatibility, "this_device", lambda: here)
    folder = double.tmp / "engine"
    bench.write_engine(folder, plan_of(bench.small_graph()), machine={**describe(), **machine_record(here)})
    manifest = read_artifact(folder)
    assert manifest.engine is not None
    assert manifest.engine.target == "orin"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_engine(folder, manifest).close()


def test_the_same_machine_is_silent(double: Any) -> None:
    folder, manifest = engine(double, multiprocessors="16", gpu="Orin", driver="12.6")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_engine(folder, manifest).close()
