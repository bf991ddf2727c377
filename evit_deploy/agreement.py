# SPDX-License-Identifier: Apache-2.0
"""How an output compares with PyTorch's, and what passes: one place for the whole project.

A class map alone cannot tell a harmless tie from a fault, so every comparison looks back at PyTorch's logits: where
the classes differ, how much reference logit did the engine give away by its choice? Rounding flips pixels whose two
best logits are nearly equal; a fault also flips pixels where they are far apart. That is the *conceded margin*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.data.masks import LowRes, PromptFrame
from evit_deploy.data.metrics import ConfusionMatrix
from evit_deploy.data.resize import upsample_bicubic
from evit_deploy.errors import CheckFailedError
from evit_deploy.manifest.model import Agreement, Budget, FrameAgreement

Array = npt.NDArray[Any]

BUDGETS = {
    # FP32 twice: only the order of sums differs. Seen on all models: relative L2 around 1e-6.
    "fp32": Budget(
        relative_l2=1e-4,
        class_agreement=0.999,
        conceded_margin=1e-3,
        confidence_error=1e-3,
        mask_iou=0.999,
        score_error=1e-3,
    ),
    # FP16 keeps 11 bits: 2^-12 per rounding. Seen on the demo weights: relative L2 around 1e-3 (docs/numerics.md).
    "fp16": Budget(
        relative_l2=1e-2,
        class_agreement=0.99,
        conceded_margin=0.1,
        confidence_error=0.05,
        mask_iou=0.99,
        score_error=0.02,
    ),
    # BF16 keeps 8 bits: 2^-9 per rounding, some 40 layers deep. Seen on the demo weights: docs/numerics.md.
    "bf16": Budget(
        relative_l2=5e-2, class_agreement=0.97, conceded_margin=0.5, confidence_error=0.3, mask_iou=0.9, score_error=0.1
    ),
    # INT8 has 8 bits, of a range that is the same for a whole tensor. What it may lose is decided on held-out frames
    # when it is built; on the few frames that travel with it only faults are to be found (docs/int8.md).
    "int8": Budget(
        relative_l2=0.2, class_agreement=0.9, conceded_margin=3.0, confidence_error=0.9, mask_iou=0.8, score_error=0.5
    ),
}


def budget_for(precision: str, task: str) -> Budget:
    """What still passes for a precision and a task ("cls", "seg", "sam").

    A classifier's frame has one class: in INT8 it may flip where two are nearly equal, which the conceded margin tells.
    """
    budget = BUDGETS[precision]
    return replace(budget, class_agreement=0.0) if (precision, task) == ("int8", "cls") else budget


def compare_frame(name: str, reference: Array, outputs: Mapping[str, Array]) -> FrameAgreement:
    """Compare the outputs of one frame with PyTorch's logits.

    Args:
        name: Name of the frame.
        reference: PyTorch's logits, float32 [classes] or [classes, h, w].
        outputs: The engine's outputs for the frame: "logits" of the same shape, "classes" uint8 [H, W] (perhaps with
            "confidence"), or both; classes are then judged by the class map.

    Raises:
        CheckFailedError: PyTorch's own logits are not finite: there is nothing to agree with.
    """
    _require_finite(name, reference)
    if "classes" not in outputs:
        return _compare_logits(name, reference, np.asarray(outputs["logits"], np.float32))
    row = _compare_class_map(name, reference, outputs)
    if "logits" not in outputs:
        return row
    raw = _compare_logits(name, reference, np.asarray(outputs["logits"], np.float32))
    return replace(
        row,
        finite=row.finite and raw.finite,
        relative_l2=raw.relative_l2,
        max_error=raw.max_error,
        cosine=raw.cosine,
    )


def compare_embedding(name: str, reference: Array, found: Array) -> FrameAgreement:
    """Compare an image encoder's output for one picture with PyTorch's.

    Args:
        name: Name of the picture.
        reference: PyTorch's embedding, float32 of any shape.
        found: The engine's, of the same shape.

    Raises:
        CheckFailedError: PyTorch's own embedding is not finite.
    """
    _require_finite(name, reference)
    return FrameAgreement(name, None, None, None, **_distance(reference, np.asarray(found, np.float32)))


def compare_masks(name: str, frame: PromptFrame, reference: LowRes, found: LowRes) -> FrameAgreement:
    """Compare the masks of one prompt with PyTorch's, in the pixels of the frame that they belong to.

    Args:
        name: Name of the frame and the prompt.
        frame: Size of the frame.
        reference: PyTorch's logits [K, 256, 256] and predicted IoU [K].
        found: The engine's, of the same shapes.

    Returns:
        The intersection over union of all K masks taken together (1 where all are empty), the largest difference of a
        predicted IoU and of a logit, and the conceded margin: of the pixels that changed, the largest distance of
        PyTorch's logit from the threshold, in standard deviations of that mask's logits. One pixel more or less is 5 %
        of a mask of 20 pixels, so small masks are judged by the margin: a fault also changes clear pixels. The distance
        of the logits is no quantity to judge by: far from the threshold they may be off without a pixel changing.

    Raises:
        CheckFailedError: PyTorch's own answer is not finite.
    """
    _require_finite(name, reference.masks)
    _require_finite(name, reference.iou)
    masks, scores = np.asarray(found.masks, np.float32), np.asarray(found.iou, np.float32)
    if not (np.isfinite(masks).all() and np.isfinite(scores).all()):
        return FrameAgreement(name, None, None, None, finite=False, max_error=float("inf"), mask_iou=0.0)
    return replace(
        compare_pixels(frame.upscale(reference.masks), frame.upscale(masks) > 0),
        frame=name,
        max_error=float(np.abs(masks - reference.masks).max()),
        score_error=float(np.abs(scores - reference.iou).max()),
    )


def compare_pixels(logits: Array, found: Array) -> FrameAgreement:
    """Compare the pixels of a prompt's masks with PyTorch's logits, as `compare_masks` says.

    Args:
        logits: PyTorch's, float32 [K, H, W].
        found: The engine's masks, bool [K, H, W].
    """
    ours = logits > 0
    union, overlap = int((ours | found).sum()), int((ours & found).sum())
    deviation = np.maximum(logits.std(axis=(1, 2), keepdims=True), 1e-6)
    return FrameAgreement(
        "pixels", None, None,
        conceded_margin=float(np.abs(logits / deviation).max(where=ours != found, initial=0.0)),
        mask_iou=overlap / union if union else 1.0,
    )  # fmt: skip


def judge(against: str, budget: Budget, frames: Sequence[FrameAgreement]) -> Agreement:
    """Hold all frames against a budget."""
    passed = all(not broken_limits(frame, budget) for frame in frames)
    return Agreement(against, passed, budget, tuple(frames))


def broken_limits(frame: FrameAgreement, budget: Budget) -> list[str]:
    """The limits a frame breaks, in words; empty if it passes."""
    broken = []
    if not frame.finite:
        broken.append("NaN or infinity in the output")
    if frame.relative_l2 is not None and not frame.relative_l2 <= budget.relative_l2:
        broken.append(f"relative L2 {frame.relative_l2:.2e}, at most {budget.relative_l2:.0e}")
    if frame.class_agreement is not None and not frame.class_agreement >= budget.class_agreement:
        broken.append(f"{frame.class_agreement:.3%} of classes equal, at least {budget.class_agreement:.1%}")
    if frame.conceded_margin is not None and not frame.conceded_margin <= budget.conceded_margin:
        broken.append(f"conceded margin {frame.conceded_margin:.2e} σ, at most {budget.conceded_margin:.0e} σ")
    if frame.confidence_error is not None and not frame.confidence_error <= budget.confidence_error:
        broken.append(f"confidence off by {frame.confidence_error:.2e}, at most {budget.confidence_error:.0e}")
    if frame.mask_iou is not None and not frame.mask_iou >= budget.mask_iou:
        broken.append(f"mask IoU {frame.mask_iou:.4f}, at least {budget.mask_iou:g}")
    if frame.score_error is not None and not frame.score_error <= budget.score_error:
        broken.append(f"predicted IoU off by {frame.score_error:.2e}, at most {budget.score_error:g}")
    return broken


def require(agreement: Agreement, subject: str, fix: str) -> None:
    """Raise unless an agreement passed.

    Raises:
        CheckFailedError: The first frame outside the budget, and by how much.
    """
    for frame in agreement.frames:
        if broken := broken_limits(frame, agreement.budget):
            raise CheckFailedError(
                f"{subject} does not agree with {agreement.against}",
                found=f"on {frame.frame}: {'; '.join(broken)}",
                expected="agreement on every frame",
                fix=fix,
            )


def worst(frames: Sequence[FrameAgreement]) -> FrameAgreement:
    """The worst value of every quantity over all frames, as a row of its own."""

    def pick(field: str, choose: Any) -> Any:
        values = [value for frame in frames if (value := getattr(frame, field)) is not None]
        return choose(values) if values else None

    return FrameAgreement(
        frame="worst",
        class_agreement=pick("class_agreement", min),
        miou=pick("miou", min),
        conceded_margin=pick("conceded_margin", max),
        finite=pick("finite", min),
        relative_l2=pick("relative_l2", max),
        max_error=pick("max_error", max),
        cosine=pick("cosine", min),
        confidence_error=pick("confidence_error", max),
        mask_iou=pick("mask_iou", min),
        score_error=pick("score_error", max),
    )


def mean_iou(reference: Array, found: Array, classes: int) -> float:
    """Mean intersection over union of two class maps, over the classes in either."""
    matrix = ConfusionMatrix(classes)
    matrix.update(found, reference)
    return float(np.nanmean(matrix.iou()))


def class_map(logits: Array, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Class map [height, width] of logits [classes, h, w]: bicubic upsampling, then argmax (the reference's rule)."""
    return np.asarray(upsample_bicubic(logits, height, width).argmax(axis=0), np.uint8)


def _require_finite(name: str, reference: Array) -> None:
    if not np.isfinite(reference).all():
        raise CheckFailedError(
            f"PyTorch's own output is not finite on {name}",
            found="NaN or infinity",
            fix="the checkpoint is broken, or made for another normalisation: try other weights",
        )


def _distance(reference: Array, found: Array) -> dict[str, Any]:
    """How far numbers are from a reference, as fields of a `FrameAgreement`."""
    finite = bool(np.isfinite(found).all())
    norm = float(np.linalg.norm(reference))
    error = found.astype(np.float64) - reference
    cosine = float(np.vdot(reference, found) / max(norm * float(np.linalg.norm(found)), 1e-30)) if finite else None
    return {
        "finite": finite,
        "relative_l2": float(np.linalg.norm(error)) / max(norm, 1e-30) if finite else float("inf"),
        "max_error": float(np.abs(error).max()) if finite else float("inf"),
        "cosine": cosine,
    }


def _compare_logits(name: str, reference: Array, found: Array) -> FrameAgreement:
    ours, theirs = reference.argmax(axis=0), found.argmax(axis=0)
    return FrameAgreement(
        frame=name,
        class_agreement=float((ours == theirs).mean()),
        miou=mean_iou(ours, theirs, len(reference)) if reference.ndim == 3 else None,
        conceded_margin=_conceded_margin(reference, ours, theirs),
        **_distance(reference, found),
    )


def _compare_class_map(name: str, reference: Array, outputs: Mapping[str, Array]) -> FrameAgreement:
    found = np.asarray(outputs["classes"])
    logits = upsample_bicubic(reference, *found.shape)
    ours = logits.argmax(axis=0)
    confidence = outputs.get("confidence")
    # A class number past the last one is as broken as a NaN; it is clipped so that the comparison can go on.
    finite = bool(found.max() < len(reference)) and (confidence is None or bool(np.isfinite(confidence).all()))
    found = np.minimum(found, len(reference) - 1)
    return FrameAgreement(
        frame=name,
        class_agreement=float((ours == found).mean()),
        miou=mean_iou(ours, found, len(reference)),
        conceded_margin=_conceded_margin(logits, ours, found),
        finite=finite,
        confidence_error=None if confidence is None else _confidence_error(logits, confidence),
    )


def _conceded_margin(logits: Array, ours: Array, theirs: Array) -> float:
    """Largest reference logit given away, in standard deviations of the reference's logits."""
    differ = ours != theirs
    if not differ.any():
        return 0.0
    if logits.ndim == 1:
        given = logits[ours] - logits[theirs]
    else:
        columns = logits[:, differ]
        pick = np.arange(columns.shape[1])
        given = (columns[ours[differ], pick] - columns[theirs[differ], pick]).max()
    return float(given) / max(float(logits.std()), 1e-30)


def _confidence_error(logits: Array, confidence: Array) -> float:
    expected = 1.0 / np.exp(logits - logits.max(axis=0)).sum(axis=0)
    return float(np.abs(expected - confidence).max())
