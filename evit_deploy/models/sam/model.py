# SPDX-License-Identifier: Apache-2.0
"""The whole model: encode a picture once, decode prompts on its embedding."""

from __future__ import annotations

from torch import Tensor, nn

from evit_deploy.models.backbones import BackboneSpec
from evit_deploy.models.sam.decoder import MaskDecoder
from evit_deploy.models.sam.encoder import ImageEncoder
from evit_deploy.models.sam.prompts import PromptEncoder
from evit_deploy.models.zoo import SamHeadSpec


class SegmentAnything(nn.Module):
    """Image encoder, prompt encoder and mask decoder.

    Args:
        backbone: The encoder's backbone, with the epsilon of every norm of the model.
        neck: Blocks of the encoder's neck.
        image_size: Side S of the encoder's square input in pixels.
    """

    def __init__(self, backbone: BackboneSpec, neck: SamHeadSpec, image_size: int) -> None:
        super().__init__()
        self.image_encoder = ImageEncoder(backbone, neck)
        self.prompt_encoder = PromptEncoder(backbone.norm_eps)
        self.mask_decoder = MaskDecoder(backbone.norm_eps)
        self.image_size = image_size

    def forward(self, image: Tensor) -> Tensor:
        """Map normalised images to embeddings.

        Args:
            image: [B, 3, S, S]: the picture, longest side S, stands top left; zeros beside and below it.

        Returns:
            [B, 256, 64, 64].
        """
        return self.image_encoder(image)  # type: ignore[no-any-return]

    def decode(
        self,
        embedding: Tensor,
        coords: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Answer P prompts on one picture; a prompt has points, a box, a mask, or several of them.

        Args:
            embedding: [1, 256, 64, 64].
            coords: Points (x, y) in px of the 1024 frame (the picture's longest side is 1024), [P, N, 2].
            labels: 1 inside the object, 0 outside it, [P, N].
            boxes: (x0, y0, x1, y1) in px of the 1024 frame, [P, 4].
            mask: Logits of an earlier answer, [P or 1, 1, 256, 256].

        Returns:
            Logits [P, 4, 256, 256], positive inside the mask: mask 0 is the answer to an unambiguous prompt, masks 1 to
            3 answer an ambiguous one; and their predicted IoU [P, 4].
        """
        sparse, dense = self.prompt_encoder(coords, labels, boxes, mask)
        return self.mask_decoder(embedding, self.prompt_encoder.dense_encoding(), sparse, dense)  # type: ignore[no-any-return]
