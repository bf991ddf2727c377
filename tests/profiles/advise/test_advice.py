# SPDX-License-Identifier: Apache-2.0
"""Advice from predictions and from what profiles/ knows already."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evit_deploy.errors import MissingExtraError, UsageError
from evit_deploy.models.zoo import MODELS
from evit_deploy.profiles.advise import Advice, Wanted, advise, draw_frontier
from evit_deploy.profiles.advise.choice import Candidate
from evit_deploy.profiles.evaluate.record import DatasetInfo, Evaluation, Speed
from evit_deploy.profiles.evaluate.task import Score
from evit_deploy.profiles.predict.prediction import PREDICTED
from evit_deploy.targets.machine import cpu_name
from tests.profiles.records import make_manifest, make_parts, make_report, write_report


class Guess:
    """A prediction that grows with the work."""

    def __init__(self, item: Candidate) -> None:
        spec = MODELS[item.model]
        share = math.prod(item.resolution) / math.prod(spec.resolution)
        self.ms = 1 + (spec.gmacs or 0.1) * share
        self.low_ms, self.high_ms = 0.9 * self.ms, 1.1 * self.ms


def ask(workspace: Path, budget: float = 30.0, **more: Any) -> tuple[Advice, ...]:
    return advise(Wanted("orin", budget, **more), workspace, predictor=Guess)


def orin_report(
    ms: float, model: str = "b1-seg", resolution: tuple[int, int] = (1024, 2048), **environment: str
) -> Any:
    manifest = make_manifest(model, target="orin", precision="fp16", resolution=resolution)
    there = {"gpu": "Orin", "power mode": "MAXN", "multiprocessors": "16"}
    return make_report(ms, manifest=manifest, environment={**there, **environment})


def found(advice: Advice, model: str, size: str) -> Any:
    return next(choice for choice in advice.choices if (choice.model, choice.size) == (model, size))


def test_predicted_advice(tmp_path: Path) -> None:
    (advice,) = ask(tmp_path, task="seg", dataset="cityscapes")
    assert advice.metric == "Cityscapes mIoU"
    assert [choice.timing.ms for choice in advice.choices] == sorted(choice.timing.ms for choice in advice.choices)
    assert all(choice.timing.source == PREDICTED and choice.precision == "fp16" for choice in advice.choices)
    assert advice.chosen is not None
    assert (advice.chosen.model, advice.chosen.size) == ("b1-seg", "1024x2048")
    assert any("FP16 peak" in note for note in advice.notes)


def test_one_piece_of_advice_for_each_metric(tmp_path: Path) -> None:
    assert [item.metric for item in ask(tmp_path)] == [
        "ImageNet top-1", "Cityscapes mIoU", "ADE20K mIoU", "COCO mAP",
    ]  # fmt: skip


def test_a_measured_latency_takes_the_place_of_the_predicted_one(tmp_path: Path) -> None:
    write_report(tmp_path / "profiles" / "mine", orin_report(40.0))
    (advice,) = ask(tmp_path, task="seg", dataset="cityscapes")
    choices = [choice for choice in advice.choices if (choice.model, choice.size) == ("b1-seg", "1024x2048")]
    assert [choice.timing.source for choice in choices] == ["mine"]
    assert choices[0].timing.ms == pytest.approx(40, rel=0.05)
    assert choices[0].timing.low_ms < choices[0].timing.ms < choices[0].timing.high_ms
    assert advice.chosen is not None
    assert advice.chosen.model == "b0-seg"


def test_a_measured_fp32_engine_stands_beside_the_predicted_fp16_one(tmp_path: Path) -> None:
    manifest = make_manifest("b1-seg", target="orin", precision="fp32", resolution=(1024, 2048))
    report = make_report(60.0, manifest=manifest, environment={"power mode": "MAXN"})
    write_report(tmp_path / "profiles" / "mine", report)
    (advice,) = ask(tmp_path, task="seg", dataset="cityscapes")
    assert {one.precision for one in advice.choices if one.model == "b1-seg" and one.size == "1024x2048"} == {
        "fp16",
        "fp32",
    }


def test_the_newest_profile_of_an_engine_counts(tmp_path: Path) -> None:
    write_report(tmp_path / "profiles" / "a", orin_report(50.0, date="2026-02-02T00:00:00+00:00"))
    write_report(tmp_path / "profiles" / "b", orin_report(40.0, date="2026-01-01T00:00:00+00:00"))
    (advice,) = ask(tmp_path, task="seg", dataset="cityscapes")
    assert found(advice, "b1-seg", "1024x2048").timing.source == "a"


@pytest.mark.parametrize(
    ("environment", "words"),
    [({"power mode": "30W"}, "power mode 30W, not MAXN"), ({"multiprocessors": "8"}, "8 multiprocessors, not 16")],
)
def test_a_profile_of_another_machine_is_left_out_and_named(
    tmp_path: Path, environment: dict[str, str], words: str
) -> None:
    write_report(tmp_path / "profiles" / "mine", orin_report(40.0, **environment))
    (advice,) = ask(tmp_path, task="seg", dataset="cityscapes")
    assert found(advice, "b1-seg", "1024x2048").timing.is_predicted
    assert any("the profile mine was left out" in note and words in note for note in advice.notes)


def test_a_profile_that_does_not_tell_its_mode_is_left_out(tmp_path: Path) -> None:
    manifest = make_manifest("b1-seg", target="orin", precision="fp16", resolution=(1024, 2048))
    write_report(tmp_path / "profiles" / "mine", make_report(3.0, manifest=manifest))
    (advice,) = ask(tmp_path, task="seg", dataset="cityscapes", mode="15W")
    assert found(advice, "b1-seg", "1024x2048").timing.is_predicted
    assert any("mine was left out: it does not tell its power mode" in note for note in advice.notes)


def test_a_profile_of_another_graph_is_left_out(tmp_path: Path) -> None:
    manifest = make_manifest(
        "b1-seg", target="orin", precision="fp16", resolution=(1024, 2048), input="tensor", output="logits"
    )
    report = make_report(3.0, manifest=manifest, environment={"power mode": "MAXN"})
    write_report(tmp_path / "profiles" / "mine", report)
    (advice,) = ask(tmp_path, task="seg", dataset="cityscapes")
    assert found(advice, "b1-seg", "1024x2048").timing.is_predicted
    assert any("from tensor to logits, not from image to classes" in note for note in advice.notes)


def test_a_damaged_profile_is_left_out(tmp_path: Path) -> None:
    path = write_report(tmp_path / "profiles" / "mine", orin_report(3.0))
    data = json.loads(path.read_text())
    data["latencies"][0]["samples_ms"] = [None]
    path.write_text(json.dumps(data))
    (advice,) = ask(tmp_path, task="seg", dataset="cityscapes")
    assert found(advice, "b1-seg", "1024x2048").timing.is_predicted
    assert any("mine was left out" in note for note in advice.notes)


def test_a_profile_of_the_mode_that_is_asked_about_counts(tmp_path: Path) -> None:
    write_report(
        tmp_path / "profiles" / "mine", orin_report(90.0, **{"power mode": "MODE_30W", "multiprocessors": "8"})
    )
    (advice,) = ask(tmp_path, task="seg", dataset="cityscapes", mode="30W")
    assert found(advice, "b1-seg", "1024x2048").timing.source == "mine"


def test_profiles_of_other_engines_do_not_matter(tmp_path: Path) -> None:
    write_report(tmp_path / "profiles" / "cpu", make_report(1.0))
    batch = make_manifest("b1-seg", target="orin", precision="fp16", resolution=(1024, 2048), batch=(4, 4))
    write_report(tmp_path / "profiles" / "batch", make_report(1.0, manifest=batch))
    (tmp_path / "profiles" / "broken").mkdir()
    (tmp_path / "profiles" / "broken" / "report.json").write_text("{")
    (advice,) = ask(tmp_path, task="seg", dataset="cityscapes")
    assert all(choice.timing.is_predicted for choice in advice.choices)
    assert any("the profile broken was left out" in note for note in advice.notes)


@pytest.mark.parametrize(
    ("source", "images", "accuracy"),
    [("official", 500, 65.0), ("official", 499, None), ("demo", 500, None), ("official", 0, None)],
)
def test_an_evaluation_tells_an_unknown_accuracy(
    tmp_path: Path, source: str, images: int, accuracy: float | None
) -> None:
    report = orin_report(9.0, resolution=(512, 1024))
    weights = replace(report.manifest.weights, source=source)
    folder = tmp_path / "profiles" / "mine"
    write_report(folder, replace(report, manifest=replace(report.manifest, weights=weights)))
    score = Score({"mIoU": 0.65 if images else math.nan})
    info = DatasetInfo("cityscapes", "/data", "val", 500 if images else 0, "0123")
    Evaluation("mine", "key", info, {}, score, images, (), Speed(0, 1.0, None, None), ()).write(
        folder / "evaluation.cityscapes.json"
    )
    (advice,) = ask(tmp_path, task="seg", dataset="cityscapes")
    choice = found(advice, "b1-seg", "512x1024")
    assert choice.accuracy == accuracy
    assert (choice.accuracy_source == "mine") == (accuracy is not None)


def test_on_a_cpu_only_what_was_measured_counts(tmp_path: Path) -> None:
    wanted = Wanted("cpu", 1000.0)
    with pytest.raises(UsageError, match="nothing was measured on this CPU yet"):
        advise(wanted, tmp_path)
    write_report(tmp_path / "profiles" / "sam", make_parts(10.0, processor=cpu_name()))
    with pytest.raises(UsageError, match="nothing was measured"):  # the toy's resolution is no model's
        advise(wanted, tmp_path)
    manifest = make_manifest("b0-seg", resolution=(512, 1024))
    write_report(
        tmp_path / "profiles" / "mine", make_report(10, manifest=manifest, environment={"processor": cpu_name()})
    )
    write_report(
        tmp_path / "profiles" / "other", make_report(10, manifest=make_manifest("b1-seg", resolution=(512, 1024)))
    )
    (advice,) = advise(wanted, tmp_path)
    assert [choice.timing.source for choice in advice.choices] == ["mine"]
    assert advice.chosen is None
    assert any("the profile other was left out: it is of a CPU" in note for note in advice.notes)


def test_segment_anything_is_encoder_and_decoder(tmp_path: Path) -> None:
    parts = make_parts(10.0, processor=cpu_name())
    manifest = make_manifest("l0-sam", resolution=(512, 512), output="embedding")
    verdict = replace(parts.verdict, manifests={"encoder": manifest, "decoder": manifest})
    write_report(tmp_path / "profiles" / "sam", replace(parts, verdict=verdict))
    (advice,) = advise(Wanted("cpu", 1000.0), tmp_path)
    assert advice.choices[0].timing.ms == pytest.approx(12, rel=0.05)
    assert advice.metric == "COCO mAP"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted("orion", 1.0), "there is no target 'orion'"),
        (Wanted("rtx", 1.0), "nothing to predict 'rtx' from"),
        (Wanted("orin", 1.0, mode="31W"), "no power mode '31W'"),
        (Wanted("orin", 1.0, variant="1 GB"), "not sold as '1 GB'"),
        (Wanted("orin", 1.0, task="pose"), "no task 'pose'"),
    ],
)
def test_bad_input(tmp_path: Path, wanted: Wanted, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        advise(wanted, tmp_path, predictor=Guess)


def test_json_says_what_is_predicted(tmp_path: Path) -> None:
    (advice,) = ask(tmp_path, task="sam")
    data = json.loads(json.dumps(advice.to_json()))
    assert {choice["timing"]["source"] for choice in data["choices"]} == {PREDICTED}
    assert [choice["verdict"] for choice in data["choices"]].count("fits") == 0
    assert data["chosen"] is None
    assert data["commands"] == []


def test_the_picture(tmp_path: Path) -> None:
    write_report(tmp_path / "profiles" / "mine", orin_report(40.0))
    (advice,) = ask(tmp_path, task="seg", dataset="cityscapes")
    svg = draw_frontier(advice)
    assert svg.startswith("<?xml")
    for words in ("b1-seg", "b3-seg", "Cityscapes mIoU, %", "open marks: predicted, not measured", "budget 30 ms"):
        assert words in svg
    assert draw_frontier(advice) == svg


def test_a_picture_of_nothing_known(tmp_path: Path) -> None:
    (advice,) = ask(tmp_path, task="seg", dataset="cityscapes")
    unknown = tuple(replace(choice, accuracy=None) for choice in advice.choices)
    assert "<svg" in draw_frontier(replace(advice, choices=unknown, frontier=(), chosen=None))


def test_without_matplotlib_the_picture_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (advice,) = ask(tmp_path, task="sam")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"evit-deploy\[report\]"):
        draw_frontier(advice)
