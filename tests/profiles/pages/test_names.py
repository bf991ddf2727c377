# SPDX-License-Identifier: Apache-2.0
"""Names in a record are text and nothing else: no markup, no formula, no shell."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest

from evit_deploy.profiles import ProfileReport
from evit_deploy.profiles.evaluate.task import ClassScore
from evit_deploy.profiles.layer_times.record import LayerTime
from evit_deploy.profiles.power.record import Rail
from evit_deploy.profiles.reading import Recorded
from tests.profiles.pages.full import full_evaluation, full_manifest, full_parts, full_prediction, full_report
from tests.profiles.pages.reader import Page, page_of
from tests.profiles.records import make_report

NASTY = '<script>alert(1)</script>" onload="x'


def nasty_report() -> ProfileReport:
    """A profile in which every name is an attack."""
    found, report = full_prediction(), full_report()
    kernels = tuple(replace(kernel, name=NASTY, stage=NASTY) for kernel in found.kernels)
    prediction = replace(found, kernels=kernels, stages={NASTY: found.terms}, notes=(NASTY,), plan=NASTY)
    assert report.layer_times
    assert report.power
    layers = replace(report.layer_times, layers=(LayerTime(NASTY, NASTY, 1.0, (NASTY,)),), note=NASTY, tool=NASTY)
    power = replace(report.power, rails=(Rail(NASTY, 1.0, 0.1),), notes=(NASTY,), temperatures={NASTY: 1.0})
    manifest = replace(report.manifest, warnings=(NASTY,))
    return replace(
        report, prediction=prediction, layer_times=layers, power=power, manifest=manifest, notes=(NASTY,),
        engine=NASTY, environment={**report.environment, "gpu": NASTY}, device_memory={NASTY: 1.0},
        latencies=tuple(replace(item, name=NASTY) for item in report.latencies),
    )  # fmt: skip


def test_names_are_escaped() -> None:
    found = full_evaluation(NASTY)
    classes = tuple(ClassScore(NASTY, 1, 0.5) for _ in found.evaluation.score.classes)
    score = replace(found.evaluation.score, classes=classes, warnings=(NASTY,))
    text = page_of(
        nasty_report(),
        evaluations=(replace(found, evaluation=replace(found.evaluation, score=score, warnings=(NASTY,))),),
        beside=[Recorded(Path("x"), replace(full_report(), engine=f"{NASTY}2"), None, ())],
    )
    require_escaped(text)
    assert "confusion" in text


def test_names_of_parts_are_escaped() -> None:
    report = full_parts()
    manifests = {**report.verdict.manifests, NASTY: report.verdict.manifests["encoder"]}
    insights = dict.fromkeys([NASTY, f"decoder{NASTY}"], report.insights["encoder"])
    manifests[f"decoder{NASTY}"] = manifests["decoder"]
    verdict = replace(report.verdict, manifests=manifests, parts={NASTY: report.verdict.whole})
    require_escaped(page_of(replace(report, verdict=verdict, insights=insights)))


def require_escaped(text: str) -> None:
    """Nothing of an attack is more than text, and ids that say it stay ids."""
    assert "<script" not in text
    assert not re.search(r'<[^>]*" onload="', text)
    page = Page(text)
    assert page.open == []
    assert all(re.fullmatch(r"[\w-]+", name) for name in page.ids)
    assert set(page.labels) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.parametrize("name", ["a $x_1$ layer", "$", r"$\frac{$", "$$ 5 ^ $"])
def test_a_dollar_sign_is_one(name: str) -> None:
    """It begins no formula in a chart."""
    report = full_report()
    kernels = tuple(replace(kernel, stage=name) for kernel in full_prediction().kernels)
    prediction = replace(full_prediction(), kernels=kernels, stages={name: full_prediction().terms})
    layers = replace(report.layer_times, layers=(LayerTime(name, name, 1.0, (name,)),))
    latencies = tuple(replace(item, name=name) for item in report.latencies)
    evaluation = full_evaluation()
    classes = tuple(replace(item, name=name) for item in evaluation.evaluation.score.classes)
    score = replace(evaluation.evaluation.score, classes=classes)
    text = page_of(
        replace(report, prediction=prediction, layer_times=layers, latencies=latencies),
        evaluations=(replace(evaluation, evaluation=replace(evaluation.evaluation, score=score)),),
    )
    shown = re.findall(r"<text[^>]*>([^<]*)</text>", text)
    assert shown.count(name) >= 5 + 5 + 1 + 1, "classes twice, the layer and its part"
    assert any(words.startswith(f"{name}: median") for words in shown)


def test_commands_that_can_be_copied() -> None:
    report = replace(make_report(manifest=full_manifest()), engine="my engine")
    other = replace(report, engine="it's; rm -rf x")
    text = page_of(report, beside=[Recorded(Path("x"), other, None, ())])
    assert html.unescape(text).count("""evit-deploy compare 'my engine' 'it'"'"'s; rm -rf x'""") == 1
