# SPDX-License-Identifier: Apache-2.0
"""A folder of profiles that holds everything, and one browser for all pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evit_deploy.profiles.pages import Pictures, remake, write_pictures
from evit_deploy.profiles.pages.pictures import FrameRow, Picture, Swatch, data_uri
from tests.browser import Browser, find_chromium
from tests.profiles.pages.full import full_evaluation, full_manifest, full_parts, full_report, int8_manifest
from tests.profiles.records import make_report, write_report

FULL, PLAIN, PARTS = "b0-seg.orin-nx.int8", "b0-seg.cpu.fp32", "l0-sam.cpu.fp32"


def some_pictures() -> Pictures:
    """One row of pictures."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    titles = ("Input", "PyTorch", "Engine", "Difference")
    row = FrameRow(
        "a.png", "no pixel differs", tuple(Picture(title, data_uri(noise, "png"), title) for title in titles)
    )
    return Pictures((row,), (Swatch("road", "#804080"),))


@pytest.fixture(scope="session")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Profiles with everything, with little, of several parts, and a broken one, with their pages. Do not change."""
    profiles = tmp_path_factory.mktemp("profiles")
    write_report(profiles / FULL, replace(full_report(manifest=int8_manifest()), engine=FULL))
    write_pictures(profiles / FULL, some_pictures())
    full_evaluation().evaluation.write(profiles / FULL / "evaluation.cityscapes.json")
    write_report(profiles / PLAIN, replace(make_report(manifest=full_manifest()), engine=PLAIN))
    write_report(profiles / PARTS, full_parts())
    (profiles / "broken").mkdir()
    (profiles / "broken" / "report.json").write_text('{"report": 1}')
    remake(profiles)
    return profiles


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser; tests open pages in it one after the other."""
    opened = Browser(find_chromium(), tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()
