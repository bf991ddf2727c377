# SPDX-License-Identifier: Apache-2.0
"""Stages from the names of nodes."""

from __future__ import annotations

import pytest

from evit_deploy.engines.plan import Kernel
from evit_deploy.profiles.predict.stages import stages_of


def kernels(*layers: tuple[str, ...]) -> list[Kernel]:
    return [Kernel("k", "kgen", (), (), 0, names) for names in layers]


def test_b_backbones_name_their_stem() -> None:
    names = [("image.Cast",), ("backbone.input_stem.op_list.0.conv.Conv",), ("backbone.stages.0.op_list.0.Conv",),
             ("backbone.stages.3.op_list.1.Conv",), ("head.op_list.0.conv.Conv",), ("classify.Resize",)]  # fmt: skip
    assert stages_of(kernels(*names), "image") == ["input", "stem", "stage 1", "stage 4", "head", "output"]


def test_l_backbones_number_it() -> None:
    names = [
        ("backbone.stages.0.op_list.0.conv.Conv",),
        ("backbone.stages.4.op_list.0.Conv",),
        ("neck.Add",),
        ("norm.Mul",),
    ]
    assert stages_of(kernels(*names), "image") == ["stem", "stage 4", "neck", "neck"]


def test_what_has_no_name_belongs_where_the_last_one_did() -> None:
    assert stages_of(kernels((), ("backbone.stages.1.x.Conv",), (), ("Mul_3",)), "image") == ["input"] + 3 * ["stage 1"]


def test_a_kernel_belongs_to_its_first_named_node() -> None:
    assert stages_of(kernels(("Cast_1", "head.a", "classify.b")), "image") == ["head"]


@pytest.mark.parametrize("names", [(), ("backbone.stages.0.x",)])
def test_a_mask_decoder_is_one_stage(names: tuple[str, ...]) -> None:
    assert stages_of(kernels(names, names), "prompts") == ["decoder", "decoder"]
