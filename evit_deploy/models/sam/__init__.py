# SPDX-License-Identifier: Apache-2.0
"""EfficientViT-SAM in PyTorch: an image encoder of this family, and Segment Anything's own small mask decoder.

The encoder sees a picture once and makes an *embedding*; the decoder answers any number of *prompts* (points, a box,
an earlier mask) from it. Architecture: Kirillov et al., "Segment Anything", arXiv 2304.02643, appendix A (decoder);
Zhang et al., "EfficientViT-SAM", arXiv 2402.05008 (encoder). Module names are those of the official checkpoints.
"""

from __future__ import annotations

from evit_deploy.models.sam.decoder import MaskDecoder
from evit_deploy.models.sam.encoder import ImageEncoder
from evit_deploy.models.sam.model import SegmentAnything
from evit_deploy.models.sam.prompts import PromptEncoder

__all__ = ["ImageEncoder", "MaskDecoder", "PromptEncoder", "SegmentAnything"]
