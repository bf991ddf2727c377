# SPDX-License-Identifier: Apache-2.0
"""Comparisons with PyTorch as tables for the page: a column for every quantity that some frame has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evit_deploy.agreement import broken_limits, worst
from evit_deploy.manifest import Agreement, Budget, FrameAgreement
from evit_deploy.profiles.pages.words import scientific


@dataclass(frozen=True)
class Quantity:
    """One measure of agreement: its field in `FrameAgreement`, its heading, a value and what passes in words."""

    field: str
    heading: str
    show: Callable[[float], str]
    limit: Callable[[Budget], str] = lambda _: ""


QUANTITIES = (
    Quantity("mask_iou", "Mask IoU", "{:.5f}".format, lambda budget: f"≥ {budget.mask_iou:g}"),
    Quantity("score_error", "Predicted IoU off by", scientific, lambda budget: f"≤ {budget.score_error:g}"),
    Quantity(
        "class_agreement",
        "Classes equal",
        lambda value: f"{100 * value:.4f} %",
        lambda budget: f"≥ {100 * budget.class_agreement:g} %",
    ),
    Quantity("miou", "mIoU", "{:.5f}".format),
    Quantity("conceded_margin", "Conceded margin, σ", scientific, lambda budget: f"≤ {budget.conceded_margin:g}"),
    Quantity("relative_l2", "Relative L2", scientific, lambda budget: f"≤ {budget.relative_l2:g}"),
    Quantity("max_error", "Largest error", scientific),
    Quantity("cosine", "Cosine", "{:.6f}".format),
    Quantity("confidence_error", "Confidence error", scientific, lambda budget: f"≤ {budget.confidence_error:g}"),
)


@dataclass(frozen=True)
class Row:
    """One frame: a cell for each heading, and the limits it breaks in words."""

    frame: str
    cells: tuple[str, ...]
    broken: tuple[str, ...]


@dataclass(frozen=True)
class AgreementTable:
    """A comparison, ready to be printed.

    Attributes:
        against: What was compared with.
        method: How the outputs came about.
        passed: Whether every frame is within the budget.
        headings: Of the columns that have something to say.
        rows: One per frame.
        worst: The worst value of each column.
        limits: What passes in each column; empty where nothing is demanded.
    """

    against: str
    method: str
    passed: bool
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    worst: tuple[str, ...]
    limits: tuple[str, ...]


def agreement_table(agreement: Agreement) -> AgreementTable:
    """The table of a comparison."""
    frames, budget = agreement.frames, agreement.budget
    shown = [item for item in QUANTITIES if any(getattr(frame, item.field) is not None for frame in frames)]

    def cells(frame: FrameAgreement) -> tuple[str, ...]:
        values = ((item, getattr(frame, item.field)) for item in shown)
        return tuple("–" if value is None else item.show(value) for item, value in values)

    return AgreementTable(
        agreement.against,
        agreement.method,
        agreement.passed,
        tuple(item.heading for item in shown),
        tuple(Row(frame.frame, cells(frame), tuple(broken_limits(frame, budget))) for frame in frames),
        cells(worst(frames)),
        tuple(item.limit(budget) for item in shown),
    )
