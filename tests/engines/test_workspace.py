# SPDX-License-Identifier: Apache-2.0
"""How much memory a build may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from evit_deploy.engines import workspace
from evit_deploy.engines.workspace import MIB, first_to_go, spare_memory, tactic_pool, workspace_pool
from evit_deploy.errors import UnavailableError
from evit_deploy.runtime.cuda.logger import shared_logger
from tests.conftest import require
from tests.engines.devices import A100, ORIN

GIB = 1024 * MIB


def limit(monkeypatch: pytest.MonkeyPatch, device: object, free: int | None, loaded: bool = False) -> int:
    monkeypatch.setattr(workspace, "free_memory", lambda found: free if found is device else 0)
    return workspace_pool(spare_memory(device, loaded=loaded))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("device", "free", "expected"),
    [
        (ORIN, 28 * GIB, (28 * GIB - 1536 * MIB) // 2),
        (ORIN, 6 * GIB, 2304 * MIB),
        (ORIN, 2048 * MIB, 256 * MIB),
        (A100, 80 * GIB, (80 * GIB - 512 * MIB) // 2),
        (A100, 1024 * MIB, 256 * MIB),
    ],
)
def test_half_of_what_is_free_after_the_reserve(
    device: object, free: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert limit(monkeypatch, device, free) == expected


@pytest.mark.parametrize(
    ("device", "free", "expected", "words"),
    [
        (ORIN, 2047 * MIB, "at least 2048 MiB, of which 1536 MiB are left to others", "isolate multi-user"),
        (ORIN, 0, "at least 2048 MiB", "the desktop"),
        (A100, 1023 * MIB, "at least 1024 MiB", "that use the GPU"),
    ],
)
def test_too_little_memory(
    device: object, free: int, expected: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnavailableError, match="too little memory is free") as caught:
        limit(monkeypatch, device, free)
    assert str(caught.value.found).startswith(f"{free // MIB} MiB of ")
    assert str(caught.value.expected).startswith(expected)
    assert words in str(caught.value.fix)


def test_with_the_builder_loaded_less_is_still_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    assert limit(monkeypatch, ORIN, 1792 * MIB, loaded=True) == 256 * MIB
    with pytest.raises(UnavailableError, match="too little memory is free") as caught:
        limit(monkeypatch, ORIN, 1791 * MIB, loaded=True)
    assert str(caught.value.found).endswith("with TensorRT's builder loaded")


@pytest.mark.parametrize(("device", "where"), [(ORIN, "CPU and GPU share"), (A100, "GPU memory")])
def test_memory_that_nobody_tells(device: object, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError, match="how much memory is free is unknown") as caught:
        limit(monkeypatch, device, None)
    assert where in str(caught.value.found)
    assert "0 MiB" not in str(caught.value.found)


@pytest.mark.parametrize(("spare", "expected"), [(256, 256), (511, 256), (512, 512), (6656, 4096), (27136, 16384)])
def test_the_limit_of_shared_memory_is_a_power_of_two(spare: int, expected: int) -> None:
    """Any other is refused by TensorRT, silently."""
    assert tactic_pool(spare * MIB) == expected * MIB


def test_a_real_library_takes_that_limit() -> None:
    require("tensorrt_rtx")
    import tensorrt_rtx as trt

    pool = trt.MemoryPoolType.TACTIC_DRAM
    config = trt.Builder(shared_logger(trt)).create_builder_config()
    config.set_memory_pool_limit(pool, tactic_pool(700 * MIB + 1))
    assert config.get_memory_pool_limit(pool) == 512 * MIB
    config.set_memory_pool_limit(pool, 700 * MIB + 1)
    assert config.get_memory_pool_limit(pool) == 512 * MIB, "left out"


def test_where_memory_is_shared_the_build_goes_first() -> None:
    score = Path("/proc/self/oom_score_adj")
    before = score.read_text()
    with first_to_go(ORIN):
        assert score.read_text() == "1000\n"
    assert score.read_text() == before
    with pytest.raises(ValueError, match="broken"), first_to_go(ORIN):
        raise ValueError("broken")
    assert score.read_text() == before
    with first_to_go(A100):
        assert score.read_text() == before


def test_a_system_without_such_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "_SCORE", tmp_path / "nothing")
    with first_to_go(ORIN):
        pass
    assert not list(tmp_path.iterdir())
