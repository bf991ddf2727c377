# SPDX-License-Identifier: Apache-2.0
"""Which target a device is, and how it differs from the one asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evit_deploy.targets import TARGETS, Difference, differences, find_target, find_target_of
from evit_deploy.targets.device import Device
from evit_deploy.targets.differences import find_variant
from tests.targets.boards import GPUS

MODES = ((0, "MAXN"), (1, "15W"), (2, "30W"), (3, "50W"))
AGX = "NVIDIA Jetson AGX Orin Developer Kit"
BEST = Device("Orin", "8.7", 16, 65.8, True, "12.6", AGX, "36.4.3", "6.2", "MAXN", True, 1300, MODES)
"""An AGX Orin as it should be."""


def card(name: str, board: str | None = None) -> Device:
    """A GPU of `GPUS` on a machine that says nothing else."""
    facts = GPUS[name]
    capability = f"{int(facts['cc']) // 10}.{int(facts['cc']) % 10}"
    memory, sms = int(facts["memory"]) / 1e9, int(facts["sms"])
    return Device(str(facts["name"]), capability, sms, memory, bool(facts["integrated"]), "12.6", board)


@pytest.mark.parametrize(
    ("name", "board", "target", "size"),
    [
        ("agx_orin_64", AGX, "orin", "64 GB"),
        ("agx_orin_32", AGX, "orin", "32 GB"),
        ("agx_orin_64", None, "orin", "64 GB"),
        ("agx_orin_32", "a carrier board of someone else's", "orin", "32 GB"),
        ("orin_nx_16", "NVIDIA Jetson Orin NX Engineering Reference Developer Kit", "orin-nx", "16 GB"),
        ("orin_nx_16", None, "orin-nx", "16 GB"),
        ("orin_nano_8", "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "orin-nano", "8 GB"),
        ("orin_nano_8", "NVIDIA Jetson Orin NX Engineering Reference Developer Kit", "orin-nx", "8 GB"),
        ("orin_nano_8", None, None, None),
        ("orin_nano_4", None, "orin-nano", "4 GB"),
        ("thor", "NVIDIA Jetson AGX Thor Developer Kit", "thor", "T5000"),
        ("a100", None, "a100", "80 GB SXM"),
        ("a100_pcie_80", None, "a100", "80 GB PCIe"),
        ("a100_40", None, "a100", "40 GB"),
        ("a30", None, "a100", None),
        ("h100", None, "h100", "80 GB SXM"),
        ("h200", None, "h100", "141 GB H200"),
        ("rtx_4090", None, "rtx", None),
        ("xavier", None, None, None),
    ],
)
def test_a_device_is_recognised(name: str, board: str | None, target: str | None, size: str | None) -> None:
    device = card(name, board)
    found = find_target_of(device)
    assert (found.name if found else None) == target
    variant = find_variant(device, found) if found else None
    assert (variant.name if variant else None) == size


def test_a_machine_without_a_gpu_is_a_cpu() -> None:
    assert find_target_of(None) is TARGETS["cpu"]


def test_a_device_at_its_best_differs_in_nothing() -> None:
    assert differences(BEST, find_target("orin")) == ()


@pytest.mark.parametrize("device", [None, BEST])
def test_nothing_differs_from_a_cpu(device: Device | None) -> None:
    assert differences(device, find_target("cpu")) == ()


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "cpu"])
def test_a_machine_without_a_gpu_blocks(name: str) -> None:
    (found,) = differences(None, find_target(name))
    assert found.blocks
    assert found.what == "GPU"
    assert find_target(name).capabilities[0] in found.expected


@pytest.mark.parametrize("device", [BEST, card("a100"), card("rtx_4090"), card("thor"), card("xavier")])
@pytest.mark.parametrize("name", [name for name in TARGETS if name != "cpu"])
def test_another_compute_capability_blocks(name: str, device: Device) -> None:
    spec = find_target(name)
    found = differences(device, spec)
    if device.compute_capability in spec.capabilities:
        assert not any(row.blocks for row in found)
        return
    (row,) = found
    assert (row.what, row.blocks) == ("compute capability", True)
    assert row.found == f"{device.compute_capability} ({device.gpu})"
    own = find_target_of(device)
    assert row.fix == (f"--target {own.name}" if own else "")


def test_a_limited_power_mode_is_told_with_the_number_that_this_board_gives_to_the_best() -> None:
    device = replace(BEST, power_mode="30W", multiprocessors=8)
    best = "sudo nvpmodel -m 0  # MAXN"
    assert differences(device, find_target("orin")) == (
        Difference("multiprocessors", "8", "16", best),
        Difference("power mode", "30W", "MAXN", best),
    )


def test_numbers_of_power_modes_are_not_guessed() -> None:
    device = replace(BEST, power_mode="30W", power_modes=())
    (row,) = differences(device, find_target("orin"))
    assert "grep POWER_MODEL" in row.fix


@pytest.mark.parametrize(
    ("modes", "fix"),
    [
        (((0, "15W"), (1, "25W"), (2, "MAXN_SUPER")), "sudo nvpmodel -m 2  # MAXN_SUPER"),
        (((0, "MAXN_SUPER"), (1, "10W"), (7, "MAXN")), "sudo nvpmodel -m 0  # MAXN_SUPER"),
        (((0, "15W"), (1, "7W")), None),
    ],
)
def test_the_best_mode_is_found_by_name(modes: tuple[tuple[int, str], ...], fix: str | None) -> None:
    board = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit"
    device = Device("Orin", "8.7", 8, 8.0, True, "12.6", board, "36.4.3", "6.2", "15W", True, 625, modes)
    assert [row.fix for row in differences(device, find_target("orin-nano"))] == ([fix] if fix else [])


def test_clocks_that_move_are_told() -> None:
    (row,) = differences(replace(BEST, clocks_pinned=False), find_target("orin"))
    assert (row.what, row.fix, row.blocks) == ("clocks", "sudo jetson_clocks", False)


@pytest.mark.parametrize(
    ("l4t", "jetpack", "found", "fix"),
    [
        ("36.3.0", "6.0", "6.0 (TensorRT 8.6.2)", "flash JetPack 7.2, or upgrade to 6.2.2"),
        ("35.4.1", "5.1.2", "5.1.2 (TensorRT 8.5.2)", "flash JetPack 6.2.2 or 7.2"),
        ("35.9.9", None, "L4T 35.9.9 (TensorRT 8)", "flash JetPack 6.2.2 or 7.2"),
        ("32.7.1", None, "L4T 32.7.1 (TensorRT 8)", "flash JetPack 6.2.2 or 7.2"),
    ],
)
def test_a_jetpack_with_tensorrt_8_blocks_and_names_the_way_on(
    l4t: str, jetpack: str | None, found: str, fix: str
) -> None:
    device = replace(BEST, l4t=l4t, jetpack=jetpack, clocks_pinned=False)
    row, clocks = differences(device, find_target("orin"))
    assert (row.what, row.found, row.blocks) == ("JetPack", found, True)
    assert row.expected == "6.2.2 (TensorRT 10.3.0) or 7.2 (TensorRT 10.16.2)"
    assert row.fix == fix
    assert not clocks.blocks, "what blocks comes first"


@pytest.mark.parametrize(("l4t", "jetpack"), [("36.4.0", "6.1"), ("39.2.0", "7.2"), ("40.1.0", None), (None, None)])
def test_a_newer_or_unknown_jetpack_is_no_difference(l4t: str | None, jetpack: str | None) -> None:
    assert differences(replace(BEST, l4t=l4t, jetpack=jetpack), find_target("orin")) == ()


def test_another_orin_is_told_by_its_memory() -> None:
    device = replace(BEST, memory_gb=16.4, multiprocessors=8, board="NVIDIA Jetson Orin NX Developer Kit")
    (row,) = differences(device, find_target("orin"))
    assert row == Difference("memory", f"16 GB ({device.board})", "64 GB or 32 GB", "--target orin-nx")


def test_a_part_of_a_card_is_told() -> None:
    (row,) = differences(card("a100_mig"), find_target("a100"))
    assert (row.what, row.found, row.expected) == ("multiprocessors", "98", "108")
    assert "MIG" in row.fix


def test_a_card_of_the_same_generation_is_told_by_its_memory() -> None:
    (row,) = differences(card("a30"), find_target("a100"))
    assert (row.what, row.found, row.expected) == ("memory", "25 GB (NVIDIA A30)", "80 GB or 40 GB")
    assert row.fix == ""


@pytest.mark.parametrize("name", ["rtx_4090", "a100_40", "h100", "h200"])
def test_cards_have_no_power_modes(name: str) -> None:
    device = card(name)
    spec = find_target_of(device)
    assert spec is not None
    assert differences(device, spec) == ()
