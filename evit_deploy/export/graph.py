# SPDX-License-Identifier: Apache-2.0
"""The whole graph that is exported: image in, network, answer out."""

from __future__ import annotations

import onnx
import torch
from torch import Tensor, nn

from evit_deploy.export.peaks import Peaks
from evit_deploy.export.rewrite import PhaseUpsample, deployable, fold_input_scale
from evit_deploy.export.trace import trace
from evit_deploy.manifest import Preprocess

LOGITS = "logits"
LOGITS_STRIDE = 8


class DeployGraph(nn.Module):
    """The rewritten network between the chosen input and the chosen output.

    Args:
        model: A model in eval mode; it is copied.
        rules: Mean and standard deviation of the normalisation.
        input: "image": uint8 [B, H, W, 3] RGB; "tensor": normalised float [B, 3, H, W].
        output: "logits": as the model gives them; "classes": uint8 [B, H, W]; "confidence": that and the softmax
            probability of the class, float [B, H, W].
        peaks: Largest values seen in the attention, to balance it by.
    """

    mean: Tensor

    def __init__(
        self, model: nn.Module, rules: Preprocess, input: str, output: str, peaks: Peaks | None = None
    ) -> None:
        super().__init__()
        self.network = deployable(model, peaks)
        self.takes_image = input == "image"
        if self.takes_image:
            # (u / 255 - mean) / std = (u - 255 mean) · 1 / (255 std): the factor moves into the first convolution.
            fold_input_scale(self.network, 1 / (255 * torch.tensor(rules.std, dtype=torch.float64)))
            self.register_buffer("mean", 255 * torch.tensor(rules.mean).view(1, 3, 1, 1))
        self.classify = None if output == "logits" else PixelClassifier(LOGITS_STRIDE, output == "confidence")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Run the graph; the logits are always the last output, so that they can be checked."""
        if self.takes_image:
            image = image.permute(0, 3, 1, 2).float() - self.mean
        logits: Tensor = self.network(image)
        return (logits,) if self.classify is None else (*self.classify(logits), logits)


def trace_deployed(
    model: nn.Module,
    rules: Preprocess,
    resolution: tuple[int, int],
    input: str,
    output: str,
    *,
    peaks: Peaks | None = None,
    opset: int = 17,
    batch: tuple[int, int] = (1, 1),
) -> onnx.ModelProto:
    """Trace the `DeployGraph` of a model.

    Args:
        model: A model in eval mode; it is copied.
        rules: Preprocessing.
        resolution: (height, width).
        input: "image" or "tensor".
        output: "classes", "confidence" or "logits".
        peaks: Largest values seen in the attention, to balance it by.
        opset: ONNX opset, 17 to 20.
        batch: (smallest, largest) batch; equal for a static graph.

    Returns:
        The graph; the logits are its last output, whatever was asked for.

    Raises:
        CheckFailedError: The graph is not the one that was meant.
    """
    module = DeployGraph(model, rules, input, output, peaks).eval()
    low, high = batch
    if input == "image":
        example = torch.zeros(low, *resolution, 3, dtype=torch.uint8)
    else:
        example = torch.zeros(low, 3, *resolution)
    names = {"classes": ("classes", LOGITS), "confidence": ("classes", "confidence", LOGITS)}.get(output, (LOGITS,))
    return trace(module, example, names, opset, dynamic_batch=low != high)


class PixelClassifier(nn.Module):
    """Bicubic upsampling and argmax, in the order of least traffic.

    The argmax is taken while the sub-pixels of a pixel still stand in the channel axis. What has to be interleaved
    into image order afterwards is one byte per pixel, not one float per pixel and class.
    """

    def __init__(self, factor: int, confidence: bool) -> None:
        super().__init__()
        self.upsample, self.confidence = PhaseUpsample(factor), confidence

    def forward(self, logits: Tensor) -> tuple[Tensor, ...]:
        """Map logits [B, C, h, w] to classes uint8 [B, h · factor, w · factor], and probabilities if asked for."""
        classes, height, width = (int(size) for size in logits.shape[1:])
        phases = self.upsample.phases(logits).reshape(-1, classes, self.upsample.factor**2, height, width)
        best = self._interleave(phases.argmax(dim=1).to(torch.uint8), height, width)
        if not self.confidence:
            return (best,)
        top = phases.amax(dim=1, keepdim=True)
        probability = 1.0 / (phases - top).exp().sum(dim=1)
        return best, self._interleave(probability, height, width)

    def _interleave(self, phases: Tensor, height: int, width: int) -> Tensor:
        """Map [B, factor², h, w] to [B, h · factor, w · factor]."""
        f = self.upsample.factor
        grid = phases.reshape(-1, f, f, height, width).permute(0, 3, 1, 4, 2)
        return grid.reshape(-1, height * f, width * f)
