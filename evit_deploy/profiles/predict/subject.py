# SPDX-License-Identifier: Apache-2.0
"""What is predicted: a graph with the plan of its kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from evit_deploy.engines import plan as plans
from evit_deploy.engines.plan import Plan

FALLBACK = "the graph alone"
"""Origin of a plan that no compiler made."""

COMPILED = "TensorRT for RTX"
"""How the origin of a plan begins that was compiled to predict from, as the plans that the model was fitted to were."""


@dataclass(frozen=True)
class Subject:
    """A graph and its plan.

    Attributes:
        name: Of the model or the artifact, with the part's where it has several.
        model: Name of the model.
        resolution: (height, width) of the graph's input; of a mask decoder, the frame that its points are in.
        batch: Frames per run; of a mask decoder, prompts.
        precision: "fp16", "fp32" or "int8".
        input: "image", "tensor" or "prompts".
        output: "classes", "confidence", "logits", "embedding" or "masks".
        plan: The kernels.
        inputs: Bytes of all inputs of a run.
        outputs: Bytes of all outputs of a run.
        origin: Who made the plan, in words; `FALLBACK` where no compiler did.
        notes: What a reader must know about it.
        target: What an engine was built for; None of what is no engine.
    """

    name: str
    model: str
    resolution: tuple[int, int]
    batch: int
    precision: str
    input: str
    output: str
    plan: Plan
    inputs: int
    outputs: int
    origin: str
    notes: tuple[str, ...] = ()
    target: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "plan": plans.to_json(self.plan)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Subject:
        """A subject from what `to_json` made of it; KeyError, TypeError or ValueError if it is something else."""
        height, width = data["resolution"]
        changed = {"resolution": (height, width), "plan": plans.from_json(data["plan"]), "notes": tuple(data["notes"])}
        return cls(**{**data, **changed})
