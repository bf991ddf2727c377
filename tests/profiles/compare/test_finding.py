# SPDX-License-Identifier: Apache-2.0
"""Profiles are found by what people call them."""

from __future__ import annotations

from pathlib import Path

import pytest

from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.profiles.compare.finding import Found, find_profiles
from tests.profiles.records import make_evaluation, make_report, write_report


def test_profiles_are_found_by_name_folder_and_file(tmp_path: Path) -> None:
    path = write_report(tmp_path / "profiles" / "engine", make_report())
    for name in ("engine", str(path.parent), str(path)):
        assert find_profiles([name], tmp_path / "profiles") == (Found(make_report(), ()),)


@pytest.mark.parametrize("name", ["engin", "", "."])
def test_a_profile_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_report(tmp_path / "profiles" / "engine", make_report())
    with pytest.raises(UsageError, match=r"(?s)there is no profile.*engine there"):
        find_profiles([name], tmp_path / "profiles")
    with pytest.raises(UsageError, match="nothing there yet"):
        find_profiles([name], tmp_path / "nowhere")


def test_a_damaged_profile(tmp_path: Path) -> None:
    path = write_report(tmp_path / "engine", make_report())
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ArtifactError, match="is damaged"):
        find_profiles(["engine"], tmp_path)


def test_evaluations_belong_to_a_folder(tmp_path: Path) -> None:
    path = write_report(tmp_path / "engine", make_report())
    make_evaluation(0.5).write(tmp_path / "engine" / "evaluation.cityscapes.json")
    kept = path.with_name("last-week.json")
    kept.write_bytes(path.read_bytes())
    in_folder, alone = find_profiles(["engine", str(kept)], tmp_path)
    assert [item.evaluation for item in in_folder.evaluations] == [make_evaluation(0.5)]
    assert alone.evaluations == ()
