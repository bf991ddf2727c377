# SPDX-License-Identifier: Apache-2.0
"""What is measured where an engine was compiled."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evit_deploy.engines.remote import latency
from evit_deploy.engines.remote.latency import profile_engine
from evit_deploy.errors import UnavailableError
from evit_deploy.manifest import read_artifact
from tests.devices import Heard


def test_measured_where_it_runs(engine_folder: Path) -> None:
    """On an engine that runs everywhere; one for a GPU takes the same way."""
    heard, manifest = Heard(), read_artifact(engine_folder)
    record = profile_engine(engine_folder, manifest, heard)
    times = record["milliseconds"]
    assert 0 < times["smallest"] <= times["median"] <= times["p90"] <= times["p99"] < 60_000
    assert (record["measured"], record["calls"], record["batch"]) == (True, 100, 1)
    assert record["engine"] == manifest.key
    assert heard.marks == heard.totals == {"measure": 100}
    assert json.loads(json.dumps(record)) == record


def test_the_reason_where_it_does_not_run(engine_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "obstacle", lambda manifest: "there is no GPU here")
    record = profile_engine(engine_folder, read_artifact(engine_folder), Heard())
    assert (record["measured"], record["reason"]) == (False, "there is no GPU here")
    assert "milliseconds" not in record


def test_a_fault_while_measuring_is_recorded(engine_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise UnavailableError("the GPU is gone")

    monkeypatch.setattr(latency, "open_engine", fail)
    manifest = read_artifact(engine_folder)
    record = profile_engine(engine_folder, replace(manifest, files={}), Heard())
    assert (record["measured"], record["reason"]) == (False, "the GPU is gone.")
