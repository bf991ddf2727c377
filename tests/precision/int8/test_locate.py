# SPDX-License-Identifier: Apache-2.0
"""Where an INT8 graph loses: compared with itself without rounding, to half or to INT8."""

from __future__ import annotations

import onnx
import pytest

from evit_deploy.precision.emulate import widen
from evit_deploy.precision.fp16 import lower_fp16
from evit_deploy.precision.int8.place import place
from evit_deploy.precision.locate import locate
from tests.precision.int8.graphs import images
from tests.precision.typed import run

SCALES = {"stem.act": 0.02, "expand.act": 0.03, "depth.act": 0.02, "both": 0.025}


def feeds() -> list[dict]:
    return [{"image": feed["image"].astype("float16")} for feed in images(2)]


def test_every_rounding_to_int8_shows_where_it_is(toy: onnx.ModelProto) -> None:
    half = lower_fp16(toy)[0]
    plain = {row.name: row.relative_l2 for row in locate(half, feeds())}
    found = {row.name: row.relative_l2 for row in locate(place(half, ["block.main.depth"], SCALES), feeds())}
    for name in ("stem", "stem.act", "expand.act"):
        assert found[name] == pytest.approx(plain[name], abs=1e-6) and found[name] < 1e-3
    assert found["expand.act.dequantised"] > 3 * found["expand.act"]
    assert found["depth"] > 3 * plain["depth"]


def test_without_rounding_only_weights_are_int8(toy: onnx.ModelProto) -> None:
    """A scale that is far too large ruins an activation, and nothing of that is left."""
    half = lower_fp16(toy)[0]
    exact = [run(widen(place(half, ["merge"], {"both": scale})), **feeds()[0])[0] for scale in (0.01, 4.0)]
    assert abs(exact[0] - exact[1]).max() == 0
    assert abs(run(widen(half), **feeds()[0])[0] - exact[0]).max() < 0.05
