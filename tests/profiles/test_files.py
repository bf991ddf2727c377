# SPDX-License-Identifier: Apache-2.0
"""JSON that every reader takes."""

from __future__ import annotations

import json
import math
from pathlib import Path

from evit_deploy.manifest import Agreement
from evit_deploy.profiles.files import plain, write_json
from evit_deploy.profiles.verify import agreement_record


def test_json_without_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "x.json", {"a": math.nan, "b": [math.inf, 1.5], "c": (1, "é", None, True)})
    text = (tmp_path / "new" / "x.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": [1, "é", None, True]}
    assert "é" in text


def test_a_failed_comparison_is_valid_json(failed: Agreement) -> None:
    record = agreement_record(failed)
    json.dumps(record, allow_nan=False)
    assert record["frames"][0]["finite"] is False
    assert record["frames"][0]["relative_l2"] is None
    assert record["worst"]["broken"][0] == "NaN or infinity in the output"


def test_plain_keeps_what_json_knows() -> None:
    data = {"text": "nan", "whole": 3, "flag": False, "nothing": None, "nested": {"x": [0.5]}}
    assert plain(data) == data
