# SPDX-License-Identifier: Apache-2.0
"""A lowered graph made small comes back byte by byte, or is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evit_deploy.engines.squeeze import expand, squeeze
from evit_deploy.errors import ArtifactError
from evit_deploy.precision.merging import FACTORS, merge_aggregation, read_factors, write_factors


def pair(seed: int, groups: int = 3) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    shapes = ((4 * groups, 1, 5, 5), (4 * groups, 4, 1, 1))
    depthwise, mixing = (draw.standard_normal(shape).astype(np.float32) for shape in shapes)
    return depthwise, mixing


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.binary(max_size=9), min_size=4, max_size=4),
    st.permutations(range(3)),
    st.sampled_from(["<f2", "<f4"]),
    st.booleans(),
    st.sampled_from([(0, 1, 2), (0, 0, 1), (0, 0, 0)]),
)
def test_it_comes_back(noise: list[bytes], order: list[int], dtype: str, changed: bool, seeds: tuple[int, ...]) -> None:
    """Weights may be equal, as those of pruned networks are."""
    factors = {f"w{index}": pair(seed) for index, seed in enumerate(seeds)}
    weights = [merge_aggregation(*factors[f"w{seed}"]).astype(dtype) for seed in order]
    if changed:  # one that does not follow from its factors any more stays in
        weights[1] = weights[1] * 2
    data = b"".join(part for i in range(3) for part in (noise[i], weights[i].tobytes())) + noise[3]
    assert expand(squeeze(data, factors), factors) == data


@given(st.binary(max_size=100))
def test_any_file_comes_back(data: bytes) -> None:
    assert expand(squeeze(data, {}), {}) == data


def test_it_is_small() -> None:
    factors = {"w": pair(0, groups=40)}
    data = merge_aggregation(*factors["w"]).astype("<f2").tobytes()
    assert len(squeeze(data, factors)) < 200 < len(data)


@pytest.mark.parametrize(
    "damage",
    [lambda d: b"", lambda d: d[:-3], lambda d: b"{" + d, lambda d: d.replace(b"cuts", b"nuts"), lambda d: b"[]\n" + d],
)
def test_what_is_damaged_is_refused(damage) -> None:
    factors = {"w": pair(0)}
    data = squeeze(b"before" + merge_aggregation(*factors["w"]).astype("<f2").tobytes(), factors)
    with pytest.raises(ArtifactError, match="the package is refused"):
        expand(damage(data), factors)


def test_factors_that_are_missing_are_refused() -> None:
    factors = {"w": pair(0)}
    data = squeeze(merge_aggregation(*factors["w"]).astype("<f2").tobytes(), factors)
    with pytest.raises(ArtifactError, match="the package is refused"):
        expand(data, {})


def test_factors_are_kept(tmp_path: Path) -> None:
    factors = {"a.b": pair(0), "c": pair(1)}
    assert read_factors(tmp_path) == {}
    write_factors(tmp_path, factors)
    found = read_factors(tmp_path)
    assert found.keys() == factors.keys()
    for name, arrays in factors.items():
        for left, right in zip(found[name], arrays, strict=True):
            np.testing.assert_array_equal(left, right)
    (tmp_path / FACTORS).write_bytes(b"no archive")
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_factors(tmp_path)
