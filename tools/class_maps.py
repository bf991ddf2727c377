# SPDX-License-Identifier: Apache-2.0
"""Logits to class map in several ways, as graphs to compile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from onnx import ModelProto
from torch import Tensor, nn

from evit_deploy.export.exporter import preprocess_rules
from evit_deploy.export.graph import LOGITS_STRIDE, PixelClassifier
from evit_deploy.export.trace import hide_output, trace
from evit_deploy.models.zoo import find_model
from evit_deploy.precision.arrange import arrange

_RULES = preprocess_rules(find_model("b1-seg"))
_WIDTH = 64
_MANY = 32


class ClassMap(nn.Module):
    """The network's last convolution and what makes classes of its logits.

    Args:
        classes: Number of classes.
        kind: "logits": nothing; "argmax": Resize, ArgMax; "phases": all sub-pixels in the channel axis by a
            convolution, ArgMax, interleaving, as exported but for the cast at the end; "duels": the same with a
            tournament instead of ArgMax; "each": every class resized by itself, then a tournament; "chain": Resize,
            classes compared one after the other; "export": as exported.
    """

    def __init__(self, classes: int, kind: str) -> None:
        super().__init__()
        self.logits, self.kind = nn.Conv2d(_WIDTH, classes, 1), kind
        self.export = PixelClassifier(LOGITS_STRIDE, confidence=False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map [1, 64, h, w] to classes uint8 [1, 8h, 8w], and the logits."""
        logits = self.logits(x)
        if self.kind == "logits":
            return (logits,)
        return self._classes(logits), logits

    def _classes(self, logits: Tensor) -> Tensor:
        if self.kind == "export":
            return self.export(logits)[0]  # type: ignore[no-any-return]
        if self.kind in ("phases", "duels"):
            phases = self._phases(logits)
            best = phases.argmax(1) if self.kind == "phases" else _knock_out(_planes(phases))
            return self._interleaved(best, logits)
        if self.kind == "argmax":
            return _resized(logits).argmax(1).to(torch.uint8)
        if self.kind == "each":
            return _knock_out([_resized(plane) for plane in _planes(logits)])[:, 0].to(torch.uint8)
        return _chain(_planes(_resized(logits)))[:, 0].to(torch.uint8)

    def _phases(self, logits: Tensor) -> Tensor:
        return self.export.upsample.phases(logits).reshape(1, *logits.shape[1:2], -1, *logits.shape[2:])

    def _interleaved(self, index: Tensor, logits: Tensor) -> Tensor:
        height, width = (int(size) for size in logits.shape[2:])
        f = LOGITS_STRIDE
        grid = index.reshape(1, f, f, height, width).permute(0, 3, 1, 4, 2)
        return grid.reshape(1, height * f, width * f).to(torch.uint8)


def class_maps(classes: int, size: tuple[int, int]) -> Iterator[tuple[str, Callable[[], ModelProto]]]:
    """Names and graphs, for images of a size; the first one ends with the logits."""
    kinds = {
        "logits": "logits only",
        "argmax": "Resize, ArgMax",
        "phases": "convolution, ArgMax, interleave",
        "duels": "convolution, tournament, interleave",
        "each": "Resize of each class, tournament",
        "chain": "Resize, one comparison after the other",
    }
    for kind, name in kinds.items():
        if classes > _MANY and kind in ("each", "chain"):
            continue  # compiling takes longer than ten minutes
        yield name, lambda kind=kind: _graph(classes, size, kind)  # type: ignore[misc]
    yield "Resize, tournament (ours)", lambda: arrange(_graph(classes, size, "export"), "portable")


def _graph(classes: int, size: tuple[int, int], kind: str) -> ModelProto:
    x = torch.zeros(1, _WIDTH, size[0] // LOGITS_STRIDE, size[1] // LOGITS_STRIDE)
    module = ClassMap(classes, kind).eval()
    if kind == "logits":
        return trace(module, x, ("logits",), 17, False)
    model = trace(module, x, ("classes", "logits"), 17, False)
    hide_output(model, "logits")
    return model


def _resized(logits: Tensor) -> Tensor:
    return F.interpolate(logits, scale_factor=float(LOGITS_STRIDE), mode="bicubic", align_corners=False)


def _planes(x: Tensor) -> tuple[Tensor, ...]:
    return torch.split(x, 1, dim=1)


def _duel(left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.maximum(left[0], right[0]), torch.where(right[0] > left[0], right[1], left[1])


def _players(planes: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return [(plane, torch.full((1,), float(index))) for index, plane in enumerate(planes)]


def _knock_out(planes: Sequence[Tensor]) -> Tensor:
    players = _players(planes)
    while len(players) > 1:
        winners = [_duel(*pair) for pair in zip(players[::2], players[1::2], strict=False)]
        players = winners + players[2 * len(winners) :]
    return players[0][1]


def _chain(planes: Sequence[Tensor]) -> Tensor:
    first, *others = _players(planes)
    for other in others:
        first = _duel(first, other)
    return first[1]


class _Normalise(nn.Module):
    """Frame uint8 [1, H, W, 3] to normalised float [1, 3, H, W]."""

    def forward(self, image: Tensor) -> Tensor:
        """Normalise as torchvision does."""
        scaled = image.float() / 255 - torch.tensor(_RULES.mean)
        return (scaled / torch.tensor(_RULES.std)).permute(0, 3, 1, 2)


class _Classify(nn.Module):
    """Logits [1, C, h, w] to classes uint8 [1, 8h, 8w]."""

    def forward(self, logits: Tensor) -> Tensor:
        """Upsample and take the best class."""
        return _resized(logits).argmax(1).to(torch.uint8)


def surroundings(size: tuple[int, int], classes: int) -> tuple[ModelProto, ModelProto]:
    """What a network of FP32 tensors needs around it, in FP32: frame to input, and logits to class map."""
    image = torch.zeros(1, *size, 3, dtype=torch.uint8)
    logits = torch.zeros(1, classes, size[0] // LOGITS_STRIDE, size[1] // LOGITS_STRIDE)
    before = trace(_Normalise().eval(), image, ("tensor",), 17, False)
    after = trace(_Classify().eval(), logits, ("classes",), 17, False)
    return before, after
