# SPDX-License-Identifier: Apache-2.0
"""The mask decoder as it is exported: any number of prompts on one embedding, all of SAM's rules inside.

Equal to `evit_deploy.models.sam.SegmentAnything.decode` up to the order of sums. What differs is where the work is
done: the image is one for all prompts until it first looks at the tokens, and projections of the image are moved to
the tokens' side (`evit_deploy.export.sam.attention`).
"""

from __future__ import annotations

import onnx
import torch
from torch import Tensor, nn

from evit_deploy.export.sam.algebra import Norm, Stack, frozen, weights
from evit_deploy.export.sam.attention import ImageToTokens, SelfAttention, TokensToImage
from evit_deploy.export.sam.masks import CameraPixels, MaskHead
from evit_deploy.export.sam.prompt_tokens import MaskPrompt, PromptTokens, image_rows
from evit_deploy.export.trace import trace
from evit_deploy.models.sam import SegmentAnything
from evit_deploy.models.sam.transformer import TwoWayLayer

INPUTS = ("coords", "labels", "embedding", "mask", "has_mask")
OUTPUTS = ("masks", "iou", "single_mask", "single_iou")
PIXELS = ("pixels", "single_pixels")
OPEN_AXES = {
    "coords": {0: "prompts", 1: "slots"},
    "labels": {0: "prompts", 1: "slots"},
    "mask": {0: "maps"},
    "has_mask": {0: "maps"},
} | {name: {0: "prompts"} for name in (*OUTPUTS, *PIXELS)}
"""Dimensions that stay open: P prompts, N slots, M maps (1 for all prompts, or one for each)."""


class DeployedDecoder(nn.Module):
    """Prompt encoder and mask decoder as one graph.

    Args:
        model: The model, in eval mode; its weights are copied.
        frame: (height, width) in px of the camera, for masks at its pixels; None gives logits only.
    """

    def __init__(self, model: SegmentAnything, frame: tuple[int, int] | None = None) -> None:
        super().__init__()
        prompts, decoder = model.prompt_encoder, model.mask_decoder
        transformer = decoder.transformer
        self.prompt, self.mask_prompt = PromptTokens(prompts, decoder), MaskPrompt(prompts)
        self.grid = frozen(image_rows(prompts.dense_encoding()))
        self.layers = nn.ModuleList(DeployedLayer(layer) for layer in transformer.layers)  # type: ignore[arg-type]
        self.final = TokensToImage(transformer.final_attn_token_to_image)
        self.final_norm = Norm(transformer.norm_final_attn)
        self.head = MaskHead(decoder)
        self.pixels = CameraPixels(frame) if frame else None

    def forward(
        self, coords: Tensor, labels: Tensor, embedding: Tensor, mask: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, ...]:
        """Answer P prompts on one picture.

        Args:
            coords: (x, y) in px of the 1024 frame, [P, N, 2].
            labels: int32 [P, N]: 1 inside the object, 0 outside, 2 and 3 the corners of a box (behind the points),
                -1 SAM's "not a point", -2 an empty slot, which changes nothing.
            embedding: [1, 256, 64, 64].
            mask: Logits of an earlier answer, [M, 1, 256, 256], M = 1 or P.
            has_mask: [M]: 1 where the mask counts, 0 where it does not.

        Returns:
            masks [P, 3, 256, 256] and iou [P, 3]: the answers to an ambiguous prompt; single_mask [P, 1, 256, 256] and
            single_iou [P, 1]: the answer to an unambiguous one. With a frame also pixels uint8 [P, 3, H, W] and
            single_pixels uint8 [P, 1, H, W].
        """
        start, empty = self.prompt(coords, labels)
        closed = empty[:, None, None]
        tokens, image = start, image_rows(embedding) + self.mask_prompt(mask, has_mask)
        for layer in self.layers:
            tokens, image = layer(tokens, start, image, image + self.grid, closed)
        own, own_start = tokens[:, : self.prompt.outputs], start[:, : self.prompt.outputs]
        own = self.final_norm(own + self.final(own + own_start, image, image + self.grid))
        masks, iou = self.head(own, image)
        answers = (masks[:, 1:], iou[:, 1:], masks[:, :1], iou[:, :1])
        if self.pixels is None:
            return answers
        return (*answers, self.pixels(answers[0]), self.pixels(answers[2]))


class DeployedLayer(nn.Module):
    """A layer of the two-way transformer.

    Args:
        layer: As built.
    """

    def __init__(self, layer: TwoWayLayer) -> None:
        super().__init__()
        self.first = layer.first
        self.among_tokens = SelfAttention(layer.self_attn)
        self.to_image = TokensToImage(layer.cross_attn_token_to_image)
        self.to_tokens = ImageToTokens(layer.cross_attn_image_to_token)
        self.perceptron = Stack([weights(layer.mlp.lin1), weights(layer.mlp.lin2)])
        self.norms = nn.ModuleList(Norm(norm) for norm in (layer.norm1, layer.norm2, layer.norm3, layer.norm4))

    def forward(
        self, tokens: Tensor, start: Tensor, image: Tensor, image_at: Tensor, closed: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One round of looking at each other.

        Args:
            tokens: [P, T, 256].
            start: The tokens before the first layer, which are their encodings, [P, T, 256].
            image: [P or 1, 4096, 256].
            image_at: The same with the grid's encodings.
            closed: Bool [P, 1, 1, T], True for empty slots.

        Returns:
            Tokens [P, T, 256] and image [P, 4096, 256].
        """
        after_self, after_image, after_perceptron, after_tokens = self.norms
        if self.first:
            tokens = after_self(self.among_tokens(tokens, tokens, closed))
        else:
            tokens = after_self(tokens + self.among_tokens(tokens + start, tokens, closed))
        tokens = after_image(tokens + self.to_image(tokens + start, image, image_at))
        tokens = after_perceptron(tokens + self.perceptron(tokens))
        return tokens, after_tokens(image + self.to_tokens(tokens + start, tokens, image_at, closed))


def trace_decoder(model: SegmentAnything, frame: tuple[int, int] | None = None, opset: int = 17) -> onnx.ModelProto:
    """Trace the decoder of a model with open numbers of prompts, slots and masks.

    Args:
        model: The model, in eval mode; its weights are copied.
        frame: (height, width) in px of a camera, for masks at its pixels as well.
        opset: ONNX opset, 17 to 20.

    Returns:
        Graph with inputs `INPUTS` and outputs `OUTPUTS`, and `PIXELS` with a frame.

    Raises:
        CheckFailedError: The graph is not the one that was meant.
        UsageError: A frame without pixels.
    """
    module = DeployedDecoder(model, frame).eval()
    outputs = (*OUTPUTS, *PIXELS) if frame else OUTPUTS
    axes = {name: open_axes for name, open_axes in OPEN_AXES.items() if name in (*INPUTS, *outputs)}
    return trace(module, example_inputs(), outputs, opset, dynamic_batch=True, axes=axes)


def example_inputs() -> dict[str, Tensor]:
    """Inputs of the right shapes and types to trace with: two prompts of three slots, one map."""
    return {
        "coords": torch.zeros(2, 3, 2),
        "labels": torch.ones(2, 3, dtype=torch.int32),
        "embedding": torch.zeros(1, 256, 64, 64),
        "mask": torch.zeros(1, 1, 256, 256),
        "has_mask": torch.zeros(1),
    }
