# SPDX-License-Identifier: Apache-2.0
"""Loading: unsigned engines are refused before they are used, foreign ones are refused or compiled again."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evit_deploy
from evit_deploy import runtime
from evit_deploy.engines import compilation, compiler, rebuild
from evit_deploy.errors import (
    ArtifactError,
    CheckFailedError,
    EvitError,
    MissingExtraError,
    UnavailableError,
    UsageError,
)
from evit_deploy.manifest import read_artifact, read_manifest
from evit_deploy.manifest.keys import make_key, read_private_key
from evit_deploy.manifest.signing import SIGNATURE, TRUSTED_KEYS, SignatureError, sign
from evit_deploy.runtime import compatibility
from evit_deploy.runtime.compatibility import EngineMismatchError, Mismatch
from tests.conftest import require
from tests.manifest.sample import snapshot, write_sample
from tests.runtime.test_compatibility import RTX


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRUSTED_KEYS, raising=False)


def mismatch(folder: Path, *, curable: bool = True) -> EngineMismatchError:
    fix = f"evit-deploy build {folder}"
    row = Mismatch("TensorRT", "TensorRT 10.3.0", "TensorRT 10.16.2", True, "it is so", fix, curable)
    return EngineMismatchError(folder, (row,))


class Bench:
    """A runtime and a compiler that do as they are told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.errors: list[EvitError] = []
        self.compile_error: EvitError | None = None
        self.loads: list[tuple[Path, dict[str, Any]]] = []
        self.compiled: list[tuple[Path, Path]] = []
        monkeypatch.setattr(runtime, "load", self.load)
        monkeypatch.setattr(rebuild, "compile_engine", self.compile)

    def load(self, folder: Path, **options: Any) -> str:
        self.loads.append((folder, options))
        if self.errors:
            raise self.errors.pop(0)
        return "a task"

    def compile(self, source: Path, folder: Path, *, progress: Any) -> Any:
        self.compiled.append((source, folder))
        if self.compile_error:
            raise self.compile_error
        with progress("compile with tensorrt") as step:
            step.advance()
        return read_manifest(folder), True


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_sample(tmp_path / "engine", "engine")
    return tmp_path / "engine"


# Which engines are compiled again


def test_all_options_reach_the_runtime(bench: Bench, folder: Path) -> None:
    evit_deploy.load(str(folder), threads=3, device=1, in_flight=4, trusted_keys="keys")
    assert bench.loads == [(folder, {"threads": 3, "device": 1, "in_flight": 4, "trusted_keys": "keys"})]


@pytest.mark.parametrize("word", ["always", "", None, True])
def test_another_word_for_rebuild(word: Any, bench: Bench, folder: Path) -> None:
    with pytest.raises(UsageError, match="no such way to rebuild") as caught:
        evit_deploy.load(folder, rebuild=word)
    assert caught.value.expected == "'never' or 'if-needed'"
    assert bench.loads == []


def test_a_foreign_engine_is_refused_by_default(bench: Bench, folder: Path) -> None:
    error = mismatch(folder)
    bench.errors = [error]
    with pytest.raises(EngineMismatchError) as caught:
        evit_deploy.load(folder)
    assert caught.value is error
    assert bench.compiled == []


def test_a_foreign_engine_is_compiled_again_where_that_is_wanted(
    bench: Bench, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench.errors = [mismatch(folder)]
    with caplog.at_level(logging.INFO, "evit_deploy"), pytest.warns(UserWarning, match="compiled again") as told:
        assert evit_deploy.load(folder, rebuild="if-needed", threads=2) == "a task"
    assert bench.compiled == [(folder, folder)]
    assert bench.loads[0] == bench.loads[1]
    assert "engine: TensorRT 10.3.0; device: TensorRT 10.16.2" in str(told[0].message)
    assert told[0].filename == __file__
    assert caplog.messages == ["compile with tensorrt", f"{folder} was compiled by onnxruntime 1.2.3"]


def test_only_the_first_gpu_is_compiled_for(bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    error = mismatch(folder)
    bench.errors = [error]
    with pytest.raises(UnavailableError, match="for the first GPU alone") as caught:
        evit_deploy.load(folder, rebuild="if-needed", device=2)
    assert caught.value.fix == f"CUDA_VISIBLE_DEVICES=2 evit-deploy build {folder}"
    assert "device=2" in str(caught.value.found)
    assert caught.value.__cause__ is error
    assert bench.compiled == []


@pytest.mark.parametrize("device", [0, 2])
def test_an_engine_that_runs_is_left_alone(device: int, bench: Bench, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert evit_deploy.load(folder, rebuild="if-needed", device=device) == "a task"
    assert bench.compiled == []


def test_a_lowered_engine_is_compiled(bench: Bench, gpu_workspace: Path) -> None:
    folder = gpu_workspace / "engines" / "b0-seg.orin.fp16"
    bench.errors = [UnavailableError("it is lowered but not compiled yet")]
    with pytest.warns(UserWarning, match="compiled again"):
        evit_deploy.load(folder, rebuild="if-needed")
    assert bench.compiled == [(folder, folder)]


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: mismatch(folder, curable=False),
        lambda _: MissingExtraError("tensorrt", "tensorrt", "This engine"),
        lambda _: UnavailableError("no GPU"),
        lambda _: ArtifactError("damaged"),
        lambda _: UsageError("an export"),
    ],
    ids=["another target", "no library", "no GPU", "damaged", "an export"],
)
def test_what_compiling_does_not_help_is_refused(make: Callable[[Path], EvitError], bench: Bench, folder: Path) -> None:
    error = make(folder)
    bench.errors = [error]
    with pytest.raises(EvitError) as caught:
        evit_deploy.load(folder, rebuild="if-needed")
    assert caught.value is error
    assert bench.compiled == []


def test_it_is_compiled_once(bench: Bench, folder: Path) -> None:
    bench.errors = [mismatch(folder), mismatch(folder)]
    with pytest.raises(EngineMismatchError), pytest.warns(UserWarning, match="compiled again"):
        evit_deploy.load(folder, rebuild="if-needed")
    assert len(bench.compiled) == 1


@pytest.mark.parametrize("error", [CheckFailedError("it disagrees"), UnavailableError("no compiler")])
def test_a_compilation_that_fails_is_told(error: EvitError, bench: Bench, folder: Path) -> None:
    bench.errors, bench.compile_error = [mismatch(folder)], error
    with pytest.raises(EvitError) as caught, pytest.warns(UserWarning, match="compiled again"):
        evit_deploy.load(folder, rebuild="if-needed")
    assert caught.value is error
    assert isinstance(error.__context__, EngineMismatchError)
    assert len(bench.loads) == 1


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_where_signatures_are_wanted_nothing_is_compiled_again(
    by: str, bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.errors = [mismatch(folder)]
    if by == "environment":
        monkeypatch.setenv(TRUSTED_KEYS, "keys")
    with pytest.raises(UnavailableError, match="nobody would have signed") as caught:
        evit_deploy.load(folder, rebuild="if-needed", trusted_keys="keys" if by == "argument" else None)
    assert caught.value.fix == f"evit-deploy build {folder}, then evit-deploy sign {folder} --key FILE"
    assert bench.compiled == []


def test_the_commands_quote_the_folder(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "my engines" / "b0"
    write_sample(folder, "engine")
    bench.errors = [mismatch(folder)]
    with pytest.raises(UnavailableError, match="nobody would have signed") as caught:
        evit_deploy.load(folder, rebuild="if-needed", trusted_keys="keys")
    assert caught.value.fix == f"evit-deploy build '{folder}', then evit-deploy sign '{folder}' --key FILE"


def test_a_real_compiler_makes_the_engine_that_was_needed(
    gpu_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT-RTX's engine for SM80 meets an RTX 3090; the one for SM86 that follows is what is tried next."""
    require("tensorrt_rtx")
    folder = Path(shutil.copytree(gpu_workspace / "engines" / "b0-seg.rtx-sm80.fp16", tmp_path / "engine"))
    before = snapshot(folder)
    # The compiler's own version is right here; only the GPU is pretended.
    monkeypatch.setattr(compatibility, "this_device", lambda: RTX)
    monkeypatch.setattr(compiler, "gpu_compute_capability", lambda: RTX.compute_capability)
    with pytest.raises(EngineMismatchError) as caught:
        evit_deploy.load(folder)
    assert (caught.value.engine, caught.value.device) == ("SM 8.0", "SM 8.6")
    assert caught.value.fix == f"evit-deploy build {folder}"
    assert snapshot(folder) == before
    tried = []

    def reached(*_: Any, **__: Any) -> Any:
        tried.append(read_artifact(folder))
        raise UnavailableError("the GPU is pretended")

    from evit_deploy.runtime.backends import tensorrt_rtx

    monkeypatch.setattr(tensorrt_rtx, "open_device", reached)
    with pytest.raises(UnavailableError, match="pretended"), pytest.warns(UserWarning, match="compiled again"):
        evit_deploy.load(folder, rebuild="if-needed")
    (made,) = tried
    assert made.engine is not None
    assert made.engine.machine["arch"] == "sm86"
    assert (folder / made.graph.file).read_bytes() == before[made.graph.file]
    assert (folder / made.engine.entry).read_bytes() != before[made.engine.entry]


# Signatures of real engines


@pytest.fixture
def trusted(tmp_path: Path, own_engine: Path) -> Path:
    """Keys that signed the engine."""
    make_key(tmp_path / "release.key")
    sign(own_engine, read_private_key(tmp_path / "release.key"))
    (tmp_path / "trusted").mkdir()
    shutil.copy(tmp_path / "release.key.pub", tmp_path / "trusted")
    return tmp_path / "trusted"


def test_a_signed_engine_runs(own_engine: Path, trusted: Path, frame: np.ndarray) -> None:
    with evit_deploy.load(own_engine) as task:
        expected = task(frame).class_map.copy()
    with evit_deploy.load(own_engine, trusted_keys=trusted) as task:
        np.testing.assert_array_equal(task(frame).class_map, expected)


def _unsigned(folder: Path) -> None:
    (folder / SIGNATURE).unlink()


def _resigned(folder: Path) -> None:
    make_key(folder.parent / "stranger")
    sign(folder, read_private_key(folder.parent / "stranger"))


def _flipped(name: str) -> Callable[[Path], None]:
    def flip(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)

    return flip


TOUCHED = {
    "not signed": (_unsigned, SignatureError),
    "signed by another": (_resigned, SignatureError),
    "manifest": (_flipped("manifest.json"), SignatureError),
    "signature": (_flipped(SIGNATURE), SignatureError),
    "graph": (_flipped("model.optimised.onnx"), ArtifactError),
    "reference": (_flipped("reference.npz"), ArtifactError),
}


@pytest.mark.parametrize("by", ["argument", "environment"])
@pytest.mark.parametrize("name", TOUCHED)
def test_what_was_touched_never_reaches_a_backend(
    name: str, by: str, own_engine: Path, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch, kind = TOUCHED[name]
    touch(own_engine)

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("it was opened")

    monkeypatch.setattr(runtime, "open_engine", opened)
    if by == "environment":
        monkeypatch.setenv(TRUSTED_KEYS, str(trusted))
    with pytest.raises(kind):
        evit_deploy.load(own_engine, trusted_keys=trusted if by == "argument" else None)


def test_the_runtime_refuses_by_itself(own_engine: Path, trusted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _unsigned(own_engine)
    with pytest.raises(SignatureError, match="is not signed"):
        runtime.load(own_engine, trusted_keys=trusted)
    monkeypatch.setenv(TRUSTED_KEYS, str(trusted))
    with pytest.raises(SignatureError, match="is not signed"):
        runtime.load(own_engine)


def test_a_robot_without_the_extra_refuses(own_engine: Path, trusted: Path) -> None:
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "import evit_deploy\n"
        f"evit_deploy.load({str(own_engine)!r}).close()\n"
        f"evit_deploy.load({str(own_engine)!r}, trusted_keys={str(trusted)!r})\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != TRUSTED_KEYS}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "MissingExtraError" in done.stderr
    assert "evit-deploy[sign]" in done.stderr


@pytest.mark.parametrize("given", ["", Path()])
def test_an_empty_place_of_keys(given: str | Path, own_engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_engine)
    with pytest.raises(UsageError, match="the place of the trusted keys is empty"):
        evit_deploy.load(own_engine, trusted_keys=given)


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_what_nobody_signed_is_not_compiled(
    by: str, gpu_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(shutil.copytree(gpu_workspace / "engines" / "b0-seg.orin.fp16", tmp_path / "lowered"))
    make_key(tmp_path / "release.key")
    keys = tmp_path / "release.key.pub"
    if by == "environment":
        monkeypatch.setenv(TRUSTED_KEYS, str(keys))
    reached = UnavailableError("the search for a compiler")

    def choose(*_: Any, **__: Any) -> None:
        raise reached

    monkeypatch.setattr(compilation, "choose_compiler", choose)
    given: dict[str, Any] = {"trusted_keys": keys} if by == "argument" else {}
    for place in (source, tmp_path / "compiled"):
        with pytest.raises(SignatureError, match="is not signed"):
            compilation.compile_engine(source, place, **given)
    sign(source, read_private_key(tmp_path / "release.key"))
    with pytest.raises(UnavailableError) as caught:
        compilation.compile_engine(source, source, **given)
    assert caught.value is reached


def test_compiling_in_place_drops_the_signature(
    gpu_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who trusts keys signs what was compiled on the device, or keeps the lowered engine that was signed."""
    require("tensorrt_rtx")
    made = Path(shutil.copytree(gpu_workspace / "engines" / "b0-seg.rtx-sm80.fp16", tmp_path / "engine"))
    make_key(tmp_path / "release.key")
    sign(made, read_private_key(tmp_path / "release.key"))
    monkeypatch.setenv(TRUSTED_KEYS, str(tmp_path / "release.key.pub"))
    compilation.compile_engine(made, made, arch="sm86")
    assert not (made / SIGNATURE).exists()
    with pytest.raises(SignatureError, match="is not signed"):
        compilation.compile_engine(made, made, arch="sm80")


def test_signatures_cost_robots_without_keys_no_import(own_engine: Path) -> None:
    program = (
        "import sys, evit_deploy\n"
        f"evit_deploy.load({str(own_engine)!r}).close()\n"
        "print(sorted(name for name in sys.modules if name in ('cryptography', 'typer', 'torch', 'onnx')))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != TRUSTED_KEYS}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == "[]"
