# SPDX-License-Identifier: Apache-2.0
"""The reference that travels with every artifact: real frames and PyTorch's logits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from evit_deploy.data.images import Frame, installed_photos, list_images, read_image, scene_frame
from evit_deploy.manifest import Preprocess
from evit_deploy.runtime.preprocess import check_frame, normalise
from evit_deploy.runtime.reference import Reference, fit_exactly

FRAMES, LARGE_FRAMES, LARGE_PIXELS = 3, 2, 1 << 20
HELD_OUT_SEED = 2_000_000  # neither trained on nor part of the demo weights' evaluation


def choose_frames(images: Path | None, size: tuple[int, int]) -> list[Frame]:
    """The frames to prove agreement on.

    Args:
        images: A folder of the user's, all of it; None takes photos that installed packages ship and a drawn scene,
            three frames in all, or two where PyTorch needs seconds for one.
        size: (height, width) of drawn scenes.
    """
    if images is not None:
        return [Frame(path.name, read_image(path)) for path in list_images(images)]
    large = size[0] * size[1] > LARGE_PIXELS
    count = LARGE_FRAMES if large else FRAMES
    photos = [Frame(path.name, read_image(path)) for path in installed_photos()[: count - 1]]
    if large:  # four times the pixels show nothing more, and travel with every engine
        size = size[0] // 2, size[1] // 2
    return photos + [scene_frame(HELD_OUT_SEED + index, size) for index in range(count - len(photos))]


def make_reference(
    model: nn.Module,
    frames: Sequence[Frame],
    rules: Preprocess,
    resolution: tuple[int, int],
    advance: Callable[[], None] = lambda: None,
) -> Reference:
    """Run PyTorch on frames.

    Args:
        model: The model in eval mode, FP32, on the CPU.
        frames: Frames of any size.
        rules: Preprocessing.
        resolution: (height, width) the graph takes.
        advance: Called after every frame.
    """
    settle_vector_library()
    whole = tuple(check_frame(frame.image) for frame in frames)
    images = np.stack([fit_exactly(frame, rules, resolution) for frame in whole])
    logits = []
    for image in images:
        with torch.inference_mode():
            logits.append(model(torch.from_numpy(normalise(image[None], rules))).numpy()[0])
        advance()
    return Reference(tuple(frame.name for frame in frames), images, np.stack(logits), whole, rules)


def settle_vector_library() -> None:
    """Make PyTorch's first call as exact as the later ones.

    With builds that bundle oneMKL 2024.2 (2.13.0 does), the first multi-threaded `torch.sqrt` or `exp` of a process
    can silently return low precision on one thread (https://github.com/pytorch/pytorch/issues/188792), and an honest
    engine would look wrong beside it.
    """
    values = torch.rand(8)
    torch.sqrt(values)
    torch.exp(values)
    torch.tanh(values)
