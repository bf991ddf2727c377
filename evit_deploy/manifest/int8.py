# SPDX-License-Identifier: Apache-2.0
"""What a manifest says of an INT8 engine: what it was calibrated with, what it loses, what it gains and who said so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Int8Point:
    """One assignment that was judged.

    Attributes:
        layers: Convolutions in INT8.
        mac_share: Share of the network's convolution multiply-adds in INT8, 0..1.
        ms: What it costs, by the oracle.
        ratio: That over FP16.
        drop: Points lost.
        error: Mean relative L2 error of the logits or the embedding.
    """

    layers: int
    mac_share: float
    ms: float
    ratio: float
    drop: float
    error: float


@dataclass(frozen=True)
class Int8Info:
    """How an INT8 graph came about.

    Attributes:
        calibration: What the frames were that it was calibrated with, in words.
        images: How many.
        method: How ranges were chosen: "auto" (tensor by tensor), "min-max", "percentile" or "entropy".
        methods: Tensors by the method that was chosen for them.
        judged: What the held-out frames were, in words.
        judged_frames: How many.
        metric: What `drop` is of: "mIoU" (against labels), "expected mIoU" and "expected top-1" (against what FP32's
            own probabilities expect), "mask IoU" (against FP32's masks).
        max_drop: Points that were allowed to be lost.
        drop: Points that are lost on the held-out frames.
        agreement: Share of equal classes, or the masks' intersection over union, against FP32.
        error: Mean relative L2 error of the logits or the embedding.
        oracle: Who told what an assignment costs, in words.
        fp16_ms: What FP16 costs, by the oracle.
        ms: What this engine costs, by the oracle.
        ratio: `ms` over `fp16_ms`.
        ratio_low: Lower end of the ratio's interval.
        ratio_high: Upper end.
        mac_share: Share of the network's convolution multiply-adds in INT8, 0..1.
        layers: Names of the convolutions in INT8.
        eligible: How many may be.
        complete: Whether the search came to its end; False: its time was up.
        full: All that may be INT8 in INT8.
        curve: What was judged, by cost: what each loses and gains.
        sensitivity: Points lost with one layer alone in INT8, by its name.
        warnings: What users must know of the calibration.
        source: What the frames were asked for by, as ``--calibrate`` takes it; empty where nobody wrote it down.
        max_error: Relative L2 error that was allowed; None if any.
        spread: Standard error of `drop` over the frames.
    """

    calibration: str
    images: int
    method: str
    methods: dict[str, int]
    judged: str
    judged_frames: int
    metric: str
    max_drop: float
    drop: float
    agreement: float
    error: float
    oracle: str
    fp16_ms: float
    ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    mac_share: float
    layers: tuple[str, ...]
    eligible: int
    complete: bool
    full: Int8Point
    curve: tuple[Int8Point, ...]
    sensitivity: dict[str, float]
    warnings: tuple[str, ...] = ()
    source: str = ""
    max_error: float | None = None
    spread: float = 0.0

    @property
    def predicted(self) -> bool:
        """Whether no device was measured: the words of an oracle that predicts begin so."""
        return self.oracle.startswith("predicted")
