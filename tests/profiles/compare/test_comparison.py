# SPDX-License-Identifier: Apache-2.0
"""Profiles side by side: rows, warnings, and the check for CI."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from evit_deploy.errors import CheckFailedError, EvitError, UsageError
from evit_deploy.profiles.compare import Ratio, compare, require_not_slower
from evit_deploy.profiles.compare.gate import parse_share
from evit_deploy.profiles.compare.remarks import letter, title
from evit_deploy.profiles.insight import Insight
from evit_deploy.profiles.latency import Latency
from evit_deploy.profiles.reading import Evaluated
from evit_deploy.profiles.report import ENGINE_CALL, ENGINE_INFER
from tests.profiles.records import (
    EAGER,
    make_evaluation,
    make_latency,
    make_manifest,
    make_parts,
    make_power,
    make_report,
)


def rows(*reports: Any) -> dict[str, Any]:
    found = compare(reports)
    return {row.name: row for row in (*found.latencies, *found.figures)}


def test_rows_of_two_profiles() -> None:
    found = rows(make_report(10), make_report(12, seed=5, first_call_ms=20.0))
    assert list(found)[:3] == [ENGINE_INFER, ENGINE_CALL, EAGER]
    infer = found[ENGINE_INFER]
    assert infer.values[1] / infer.values[0] == pytest.approx(infer.ratios[1].value)
    assert infer.ratios[0] is None
    assert infer.ratios[1].is_more
    assert [row.name for row in found.values() if row.control] == [EAGER]
    assert found["first call"].values == (None, 20.0)
    assert found["first call"].ratios == (None, None)
    assert found["peak memory"].ratios[1].value == 1
    assert "throughput" not in found  # measured in none of them


def test_three_profiles_are_held_against_the_first() -> None:
    infer = rows(make_report(10), make_report(12), make_report(8))[ENGINE_INFER]
    assert infer.ratios[1].is_more
    assert infer.ratios[2].is_less


def test_engines_of_several_parts() -> None:
    found = rows(make_parts(10), make_parts(12))
    assert {"encoder", "decoder, 1 prompt", "frame to masks"} <= set(found)
    assert found["encoder, PyTorch eager"].control


def test_modes_of_trtexec_are_compared_by_name() -> None:
    new, old = make_latency("trtexec 11", 8), make_latency("trtexec 8", 9)
    found = rows(make_report(modes=(new, old)), make_report(modes=(old,)))
    assert found["trtexec 11"].ratios == (None, None)
    assert found["trtexec 8"].ratios[1].value == 1


def test_modes_and_throughput_of_parts_are_compared_part_by_part() -> None:
    one = Insight(0.1, 50.0, (make_latency("trtexec 11", 8),), {}, None)
    reports = [
        replace(make_parts(), insights={"encoder": one}),
        replace(make_parts(), insights={"encoder": one, "decoder": one}),
    ]
    found = rows(*reports)
    assert found["encoder, trtexec 11"].ratios[1].value == 1
    assert found["decoder, trtexec 11"].values[0] is None
    assert found["encoder, throughput"].values == (50.0, 50.0)
    assert found["decoder, throughput"].values == (None, 50.0)


def test_one_profile_is_not_enough() -> None:
    with pytest.raises(UsageError, match="nothing to compare with"):
        compare([make_report()])


def test_energy_of_the_same_rails_is_compared() -> None:
    found = rows(make_report(power=make_power(10)), make_report(power=make_power(20)))
    assert found["energy"].ratios[1].is_more


@pytest.mark.parametrize("changes", [{"total_of": ("VIN",), "total_is": "module input"}, {"source": "INA3221"}])
def test_energy_of_other_rails_is_not(changes: dict[str, Any]) -> None:
    found = compare([make_report(power=make_power(10)), make_report(power=make_power(20, **changes))])
    assert [row.ratios for row in found.figures if row.name == "energy"] == [(None, None)]
    assert any("they do not compare" in text for text in found.warnings)


def test_a_control_that_changed_is_a_warning() -> None:
    found = compare([make_report(10, eager=50), make_report(12, eager=60)])
    assert any("no part of the engine, took 1.2" in text for text in found.warnings)
    assert compare([make_report(10, eager=50), make_report(12, eager=50)]).warnings == ()


def test_disturbances_are_warnings() -> None:
    busy = make_report(environment={"other load": "1.40 cores of 2 while measured"})
    assert compare([make_report(), busy]).warnings == (
        "while B was measured, other programs kept 1.40 of 2 cores busy",
    )


def test_json_has_everything() -> None:
    data = json.loads(json.dumps(compare([make_report(), make_report(environment={"governor": "ondemand"})]).to_json()))
    assert [item["engine"] for item in data["profiles"]] == ["b0-seg.cpu.fp32"] * 2
    expected = {"name": "governor", "first": "performance", "other": "ondemand", "decisive": True}
    assert data["differences"] == [[], [expected]]
    assert data["latencies"][0]["ratios"][0] is None


def test_letters_and_titles() -> None:
    assert [letter(index) for index in (0, 1, 25, 26)] == ["A", "B", "Z", "#27"]
    report = make_report(environment={"board": "Jetson AGX Orin", "power mode": "30W"})
    assert title(report) == "b0-seg.cpu.fp32, Jetson AGX Orin, 30W, 2026-01-02T03:04:05+00:00"


def test_scores_on_the_same_images_are_compared() -> None:
    one, same, fewer = (
        (Evaluated(make_evaluation(score, images), "2026-01-02T03:04:05+00:00", {}),)
        for score, images in ((0.5, 10), (0.6, 10), (0.6, 9))
    )
    found = compare([make_report()] * 4, [one, same, fewer, ()])
    (row,) = (row for row in found.figures if row.name == "mIoU on cityscapes")
    assert row.values == (0.5, 0.6, 0.6, None)
    assert row.ratios == (None, Ratio(1.2), None, None)
    assert found.warnings == ("C was evaluated on other images of cityscapes than A: scores do not compare",)


def test_not_slower_passes() -> None:
    require_not_slower(compare([make_report(10), make_report(10, seed=7), make_report(8)]), 0.05)


def test_slower_fails_and_says_what() -> None:
    found = compare([make_report(10), make_report(10), make_report(12, eager=60)])
    with pytest.raises(CheckFailedError, match=r"engine infer of C takes 1\.2.* times as long as that of A") as caught:
        require_not_slower(found, 0.05)
    assert "no part of the engine" in str(caught.value)
    assert " of B takes" not in str(caught.value)


def test_slower_within_the_share_passes() -> None:
    found = compare([make_report(10), make_report(12)])
    with pytest.raises(CheckFailedError):
        require_not_slower(found, 0.1)
    require_not_slower(found, 0.3)


def test_slower_within_chance_passes() -> None:
    noisy = [make_latency(ENGINE_INFER, ms, seed=seed, wobble=0.5) for seed, ms in enumerate((10, 11))]
    first, other = (make_report(latencies=(latency,)) for latency in noisy)
    found = compare([first, other])
    ratio = found.latencies[0].ratios[1]
    assert ratio.value > 1.05
    assert not ratio.is_more
    require_not_slower(found, 0.05)


def test_pytorch_may_be_slower() -> None:
    require_not_slower(compare([make_report(eager=50), make_report(eager=70)]), 0.05)


@pytest.mark.parametrize(
    "other",
    [
        make_report(environment={"power mode": "30W"}),
        make_report(environment={"processor": "another"}),
        make_report(manifest=make_manifest(resolution=(32, 32))),
        make_report(manifest=make_manifest("b1-seg")),
    ],
)
def test_other_conditions_forbid_a_verdict(other: Any) -> None:
    found = compare([make_report(environment={"power mode": "MAXN"}), other])
    if not any(item.decisive for item in found.differences[1]):
        pytest.fail("nothing decisive differs")
    with pytest.raises(UsageError, match="measured under different conditions"):
        require_not_slower(found, 0.05)


def test_what_one_of_two_does_not_tell_is_a_warning() -> None:
    found = compare([make_report(environment={"power mode": "30W"}), make_report()])
    assert found.warnings == ("A tells its power mode, and B does not: it may differ",)
    found = compare([make_report(), make_report(environment={"power mode": "30W"})])
    assert found.warnings == ("B tells its power mode, and A does not: it may differ",)


def test_a_profile_of_no_machine_forbids_a_verdict() -> None:
    with pytest.raises(UsageError, match=r"B cannot be judged: no machine is recorded"):
        require_not_slower(compare([make_report(), replace(make_report(), environment={})]), 0.05)


def test_a_latency_that_is_missing_forbids_a_verdict() -> None:
    whole = make_report(10)
    lacking = replace(whole, latencies=whole.latencies[1:])
    with pytest.raises(UsageError, match=r"B cannot be judged against A: it lacks engine infer"):
        require_not_slower(compare([whole, lacking]), 0.05)
    require_not_slower(compare([lacking, whole]), 0.05)  # what A lacks, nothing is held against


@pytest.mark.parametrize("energy", [0.0, float("nan")])
def test_energy_of_a_counter_that_stands_is_not_compared(energy: float) -> None:
    broken = make_report(power=make_power(10, energy_mj=energy))
    for pair in ([make_report(power=make_power(10)), broken], [broken, make_report(power=make_power(10))]):
        assert [row.ratios for row in compare(pair).figures if row.name == "energy"] == [(None, None)]


def test_too_few_runs_forbid_a_verdict() -> None:
    few = make_report(latencies=(Latency(ENGINE_INFER, (10.0, 10.0)),))
    with pytest.raises(UsageError, match="no latency of both was timed often enough"):
        require_not_slower(compare([few, few]), 0.05)


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("0.05", 0.05), ("0%", 0.0), (".5 %", 0.005), ("12.5%", 0.125)]
)
def test_shares(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["5", "1", "1.0"])
def test_a_share_of_everything_is_taken_for_a_slip(text: str) -> None:
    with pytest.raises(UsageError, match=f"{text}% for a percentage"):
        parse_share(text)


@pytest.mark.parametrize("text", ["", "%", "-5%", "five", "5%%", "nan", "1e3", "5 ms"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(EvitError, match="is no share"):
        parse_share(text)
