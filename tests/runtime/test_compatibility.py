# SPDX-License-Identifier: Apache-2.0
"""Engines of other devices and other libraries: what is refused, what is warned about, and in which words."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.errors import UnavailableError
from evit_deploy.manifest import Manifest
from evit_deploy.runtime import compatibility
from evit_deploy.runtime.compatibility import EngineMismatchError, Mismatch, explain, require_compatible
from evit_deploy.targets.device import Device, machine_record
from tests.manifest.sample import sample_manifest

FOLDER = Path("engines/b0-seg.orin.fp16")
BUILD = f"evit-deploy build {FOLDER}"
JETSON = "Linux aarch64"

ORIN = Device(
    gpu="Orin", compute_capability="8.7", multiprocessors=16, memory_gb=64.3, integrated=True, driver="12.6",
    board="NVIDIA Jetson AGX Orin Developer Kit", l4t="36.4.3", jetpack="6.2", power_mode="MAXN",
    power_modes=((0, "MAXN"), (1, "15W"), (2, "30W"), (3, "50W")),
)  # fmt: skip
NX = replace(
    ORIN, multiprocessors=8, memory_gb=16.3, board="NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
    power_mode="25W", power_modes=((0, "MAXN"), (3, "25W")),
)  # fmt: skip
ORIN_AS_NX = replace(NX, memory_gb=64.3, board=ORIN.board)
A100 = Device(
    gpu="NVIDIA A100-SXM4-80GB", compute_capability="8.0", multiprocessors=108, memory_gb=85.1, integrated=False,
    driver="13.0",
)  # fmt: skip
RTX = replace(A100, gpu="NVIDIA GeForce RTX 3090", compute_capability="8.6", multiprocessors=82, memory_gb=25.4)


def manifest(device: Device, target: str = "orin", version: str = "10.3.0", system: str = JETSON) -> Manifest:
    """Of an engine that TensorRT compiled on a device."""
    sample = sample_manifest("engine")
    assert sample.engine is not None
    kernel, processor = system.split(" ")
    machine = {"system": f"{kernel} 5.15.148-tegra", "architecture": processor, **machine_record(device)}
    engine = replace(
        sample.engine, target=target, precision="fp16", compiler="tensorrt", compiler_version=version,
        backend="tensorrt", entry="engine.plan", machine=machine,
    )  # fmt: skip
    return replace(sample, engine=engine)


def rtx_manifest(arch: str, version: str = "1.7.1.116", processor: str = "x86_64") -> Manifest:
    """Of an engine that TensorRT-RTX compiled ahead of time, on a machine without a GPU."""
    made = manifest(RTX, "rtx", version)
    assert made.engine is not None
    machine = {"system": "Linux 6.1.0", "architecture": processor, "arch": arch}
    return replace(made, engine=replace(made.engine, compiler="tensorrt_rtx", backend="tensorrt_rtx", machine=machine))


def recorded(made: Manifest, **machine: str | None) -> Manifest:
    """The same manifest with other records of the machine; None removes one."""
    assert made.engine is not None
    kept = {**made.engine.machine, **machine}
    return replace(made, engine=replace(made.engine, machine={k: v for k, v in kept.items() if v is not None}))


def rows(made: Manifest, device: Device, version: str = "10.3.0", system: str = JETSON) -> tuple[Mismatch, ...]:
    return explain(FOLDER, made, device, version, system)


# What differs, one thing at a time: (device, version, system) -> (what, engine, device, blocks, fix)

CHANGES: dict[str, tuple[Device, str, str, tuple[str, str, str, bool, str]]] = {
    "version": (
        ORIN, "10.16.2", JETSON, ("TensorRT", "TensorRT 10.3.0", "TensorRT 10.16.2", True, BUILD),
    ),
    "older version": (
        ORIN, "10.2.9", JETSON, ("TensorRT", "TensorRT 10.3.0", "TensorRT 10.2.9", True, BUILD),
    ),
    "compute capability": (
        replace(ORIN, compute_capability="11.0"), "10.3.0", JETSON,
        ("compute capability", "SM 8.7", "SM 11.0", True, "evit-deploy build b0-seg --target thor --fp16"),
    ),
    "processor": (
        ORIN, "10.3.0", "Linux x86_64", ("system", "Linux aarch64", "Linux x86_64", True, BUILD),
    ),
    "operating system": (
        ORIN, "10.3.0", "Windows aarch64", ("system", "Linux aarch64", "Windows aarch64", True, BUILD),
    ),
    "multiprocessors": (
        replace(ORIN, multiprocessors=8), "10.3.0", JETSON, ("multiprocessors", "16 SMs", "8 SMs", False, BUILD),
    ),
    "GPU": (
        replace(ORIN, gpu="Orin (nvgpu)"), "10.3.0", JETSON, ("GPU", "Orin", "Orin (nvgpu)", False, BUILD),
    ),
    "board": (
        replace(ORIN, board="NVIDIA Jetson Orin NX Engineering Reference Developer Kit"), "10.3.0", JETSON,
        ("board", "Jetson AGX Orin", "Jetson Orin NX", False, BUILD),
    ),
    "power mode": (
        replace(ORIN, power_mode="30W"), "10.3.0", JETSON,
        ("power mode", "mode MAXN", "mode 30W", False, "sudo nvpmodel -m 0"),
    ),
    "power mode of another board": (
        replace(ORIN, power_mode="25W", power_modes=((0, "15W"), (1, "25W"))), "10.3.0", JETSON,
        ("power mode", "mode MAXN", "mode 25W", False, BUILD),
    ),
    "JetPack": (
        replace(ORIN, l4t="36.4.7", jetpack="6.2.1"), "10.3.0", JETSON,
        ("JetPack", "JetPack 6.2 (L4T 36.4.3)", "JetPack 6.2.1 (L4T 36.4.7)", False, BUILD),
    ),
    "L4T without a JetPack": (
        replace(ORIN, l4t="36.9.9", jetpack=None), "10.3.0", JETSON,
        ("JetPack", "JetPack 6.2 (L4T 36.4.3)", "L4T 36.9.9", False, BUILD),
    ),
    "driver": (
        replace(ORIN, driver="12.2"), "10.3.0", JETSON,
        ("driver", "driver for CUDA 12.6", "driver for CUDA 12.2", False, "update the NVIDIA driver"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_one_difference(name: str) -> None:
    device, version, system, (what, engine, here, blocks, fix) = CHANGES[name]
    (row,) = rows(manifest(ORIN), device, version, system)
    assert (row.what, row.engine, row.device, row.blocks, row.fix) == (what, engine, here, blocks, fix)
    assert row.why


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(CHANGES, 2)), ids="+".join)
def test_every_pair_of_differences(first: str, second: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are told, what blocks comes first, and an engine is refused exactly if one of them blocks."""
    device, version, system = ORIN, "10.3.0", JETSON
    wanted = set()
    for name in (first, second):
        other, its_version, its_system, row = CHANGES[name]
        changed = {key: value for key, value in vars(other).items() if value != getattr(ORIN, key)}
        device = replace(device, **changed)
        version = its_version if its_version != "10.3.0" else version
        system = its_system if its_system != JETSON else system
        wanted.add(row[0])
    found = rows(manifest(ORIN), device, version, system)
    if "compute capability" in wanted:
        wanted.discard("board")  # among boards of another GPU it makes no difference which one it is
    assert {row.what for row in found} == wanted
    assert [row.blocks for row in found] == sorted((row.blocks for row in found), reverse=True)
    monkeypatch.setattr(compatibility, "this_system", lambda: system)
    if not found[0].blocks:
        with pytest.warns(UserWarning, match="was compiled elsewhere") as told:
            require_compatible(FOLDER, manifest(ORIN), version, device)
        text = str(told[0].message)
        assert all(row.engine in text and row.device in text and row.why in text and row.fix in text for row in found)
        return
    with pytest.raises(EngineMismatchError) as caught:
        require_compatible(FOLDER, manifest(ORIN), version, device)
    text = str(caught.value)
    assert caught.value.mismatches == found
    assert all(row.engine in text and row.device in text for row in found)
    assert all(row.why in text for row in found if row.blocks)
    assert caught.value.fix == found[0].fix
    assert caught.value.curable == ("compute capability" not in wanted)


@pytest.mark.parametrize(
    ("made", "device", "version", "system"),
    [
        (manifest(ORIN), ORIN, "10.3.0", JETSON),
        (manifest(A100, "a100", "11.4.0.106", "Linux x86_64"), A100, "11.4.0.106", "Linux x86_64"),
        (manifest(ORIN), replace(ORIN, driver="13.0"), "10.3.0", JETSON),
        (manifest(ORIN), replace(ORIN, power_mode=None, l4t=None, jetpack=None, board=None), "10.3.0", JETSON),
        (manifest(replace(ORIN, power_mode=None, l4t=None)), ORIN, "10.3.0", JETSON),
        (manifest(NX), NX, "10.3.0", JETSON),
        (manifest(NX), replace(NX, board="Connect Tech Hadron"), "10.3.0", JETSON),
        (manifest(replace(NX, board="Connect Tech Hadron")), NX, "10.3.0", JETSON),
        (manifest(NX), replace(NX, board="NVIDIA Jetson Orin NX Engineering Reference Developer Kit Super"), "10.3.0",
         JETSON),
        (recorded(manifest(NX), board=None), ORIN_AS_NX, "10.3.0", JETSON),
        (recorded(manifest(ORIN), system=None), ORIN, "10.3.0", "Windows x86_64"),
        (recorded(manifest(ORIN), driver="?"), replace(ORIN, driver="1.0"), "10.3.0", JETSON),
        (recorded(manifest(ORIN), architecture="ARM64"), ORIN, "10.3.0", JETSON),
        (rtx_manifest("sm86"), RTX, "1.7.1.116", "Linux x86_64"),
        (rtx_manifest("sm86"), RTX, "1.7.1.116", "Windows x86_64"),
        (rtx_manifest("sm120"), replace(RTX, compute_capability="12.0"), "1.7.1.116", "Linux x86_64"),
    ],
    ids=[
        "same", "a100", "newer driver", "device says little", "engine says little", "an NX's engine for orin",
        "another carrier", "from another carrier", "another name of the board", "no board recorded",
        "no system recorded",
        "unreadable driver", "another name of the processor", "rtx", "rtx, another system", "rtx, two digits",
    ],
)  # fmt: skip
def test_nothing_differs(made: Manifest, device: Device, version: str, system: str) -> None:
    assert rows(made, device, version, system) == ()


VERSIONS = [
    ("10.3.0", "10.3.0", True),
    ("10.3.0", "10.3.0.30", True),
    ("10.3.0.26", "10.3.0", True),
    ("10.3.0.26", "10.3.0.30", False),
    ("10.3.0", "10.3.1", False),
    ("10.3.0", "10.13.0", False),
    ("10.3", "10.3.0", False),
    ("10.16.1.11", "10.16.1.11", True),
    ("10.16.1.11-cuda13", "10.16.1.11+deb", True),
    ("11.4.0.106", "11.4.1.106", False),
    ("", "10.3.0", False),
]


@pytest.mark.parametrize(("made", "here", "same"), VERSIONS)
def test_versions(made: str, here: str, same: bool) -> None:
    for first, second in ((made, here), (here, made)):
        assert len(rows(manifest(ORIN, version=first), ORIN, second)) == (0 if same else 1)


RTX_CASES = [
    (rtx_manifest("sm80"), RTX, "1.7.1.116", "Linux x86_64", ["compute capability"], BUILD),
    (rtx_manifest("sm86"), RTX, "1.6.1.120", "Linux x86_64", ["TensorRT-RTX"], BUILD),
    (rtx_manifest("sm86"), RTX, "1.7.1.116", "Linux aarch64", ["system"], BUILD),
    (rtx_manifest("sm80"), RTX, "1.6.1.120", "Linux x86_64", ["compute capability", "TensorRT-RTX"], BUILD),
    (
        rtx_manifest("sm86"), replace(A100, compute_capability="9.0"), "1.7.1.116", "Linux x86_64",
        ["compute capability"], "evit-deploy build b0-seg --target h100 --fp16",
    ),
    (
        rtx_manifest("sm86"), replace(A100, compute_capability="10.0"), "1.7.1.116", "Linux x86_64",
        ["compute capability"], "none has such a GPU",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("made", "device", "version", "system", "whats", "fix"), RTX_CASES)
def test_engines_for_another_rtx(
    made: Manifest, device: Device, version: str, system: str, whats: list[str], fix: str
) -> None:
    found = rows(made, device, version, system)
    assert [row.what for row in found] == whats
    assert all(row.blocks for row in found)
    assert found[0].fix.endswith(fix)


def test_an_engine_of_another_kind_of_machine_names_the_right_target() -> None:
    found = rows(manifest(ORIN), A100, "11.4.0.106", "Linux x86_64")
    assert [row.what for row in found if row.blocks] == ["compute capability", "TensorRT", "system"]
    assert found[0].fix == "evit-deploy build b0-seg --target a100 --fp16"


WORDS = """\
the engine engines/b0-seg.orin.fp16 cannot run on this device.
  engine:   TensorRT 10.3.0, 16 SMs, mode MAXN
  device:   TensorRT 10.16.2, 8 SMs, mode 30W
  why:      an engine runs only with the release of TensorRT that made it
  fix:      evit-deploy build engines/b0-seg.orin.fp16"""


def test_the_two_machines_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "this_system", lambda: JETSON)
    device = replace(ORIN, multiprocessors=8, power_mode="30W")
    with pytest.raises(EngineMismatchError) as caught, warnings.catch_warnings():
        warnings.simplefilter("error")  # what is refused is not warned about as well
        require_compatible(FOLDER, manifest(ORIN), "10.16.2", device)
    assert str(caught.value) == WORDS
    assert caught.value.exit_code == 3


def test_an_engine_of_an_nx_on_an_agx() -> None:
    """What counts is where it was compiled, whatever target it was lowered for."""
    (row,) = rows(manifest(NX), ORIN_AS_NX)
    assert (row.what, row.engine, row.device, row.blocks) == ("board", "Jetson Orin NX", "Jetson AGX Orin", False)


@pytest.mark.parametrize(
    ("visible", "name"), [(None, "1"), ("", "1"), ("3", "1"), ("3, 5", "5"), ("MIG-a b,MIG-c d", "'MIG-c d'")]
)
def test_a_command_for_another_gpu_makes_it_the_first(
    visible: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    for number, prefix in ((0, ""), (1, f"CUDA_VISIBLE_DEVICES={name} ")):
        with pytest.raises(EngineMismatchError) as caught:
            require_compatible(FOLDER, rtx_manifest("sm80"), "1.7.1.116", RTX, number)
        assert (caught.value.fix, caught.value.curable) == (f"{prefix}{BUILD}", True)
        with pytest.raises(EngineMismatchError) as caught:
            require_compatible(
                FOLDER, rtx_manifest("sm80"), "1.7.1.116", replace(A100, compute_capability="9.0"), number
            )
        fix = f"{prefix}evit-deploy build b0-seg --target h100 --fp16"
        assert (caught.value.fix, caught.value.curable) == (fix, False)


def test_a_folder_with_spaces_is_quoted() -> None:
    (row,) = explain(Path("my engines/b0"), manifest(ORIN), ORIN, "10.16.2", JETSON)
    assert row.fix == "evit-deploy build 'my engines/b0'"


def test_one_warning_for_all_that_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "this_system", lambda: JETSON)
    device = replace(ORIN, multiprocessors=8, power_mode="30W")
    with pytest.warns(UserWarning) as caught:
        require_compatible(FOLDER, manifest(ORIN), "10.3.0", device)
    assert len(caught) == 1
    text = str(caught[0].message)
    for words in ("engine: 16 SMs, mode MAXN", "device: 8 SMs, mode 30W", BUILD, "sudo nvpmodel -m 0"):
        assert words in text


def test_the_right_device_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "this_system", lambda: JETSON)
    monkeypatch.setattr(compatibility, "this_device", lambda: ORIN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        require_compatible(FOLDER, manifest(ORIN), "10.3.0")


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "this_device", lambda: None)
    with pytest.raises(UnavailableError, match="needs an NVIDIA GPU") as caught:
        require_compatible(FOLDER, manifest(ORIN), "10.3.0")
    assert "doctor" in str(caught.value.fix)


def test_this_system_is_one_of_those_that_engines_name() -> None:
    kernel, processor = compatibility.this_system().split(" ")
    assert kernel
    assert processor.lower() not in ("amd64", "arm64")


# Whatever a manifest and a device say

texts = st.text(max_size=12)
RECORDS = ("system", "architecture", "arch", *machine_record(ORIN))
machines = st.dictionaries(st.sampled_from(RECORDS), texts)
devices = st.builds(
    Device, gpu=texts, compute_capability=st.sampled_from(["8.7", "8.6", "8.0", "9.0", "1.0"]),
    multiprocessors=st.integers(0, 200), memory_gb=st.floats(0, 200), integrated=st.booleans(), driver=texts,
    board=texts | st.none(), l4t=texts | st.none(), jetpack=texts | st.none(), power_mode=texts | st.none(),
)  # fmt: skip


@given(machine=machines, device=devices, version=texts, target=st.sampled_from(["orin", "a100", "rtx", "thor"]))
def test_any_record_is_compared_without_a_crash(
    machine: dict[str, str], device: Device, version: str, target: str
) -> None:
    made = manifest(ORIN, target)
    assert made.engine is not None
    made = replace(made, engine=replace(made.engine, machine=machine))
    found = rows(made, device, version)
    assert len({row.what for row in found}) == len(found)
    assert all(row.engine != row.device and row.fix for row in found)
    if any(row.blocks for row in found):
        text = str(EngineMismatchError(FOLDER, found))
        assert all(row.engine in text and row.device in text for row in found)


@given(device=devices, version=st.from_regex(r"[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,2}", fullmatch=True))
def test_an_engine_runs_where_it_was_compiled(device: Device, version: str) -> None:
    assert rows(manifest(device, version=version), device, version) == ()
