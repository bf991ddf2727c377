# SPDX-License-Identifier: Apache-2.0
"""The parsers of what a Jetson says: text to value, and nothing that makes them fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.targets import jetson


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"NVIDIA Jetson AGX Orin Developer Kit\0", "NVIDIA Jetson AGX Orin Developer Kit"),
        (b"NVIDIA Jetson AGX Thor Developer Kit\0rest", "NVIDIA Jetson AGX Thor Developer Kit"),
        (b"no zero byte", "no zero byte"),
        (b"\0", None), (b"", None), (b"  \0", None),
    ],
)  # fmt: skip
def test_the_model_ends_in_a_zero_byte(raw: bytes, name: str | None) -> None:
    assert jetson.parse_model(raw) == name


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8", "36.4.3"),
        ("# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64, DATE: Tue", "35.4.1"),
        ("# R39 (release), REVISION: 2.0, GCID: 1", "39.2.0"),
        ("# R36 (release), REVISION: 3.0\n# KERNEL_VARIANT: oot\n", "36.3.0"),
        ("\n# R38 (release), REVISION: 2, BOARD: generic", "38.2"),
        ("# KERNEL_VARIANT: oot", None), ("R36.4.3", None), ("", None),
    ],
)  # fmt: skip
def test_the_release(text: str, version: str | None) -> None:
    assert jetson.parse_release(text) == version


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("NV Power Mode: MAXN\n0\n", "MAXN"),
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: MODE_30W\n2\n", "30W"),
        ("NV Fan Mode:cool\nNV Power Mode: MAXN_SUPER\n2", "MAXN_SUPER"),
        ("NV Power Mode: 120W\n1\n", "120W"),
        ("NVPM ERROR: Error opening /var/lib/nvpmodel/status: 13", None), ("", None),
    ],
)  # fmt: skip
def test_the_power_mode(text: str, mode: str | None) -> None:
    assert jetson.parse_power_mode(text) == mode


def test_the_power_modes_of_a_configuration() -> None:
    text = (
        "# < POWER_MODEL ID=id_num NAME=mode_name >\n< POWER_MODEL ID=0 NAME=MAXN >\nGPU MAX_FREQ -1\n"
        "<POWER_MODEL ID=12 NAME=MODE_15W >\n< PM_CONFIG DEFAULT=2 >\n"
    )
    assert jetson.parse_power_modes(text) == {0: "MAXN", 12: "15W"}
    assert jetson.parse_power_modes("") == {}


@pytest.mark.parametrize(
    ("text", "number"), [("pmode:0002", 2), ("pmode:0000 fmode:quiet\n", 0), ("fmode:quiet", None), ("", None)]
)
def test_the_number_of_the_power_mode(text: str, number: int | None) -> None:
    assert jetson.parse_power_status(text) == number


@pytest.mark.parametrize(
    ("text", "pinned"),
    [
        ("GPU MinFreq=306000000 MaxFreq=1300500000 CurrentFreq=306000000", False),
        ("cpu0: x\nGPU MinFreq=918000000 MaxFreq=918000000 CurrentFreq=918000000\nEMC MinFreq=204 MaxFreq=3199", True),
        ("EMC MinFreq=204000000 MaxFreq=204000000", None),
        ("Error: Run this script(/usr/bin/jetson_clocks) as a root user", None), ("", None),
    ],
)  # fmt: skip
def test_the_clocks(text: str, pinned: bool | None) -> None:
    assert jetson.parse_clocks(text) is pinned


@given(st.text(), st.binary())
def test_no_text_makes_a_parser_fail(text: str, raw: bytes) -> None:
    jetson.parse_model(raw)
    for parse in (
        jetson.parse_release, jetson.parse_power_mode, jetson.parse_power_modes, jetson.parse_power_status,
        jetson.parse_clocks,
    ):  # fmt: skip
        parse(text)
