# SPDX-License-Identifier: Apache-2.0
"""From an export to the typed graph that a GPU's compiler gets."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from evit_deploy.precision.arrange import arrange
from evit_deploy.precision.fp16 import lower_fp16
from evit_deploy.precision.prompts import encoding_nodes, fix_prompts


@dataclass(frozen=True)
class Lowered:
    """A typed graph and how it came about.

    Attributes:
        model: The graph.
        notes: What was done to single weights, in words.
    """

    model: onnx.ModelProto
    notes: tuple[str, ...]


def lower(model: onnx.ModelProto, precision: str, attention: str) -> Lowered:
    """Rearrange an exported graph for a GPU and type it.

    Args:
        model: FP32 graph written by ``evit-deploy export``.
        precision: "fp32" or "fp16".
        attention: Arrangement of the attention, see `evit_deploy.precision.attention.FORMS`.

    Raises:
        UsageError: No such arrangement, or a graph that was not written by this tool.
        CheckFailedError: Weights that FP16 cannot hold.
    """
    arranged = arrange(model, attention)
    if precision == "fp32":
        return Lowered(arranged, ())
    typed, notes = lower_fp16(arranged)
    return Lowered(typed, tuple(str(note) for note in notes))


def lower_decoder(model: onnx.ModelProto, precision: str, prompts: int, slots: int) -> Lowered:
    """Fix the sizes of an exported mask decoder for a GPU, and type it; positions of points stay FP32.

    Args:
        model: FP32 graph written by ``evit-deploy export``.
        precision: "fp32" or "fp16".
        prompts: Prompts per run.
        slots: Slots per prompt, for points and corners of a box.

    Raises:
        ArtifactError: Not a mask decoder.
        CheckFailedError: Weights that FP16 cannot hold.
    """
    fixed = fix_prompts(model, prompts, slots)
    note = f"{prompts} prompts of {slots} slots per run"
    if precision == "fp32":
        return Lowered(fixed, (note,))
    typed, notes = lower_fp16(fixed, fp32=encoding_nodes(fixed))
    return Lowered(typed, (note, "positions of points are encoded in FP32", *map(str, notes)))
