# SPDX-License-Identifier: Apache-2.0
"""Segment Anything: a picture is embedded once, then asked for masks by points, boxes and earlier masks.

with evit_deploy.load("engines/l0-sam.cpu.fp32") as sam:
    sam.set_image(frame)                                  # H×W×3 uint8 RGB, any size
    masks = sam.predict(points=[[320, 240]]).best()       # pixels of the frame
    masks.masks                                           # bool [1, H, W]
"""

from __future__ import annotations

from evit_deploy.runtime.sam.embedding import Embedding
from evit_deploy.runtime.sam.grid import EverythingOptions
from evit_deploy.runtime.sam.predictor import SegmentAnything
from evit_deploy.runtime.sam.records import MaskRecord
from evit_deploy.runtime.sam.result import Masks

__all__ = ["Embedding", "EverythingOptions", "MaskRecord", "Masks", "SegmentAnything"]
