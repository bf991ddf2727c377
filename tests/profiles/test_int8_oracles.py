# SPDX-License-Identifier: Apache-2.0
"""Which oracle is taken, and what its key depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.profiles import int8_oracles, int8_timing
from evit_deploy.profiles.int8_oracles import choose_oracle
from evit_deploy.profiles.predict import int8 as predicting
from tests.profiles.records import make_manifest, make_report, write_report

NAMES = ("b0-seg.orin.fp16", "b0-seg.orin.int8")


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """Two profiles of one device."""
    for name in NAMES:
        precision = name.rpartition(".")[2]
        write_report(
            tmp_path / name, make_report(engine=name, manifest=make_manifest(target="orin", precision=precision))
        )
    return tmp_path


def test_without_profiles_it_is_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(predicting, "predicted_oracle", lambda *arguments: calls.append(arguments) or "an oracle")
    make, _ = choose_oracle((), tmp_path)
    assert make(Path("export"), "graph", (), "orin") == "an oracle"
    assert calls[0][:4] == (Path("export"), "graph", (), "orin")


def test_another_model_of_the_machine_is_another_oracle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = choose_oracle((), tmp_path)[1]
    assert choose_oracle([], tmp_path)[1] == key
    monkeypatch.setattr(predicting, "FORM", predicting.FORM + 1)
    assert choose_oracle((), tmp_path)[1] != key


def test_two_profiles_are_timed(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8_timing, "timed_oracle", lambda *arguments: arguments)
    make, key = choose_oracle(NAMES, profiles)
    assert make(Path("export"), "graph", ("a layer",), "orin") == (
        profiles / NAMES[0], profiles / NAMES[1], "graph", ("a layer",)
    )  # fmt: skip
    assert choose_oracle([str(profiles / name) for name in NAMES], Path())[1] == key, "the same by their paths"
    assert key != choose_oracle((), profiles)[1]
    report = profiles / NAMES[0] / "report.json"
    report.write_text(report.read_text() + "\n")
    assert choose_oracle(NAMES, profiles)[1] != key


def test_profiles_of_another_target_are_refused(profiles: Path) -> None:
    make, _ = choose_oracle(NAMES, profiles)
    with pytest.raises(UsageError, match="tells nothing of thor") as caught:
        make(Path("export"), "graph", (), "thor")
    assert caught.value.found == "a profile of an engine for orin"


@pytest.mark.parametrize("names", [NAMES[:1], (*NAMES, NAMES[0])])
def test_two_it_must_be(names: tuple[str, ...], profiles: Path) -> None:
    with pytest.raises(UsageError, match="from two profiles") as caught:
        choose_oracle(names, profiles)
    assert names[0] in str(caught.value.found)
    assert "FP16" in str(caught.value.expected)


def test_a_profile_that_is_not_there_names_the_nearest(profiles: Path) -> None:
    with pytest.raises(UsageError, match="there is no profile") as caught:
        choose_oracle((NAMES[0], "b0-seg.orin.int9"), profiles)
    assert NAMES[1] in str(caught.value.found)


def test_a_damaged_profile_is_refused_before_anything_is_calibrated(profiles: Path) -> None:
    (profiles / NAMES[1] / "report.json").write_text("{")
    with pytest.raises(ArtifactError):
        choose_oracle(NAMES, profiles)


def test_the_choice_asks_for_nothing(profiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An oracle is made where its graph is; until then a prediction has read no export."""
    monkeypatch.setattr(predicting, "graph_subject", lambda *arguments: pytest.fail("read"))
    assert callable(int8_oracles.choose_oracle((), profiles)[0])
