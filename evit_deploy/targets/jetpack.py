# SPDX-License-Identifier: Apache-2.0
"""JetPack releases, and what each brings: Jetson Linux (L4T), CUDA, TensorRT, Python.

Sources: the package lists of the releases (jetpack-nixos: sourceinfo/r35.6-debs.json, r36.5-debs.json,
r39.2-debs.json), dusty-nv/jetson-containers (l4t_version.py, cudastack), rbonghi/jetson_stats (jetson_variables.py),
and https://developer.nvidia.com/embedded/jetpack. Opsets: "Supported ONNX Operators" of onnx-tensorrt for TensorRT
10.3, and for 10.15, next below 10.16.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class JetPack:
    """One line of releases with the same libraries.

    Attributes:
        releases: Names of the releases, oldest first.
        l4t: Version of Jetson Linux of each release; a release whose updates change it has several.
        cuda: Version of CUDA.
        tensorrt: Version of TensorRT that apt installs.
        python: Python of its Ubuntu, which TensorRT's module is for.
        boards: Targets that it runs on.
        opset: Largest ONNX opset that its TensorRT reads; None where no list is published, or it is too old to matter.
    """

    releases: tuple[str, ...]
    l4t: tuple[tuple[str, ...], ...]
    cuda: str
    tensorrt: str
    python: str
    boards: tuple[str, ...]
    opset: int | None = None

    @property
    def supported(self) -> bool:
        """Whether its TensorRT takes strongly typed networks, that is, is 10 or newer."""
        return int(self.tensorrt.partition(".")[0]) >= 10


_ORINS = ("orin", "orin-nx", "orin-nano")

JETPACKS = (
    JetPack(
        ("5.1", "5.1.1", "5.1.2", "5.1.3", "5.1.4", "5.1.5", "5.1.6"),
        (("35.2.1",), ("35.3.1",), ("35.4.1",), ("35.5.0",), ("35.6.0",), ("35.6.1", "35.6.2", "35.6.3"), ("35.6.4",)),
        "11.4", "8.5.2", "3.8", _ORINS,
    ),
    JetPack(("6.0",), (("36.3.0",),), "12.2", "8.6.2", "3.10", _ORINS),
    JetPack(("6.1",), (("36.4.0",),), "12.6", "10.3.0", "3.10", _ORINS, 20),
    JetPack(
        ("6.2", "6.2.1", "6.2.2"), (("36.4.3",), ("36.4.4", "36.4.7"), ("36.5.0",)),
        "12.6", "10.3.0", "3.10", _ORINS, 20,
    ),
    JetPack(("7.0",), (("38.2.0", "38.2.1", "38.2.2"),), "13.0", "10.13.3", "3.12", ("thor",)),
    JetPack(("7.1",), (("38.4.0",),), "13.0", "10.13.3", "3.12", ("thor",)),
    JetPack(("7.2",), (("39.2.0",),), "13.2", "10.16.2", "3.12", (*_ORINS, "thor"), 24),
)  # fmt: skip
"""All releases, oldest first."""


def _opsets() -> dict[str, int]:
    """Releases whose TensorRT reads the same opset, in words, and that opset."""
    found = {}
    for opset in dict.fromkeys(line.opset for line in JETPACKS if line.opset):
        lines = [line for line in JETPACKS if line.opset == opset]
        first, last = lines[0].releases[0], lines[-1].releases[-1]
        words = first if first == last else f"{first} to {last}"
        found[f"JetPack {words} (TensorRT {lines[0].tensorrt.rpartition('.')[0]})"] = opset
    return found


OPSETS = _opsets()
"""Largest opset by release, such as "JetPack 7.2 (TensorRT 10.16)": 24."""


def jetpack_of(l4t: str | None) -> str | None:
    """Name of the JetPack release that an L4T version belongs to; None if unknown."""
    wanted = _numbers(l4t or "")
    for line in JETPACKS:
        for release, versions in zip(line.releases, line.l4t, strict=True):
            if any(_numbers(version) == wanted for version in versions):
                return release
    return None


def find_jetpack(release: str) -> JetPack | None:
    """The row of a JetPack release such as "6.2.1"; None if unknown."""
    return next((line for line in JETPACKS if release in line.releases), None)


def jetpacks_of(target: str) -> tuple[JetPack, ...]:
    """The rows that run on a target, oldest first."""
    return tuple(line for line in JETPACKS if target in line.boards)


def _numbers(version: str) -> tuple[int, ...]:
    """A version as numbers, without zeros at its end: "36.4" and "36.4.0" are the same."""
    parts = [int(part) for part in version.split(".") if part.isdigit()]
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)
