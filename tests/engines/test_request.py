# SPDX-License-Identifier: Apache-2.0
"""What ``evit-deploy build`` was asked for, and where it puts things."""

from __future__ import annotations

from pathlib import Path

import pytest

from evit_deploy.engines.request import Request, host_names
from evit_deploy.errors import UsageError


@pytest.mark.parametrize(
    ("hosts", "names"),
    [
        (["orin.local"], ["orin-local"]),
        (["nvidia@orin.local"], ["orin-local"]),
        (["ssh://nvidia@orin.local:2222"], ["orin-local"]),
        (["ssh://10.0.0.7:22/"], ["10-0-0-7"]),
        (["a@robot", "b@robot"], ["a-robot", "b-robot"]),
        (["ssh://robot:22", "ssh://robot:23"], ["robot-22", "robot-23"]),
        (["robot-1", "robot_2"], ["robot-1", "robot_2"]),
    ],
)
def test_a_device_gets_a_plain_name(hosts: list[str], names: list[str]) -> None:
    assert list(host_names(hosts).values()) == names


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (Request(), "b1-seg.cpu.fp32"),
        (Request("orin", "fp16"), "b1-seg.orin.fp16"),
        (Request("orin", "fp16", attention="matmul"), "b1-seg.orin.fp16.matmul"),
        (Request("rtx", "fp16", arch="8.6"), "b1-seg.rtx-sm86.fp16"),
    ],
)
def test_the_place_of_an_engine(request_: Request, name: str) -> None:
    assert request_.folder(Path("engines"), Path("export/b1-seg"), remote=True) == Path("engines") / name


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request("nowhere"), "no target"),
        (Request("rtx", "int8"), "int8 is not built for rtx"),
        (Request("orin", "fp16", arch="sm87"), "no architecture to choose"),
        (Request("orin", "fp16", attention="flash"), "no attention 'flash'"),
        (Request("orin", "fp16", compiler="nonsense"), "no compiler 'nonsense'"),
        (Request("orin", "fp16", compiler="openvino"), "openvino does not build for orin"),
        (Request("cpu", attention="conv"), "cpu runs graphs as exported"),
    ],
)
@pytest.mark.parametrize("remote", [False, True])
def test_what_cannot_be_is_refused_before_anything_is_looked_for(request_: Request, words: str, remote: bool) -> None:
    with pytest.raises(UsageError, match=words):
        request_.check(remote=remote)
