# SPDX-License-Identifier: Apache-2.0
"""What was recorded is read as it was written; what is damaged, older or newer is said in words."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.errors import ArtifactError, EvitError, UsageError
from evit_deploy.profiles.evaluate.record import DatasetInfo, Evaluation, Skipped, Speed
from evit_deploy.profiles.evaluate.task import ClassScore, Mistake, Score
from evit_deploy.profiles.insight import Insight
from evit_deploy.profiles.reading import (
    read_evaluation,
    read_record,
    read_report,
    read_verified,
    recorded_folders,
)
from evit_deploy.profiles.report import REPORT_VERSION, ProfileReport
from evit_deploy.profiles.sam.report import PartsReport
from evit_deploy.profiles.verify import agreement_record
from tests.manifest.sample import sample_agreement
from tests.profiles.records import (
    make_latency,
    make_layer_times,
    make_parts,
    make_power,
    make_prediction,
    make_report,
    write_report,
)

NEW_FIELDS = (
    "first_call_ms", "frames_per_second", "wrapper_ms", "modes", "device_memory", "layer_times", "power", "prediction",
)  # fmt: skip


def full_report() -> ProfileReport:
    return make_report(
        first_call_ms=12.0,
        frames_per_second=99.0,
        wrapper_ms=0.1,
        modes=(make_latency("trtexec 10", 9.0),),
        device_memory={"weights": 3.0},
        layer_times=make_layer_times(),
        power=make_power(),
        prediction=make_prediction(),
    )


def evaluation() -> Evaluation:
    score = Score(
        {"mIoU": 0.5}, {"mIoU": 0.7}, (ClassScore("road", 9, 0.5),), [[9, 1], [0, 2]], (Mistake("a", "b", 1),)
    )
    return Evaluation(
        "b0-seg.cpu.fp32", "key", DatasetInfo("cityscapes", "/data", "val", 10, "0123"), {"limit": None}, score, 9,
        (Skipped("a.png", "no image"),), Speed(5, 2.0, 2.5, 2.6), ("a warning",),
    )  # fmt: skip


def verified(**more: Any) -> dict[str, Any]:
    head = {
        "engine": "b0-seg.cpu.fp32", "key": "key", "created": "2026-01-02T03:04:05+00:00", "tool": "0.1.0",
        "machine": {"processor": "a CPU"}, "images": None, "warnings": [],
    }  # fmt: skip
    return {**head, **agreement_record(sample_agreement()), **more}


def full_parts() -> PartsReport:
    insight = Insight(0.1, 50.0, (make_latency("trtexec 10", 9.0),), {"weights": 3.0}, make_layer_times())
    changes = {"first_call_ms": 12.0, "insights": {"encoder": insight}, "power": make_power()}
    return replace(make_parts(), **changes, predictions=(make_prediction(), make_prediction()))


@pytest.mark.parametrize("report", [make_report(), full_report(), make_parts(), full_parts()])
def test_a_report_is_read_as_it_was_written(tmp_path: Path, report: Any) -> None:
    assert read_report(write_report(tmp_path, report)) == report


def test_a_report_of_the_first_version_lacks_what_came_later(tmp_path: Path) -> None:
    data = full_report().to_json()
    older = {name: value for name, value in data.items() if name not in NEW_FIELDS} | {"report": 1}
    (tmp_path / "report.json").write_text(json.dumps(older))
    found = read_report(tmp_path / "report.json")
    assert found == make_report()
    assert found.to_json()["report"] == REPORT_VERSION


def test_numbers_that_json_does_not_have_come_back_as_not_a_number(tmp_path: Path) -> None:
    report = read_report(write_report(tmp_path, make_report(power=make_power(total_sigma_w=math.nan))))
    assert isinstance(report, ProfileReport)
    assert report.power is not None
    assert math.isnan(report.power.total_sigma_w)


def test_a_newer_report_names_its_writer_and_the_cure(tmp_path: Path) -> None:
    path = write_report(tmp_path, make_report(environment={"evit-deploy": "9.9"}))
    path.write_text(json.dumps({**json.loads(path.read_text()), "report": REPORT_VERSION + 1}))
    with pytest.raises(ArtifactError, match=r"(?s)newer evit-deploy.*9\.9.*--upgrade"):
        read_report(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        ("{", "Expecting"),
        ("[1]", "a list in place of an object"),
        ("{}", "'report' is None, not a version"),
        ('{"report": "2"}', "'report' is '2', not a version"),
        ('{"report": 0}', "'report' is 0, not a version"),
        ('{"report": 2}', "the record has no 'engine'"),
        ('{"report": 2, "works": []}', "no 'agreement'"),
        ("\ufeff\x00", "is damaged"),
        ("[" * 100_000, "is damaged"),
    ],
)
def test_what_is_no_report_is_said_in_words(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(ArtifactError) as caught:
        read_report(path)
    assert words in str(caught.value)
    assert "evit-deploy profile writes it again" in str(caught.value)


def test_a_report_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_report(tmp_path / "report.json")


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in JSON values; of a list, its first item."""
    if isinstance(value, dict):
        return [path, *(spot for name in value for spot in spots(value[name], (*path, name)))]
    if isinstance(value, list) and value:
        return [path, *spots(value[0], (*path, 0))]
    return [path]


FULL = json.loads(json.dumps(full_report().to_json()))
PARTS = json.loads(json.dumps(full_parts().to_json()))


@given(st.sampled_from([FULL, PARTS]), st.data())
def test_any_damage_is_words_or_harmless(tmp_path_factory: Any, whole: dict[str, Any], data: st.DataObject) -> None:
    damaged = json.loads(json.dumps(whole))
    *parents, last = data.draw(st.sampled_from([spot for spot in spots(whole) if spot]))
    place = damaged
    for step in parents:
        place = place[step]
    place[last] = data.draw(st.sampled_from([None, "text", -1, 0.5, True, [], {}, [[]], {"a": 1}]))
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_text(json.dumps(damaged))
    try:
        read_report(path)
    except EvitError as error:
        assert str(path) in str(error)


def change(data: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy with another value at a place."""
    copy = json.loads(json.dumps(data))
    part = copy
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    return copy


@pytest.mark.parametrize(
    ("whole", "place", "value", "words"),
    [
        (FULL, ("latencies",), [], "nothing was timed"),
        (FULL, ("latencies", 0, "samples_ms"), [], "'engine infer' are not all positive"),
        (FULL, ("latencies", 0, "samples_ms", 3), None, "'engine infer' are not all positive"),
        (FULL, ("latencies", 0, "samples_ms", 3), -1.0, "'engine infer' are not all positive"),
        (FULL, ("latencies", 0, "samples_ms", 3), 10**400, "is damaged"),
        (FULL, ("latencies", 0, "frames"), 0, "of one frame or more"),
        (FULL, ("manifest", "engine"), None, "not of an engine"),
        (PARTS, ("works",), [], "were not both timed"),
        (PARTS, ("parts",), {}, "there is no part 'encoder'"),
        (PARTS, ("parts", "decoder", "engine"), None, "not of an engine"),
    ],
)
def test_what_no_measurement_gives(
    tmp_path: Path, whole: dict[str, Any], place: tuple[Any, ...], value: Any, words: str
) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(change(whole, place, value)))
    with pytest.raises(ArtifactError) as caught:
        read_report(path)
    assert words in str(caught.value)


def test_a_comparison_is_read(tmp_path: Path) -> None:
    path = tmp_path / "agreement.json"
    path.write_text(json.dumps(verified()))
    found = read_verified(path)
    assert found.agreement == sample_agreement()
    assert (found.engine, found.passed, found.parts, found.images) == ("b0-seg.cpu.fp32", True, {}, None)


def test_a_comparison_of_several_parts_is_read(tmp_path: Path) -> None:
    path = tmp_path / "agreement.json"
    path.write_text(json.dumps(verified(passed=False, parts={"encoder": agreement_record(sample_agreement())})))
    found = read_verified(path)
    assert found.parts == {"encoder": sample_agreement()}
    assert not found.passed


def test_an_evaluation_is_read(tmp_path: Path) -> None:
    evaluation().write(tmp_path / "evaluation.cityscapes.json")
    found = read_evaluation(tmp_path / "evaluation.cityscapes.json")
    assert found.evaluation == evaluation()
    assert found.created.startswith("20")
    assert "processor" in found.machine


def test_a_damaged_evaluation(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.cityscapes.json"
    path.write_text(json.dumps({**evaluation().to_json(), "images": "9"}))
    with pytest.raises(ArtifactError, match="evit-deploy eval writes it again"):
        read_evaluation(path)


def test_a_record_holds_everything_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "b0-seg.cpu.fp32"
    write_report(folder, make_report())
    (folder / "agreement.json").write_text(json.dumps(verified()))
    evaluation().write(folder / "evaluation.cityscapes.json")
    replace(evaluation(), dataset=replace(evaluation().dataset, kind="scenes")).write(folder / "evaluation.scenes.json")
    found = read_record(folder)
    assert found.report == make_report()
    assert found.verified is not None
    assert [item.evaluation.dataset.kind for item in found.evaluations] == ["cityscapes", "scenes"]


def test_a_record_may_be_partial(tmp_path: Path) -> None:
    (tmp_path / "agreement.json").write_text(json.dumps(verified()))
    found = read_record(tmp_path)
    assert (found.report, found.evaluations) == (None, ())


def test_a_folder_without_a_record(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing is recorded in .*(?s:.*)evit-deploy profile"):
        read_record(tmp_path)


def test_folders_with_records_are_found_by_name(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        write_report(tmp_path / name, make_report())
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "orin-zoo.json").write_text("{}")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "agreement.json").write_text("{}")
    assert [path.name for path in recorded_folders(tmp_path)] == ["a", "b", "c"]
    assert recorded_folders(tmp_path / "nowhere") == []


def test_a_word_that_is_none_of_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    data = json.loads(json.dumps(FULL))
    data["prediction"]["kernels"][0]["bound"] = "magic"
    path.write_text(json.dumps(data))
    with pytest.raises(ArtifactError, match=r"prediction\.kernels\.0\.bound is 'magic', not one of 'traffic'"):
        read_report(path)
