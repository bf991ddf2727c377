# SPDX-License-Identifier: Apache-2.0
"""Conditions that differ are told, and those that forbid a verdict are told from those that do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from evit_deploy.profiles.compare.conditions import differences, disturbances
from tests.profiles.records import make_manifest, make_parts, make_report


def names(first: Any, other: Any) -> dict[str, bool]:
    return {item.name: item.decisive for item in differences(first, other)}


def test_a_profile_does_not_differ_from_itself() -> None:
    assert differences(make_report(), make_report()) == ()
    assert differences(make_parts(), make_parts()) == ()


@pytest.mark.parametrize(
    ("name", "value", "decisive"),
    [
        ("processor", "another CPU", True),
        ("cores", "1 of 2", True),
        ("gpu", "Orin", True),
        ("power mode", "30W", True),
        ("multiprocessors", "8", True),
        ("clocks", "free to change", True),
        ("highest GPU clock", "624 MHz", True),
        ("governor", "powersave", True),
        ("onnxruntime", "1.3.0", False),
        ("driver", "540.4.0", False),
    ],
)
def test_the_environment(name: str, value: str, decisive: bool) -> None:
    common = {"gpu": "A GPU", "power mode": "MAXN", "multiprocessors": "16", "clocks": "held at their maximum",
              "highest GPU clock": "1301 MHz", "driver": "540.3.0"}  # fmt: skip
    found = differences(make_report(environment=common), make_report(environment={**common, name: value}))
    assert [(item.name, item.decisive) for item in found] == [(name, decisive)]
    assert value in str(found[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("date", "2027-01-01T00:00:00+00:00"), ("memory", "99 GB"), ("load average", "0.20 before, 0.10 after"),
        ("other load", "0.01 cores of 2 while measured"), ("temperature of tj", "50.0 °C while measured"),
        ("CPU clock", "2400 MHz while measured, at most 2400"),
    ],
)  # fmt: skip
def test_what_differs_each_time_is_no_difference(name: str, value: str) -> None:
    before = {"memory": "1 GB", "load average": "0.00 before, 0.00 after", "temperature of tj": "1.0 °C while measured",
              "other load": "0.02 cores of 2 while measured", "CPU clock": "2401 MHz while measured"}  # fmt: skip
    assert differences(make_report(environment=before), make_report(environment={**before, name: value})) == ()


def test_what_an_older_profile_did_not_record_is_no_difference() -> None:
    assert differences(make_report(), make_report(environment={"power mode": "30W"})) == ()


@pytest.mark.parametrize(
    ("changes", "name", "decisive"),
    [
        ({"model": "b1-seg"}, "model", True),
        ({"resolution": (128, 128)}, "resolution", True),
        ({"batch": (4, 4)}, "batch", True),
        ({"output": "logits"}, "graph output", False),
        ({"input": "tensor"}, "graph input", False),
        ({"precision": "bf16"}, "precision", False),
        ({"target": "orin"}, "target", False),
    ],
)
def test_the_work(changes: dict[str, Any], name: str, decisive: bool) -> None:
    manifest = make_manifest(**changes)
    if name == "precision":  # of the engine, not of its graph
        manifest = replace(manifest, graph=make_manifest().graph)
    assert names(make_report(), make_report(manifest=manifest)) == {name: decisive}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"other load": "1.40 cores of 2 while measured"}, ["other programs kept 1.40 of 2 cores busy"]),
        ({"other load": "0.10 cores of 2 while measured"}, []),
        ({"load average": "1.90 before, 2.50 after"}, ["the load average was 1.9 on 2 of 2 cores before"]),
        ({"load average": "0.40 before, 2.50 after"}, []),
        ({"other load": "0.01 cores of 2 while measured", "load average": "1.90 before, 2.50 after"}, []),
        ({"GPU clock": "624 to 1301 MHz while measured, at most 1301"}, ["the GPU clock fell to 624 of 1301 MHz"]),
        ({"GPU clock": "1300 MHz while measured, at most 1301"}, []),
        ({"CPU clock": "2400 MHz while measured"}, []),
        ({"other load": "nobody knows", "load average": "neither"}, []),
    ],
)
def test_disturbances(entries: dict[str, str], words: list[str]) -> None:
    assert list(disturbances(make_report(environment=entries))) == words
