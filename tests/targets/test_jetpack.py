# SPDX-License-Identifier: Apache-2.0
"""JetPack releases as data."""

from __future__ import annotations

import pytest

from evit_deploy.targets import TARGETS, jetpack
from evit_deploy.targets.jetpack import JETPACKS, find_jetpack, jetpack_of, jetpacks_of


@pytest.mark.parametrize(
    ("l4t", "release"),
    [
        ("35.4.1", "5.1.2"), ("36.3", "6.0"), ("36.3.0", "6.0"), ("36.4", "6.1"), ("36.4.0", "6.1"), ("36.4.3", "6.2"),
        ("36.4.4", "6.2.1"), ("36.4.7", "6.2.1"), ("36.5.0", "6.2.2"), ("36.5", "6.2.2"), ("38.2.2", "7.0"),
        ("38.4.0", "7.1"), ("39.2.0", "7.2"), ("36.4.1", None), ("", None), (None, None), ("x.y", None),
    ],
)  # fmt: skip
def test_a_release_of_jetson_linux_belongs_to_a_jetpack(l4t: str | None, release: str | None) -> None:
    assert jetpack_of(l4t) == release


def test_every_version_of_jetson_linux_stands_once() -> None:
    versions = [version for line in JETPACKS for versions in line.l4t for version in versions]
    assert len(versions) == len(set(versions))
    assert all(len(line.releases) == len(line.l4t) for line in JETPACKS)


def test_boards_are_targets() -> None:
    boards = {board for line in JETPACKS for board in line.boards}
    assert boards == {name for name, spec in TARGETS.items() if spec.jetson}


@pytest.mark.parametrize("release", ["5.1", "5.1.6", "6.0"])
def test_tensorrt_8_is_too_old(release: str) -> None:
    line = find_jetpack(release)
    assert line is not None
    assert not line.supported


@pytest.mark.parametrize(
    ("release", "tensorrt", "python"),
    [("6.1", "10.3.0", "3.10"), ("6.2", "10.3.0", "3.10"), ("6.2.2", "10.3.0", "3.10"), ("7.2", "10.16.2", "3.12")],
)
def test_tensorrt_10_is_not(release: str, tensorrt: str, python: str) -> None:
    line = find_jetpack(release)
    assert line is not None
    assert (line.supported, line.tensorrt, line.python) == (True, tensorrt, python)


def test_an_orin_has_no_jetpack_7_0() -> None:
    assert [line.releases[0] for line in jetpacks_of("orin")] == ["5.1", "6.0", "6.1", "6.2", "7.2"]
    assert [line.releases[0] for line in jetpacks_of("thor")] == ["7.0", "7.1", "7.2"]
    assert jetpacks_of("a100") == ()
    assert find_jetpack("4.6") is None


def test_opsets_are_told_by_release() -> None:
    assert jetpack.OPSETS == {"JetPack 6.1 to 6.2.2 (TensorRT 10.3)": 20, "JetPack 7.2 (TensorRT 10.16)": 24}
