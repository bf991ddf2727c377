# SPDX-License-Identifier: Apache-2.0
"""Train the demo checkpoints on procedural street scenes.

    python tools/train_demo.py b1-seg --steps 3000               # start, or continue after an interruption
    python tools/train_demo.py b1-seg --evaluate                 # held-out mIoU of the exported checkpoint

A run writes its state to the cache folder every few minutes, and the same command continues from there; `--restart`
starts afresh. The weights that are exported are a moving average, rounded to FP16.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demo_data import CLASSES, Recipe, SceneCache, draw_batch, open_cache
from demo_export import EXPORTS, evaluate_file, export
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from evit_deploy.data.classes import IGNORE
from evit_deploy.errors import UsageError
from evit_deploy.models import create_model

RATES = {"b0-seg": 3e-3, "b1-seg": 2e-3}
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "evit-deploy" / "scenes"
Batch = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass
class Run:
    """State of a training run: everything a restart needs."""

    model: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0

    def save(self, path: Path) -> None:
        """Write the state; a kill during writing leaves the last one intact."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "torch_rng": torch.get_rng_state(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Read the state back."""
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["torch_rng"])
        self.step = int(state["step"])


def start_run(name: str, rate: float) -> Run:
    """A fresh model, its average and its optimizer; norms and biases are not decayed."""
    model = create_model(name, weights="random", seed=0).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.requires_grad_(True)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.02}, {"params": vectors, "weight_decay": 0.0}]
    return Run(model, copy.deepcopy(model).eval(), torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98)))


def learning_rate(step: int, steps: int, peak: float, warmup: int = 150) -> float:
    """Linear warm-up, then half a cosine down to 1 % of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    share = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (0.01 + 0.99 * 0.5 * (1.0 + float(np.cos(np.pi * share))))


def class_weights(caches: list[SceneCache]) -> Tensor:
    """Mild weights for rare classes; the crops are balanced already."""
    share = np.mean([cache.shares.mean(axis=0) for cache in caches], axis=0) + 1e-4
    weights = np.clip((np.median(share) / share) ** 0.25, 0.6, 1.6)
    return torch.from_numpy(weights.astype(np.float32))


def loss_of(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy plus soft IoU at a quarter of the resolution (at half, it costs as much as the network).

    Args:
        logits: [B, 19, h/8, w/8].
        labels: int64 [B, h, w].
        weights: [19].
    """
    target = labels[:, 2::4, 2::4]
    scores = functional.interpolate(logits.float(), target.shape[1:], mode="bilinear", align_corners=False)
    entropy = functional.cross_entropy(scores, target, weight=weights, ignore_index=IGNORE)
    return entropy + 0.5 * _soft_iou_loss(scores, target)


def _soft_iou_loss(scores: Tensor, target: Tensor) -> Tensor:
    """1 - mean soft IoU of the classes present in the batch: what is measured in the end, and blind to class size."""
    judged = (target != IGNORE)[:, None]
    truth = functional.one_hot(target.clamp(max=CLASSES - 1), CLASSES).permute(0, 3, 1, 2) * judged
    guess = scores.softmax(dim=1) * judged
    overlap = (guess * truth).sum(dim=(0, 2, 3))
    size = truth.sum(dim=(0, 2, 3))
    union = guess.sum(dim=(0, 2, 3)) + size - overlap
    return 1.0 - ((overlap + 1.0) / (union + 1.0))[size > 0].mean()


def update_average(average: nn.Module, model: nn.Module, step: int, decay: float = 0.997) -> None:
    """Move the averaged weights and statistics towards the model's; early on in large steps."""
    share = 1.0 - min(decay, (1.0 + step) / (10.0 + step))
    source = model.state_dict()
    for key, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(source[key], share)
        else:
            value.copy_(source[key])


def train_step(run: Run, batch: Batch, weights: Tensor, rate: float, bf16: bool) -> float:
    """One optimizer step; returns the loss."""
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    images = torch.from_numpy(batch[0]).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        logits = run.model(images)
    loss = loss_of(logits, torch.from_numpy(batch[1]), weights)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(run.model.parameters(), 2.0)
    run.optimizer.step()
    run.step += 1
    with torch.no_grad():
        update_average(run.average, run.model, run.step)
    return float(loss.detach())


class Crops:
    """Draws the crops of the next step while the current one computes.

    The first `--small-steps` steps see the street at half the size, in twice as many crops: half the cost, and shapes
    learned there carry over.
    """

    def __init__(
        self, caches: list[SceneCache], scales: list[tuple[float, float]], options: argparse.Namespace
    ) -> None:
        self.caches, self.scales, self.small_steps = caches, scales, options.small_steps
        self.full = Recipe((options.crop, 2 * options.crop), options.batch)
        self.small = Recipe((options.crop // 2, options.crop), 2 * options.batch)
        self.pool = ThreadPoolExecutor(max_workers=1)
        self.ahead: tuple[int, Future[Batch]] | None = None

    def of_step(self, step: int) -> Batch:
        """The crops of a step: images float32 [B, 3, h, w], labels int64 [B, h, w]."""
        current = self.ahead[1].result() if self.ahead and self.ahead[0] == step else self._draw(step)
        self.ahead = (step + 1, self.pool.submit(self._draw, step + 1))
        return current

    def _draw(self, step: int) -> Batch:
        if step >= self.small_steps:
            return draw_batch(self.caches, self.scales, self.full, step)
        halved = [(low / 2, high / 2) for low, high in self.scales]
        return draw_batch(self.caches, halved, self.small, step)


def train(options: argparse.Namespace) -> None:
    """Train, exporting on the way, until `--steps` are done."""
    peak = options.rate or RATES[options.model]
    run, state = start_run(options.model, peak), options.cache / f"{options.model}.train.pt"
    if state.is_file() and not options.restart:
        run.load(state)
    caches, scales = _caches(options)
    crops = Crops(caches, scales, options)
    weights, loss, saved = class_weights(caches), None, time.monotonic()
    bar = tqdm(initial=run.step, total=options.steps, desc=options.model, mininterval=10.0, smoothing=0.05)
    while run.step < options.steps:
        now = train_step(
            run, crops.of_step(run.step), weights, learning_rate(run.step, options.steps, peak), options.bf16
        )
        loss = now if loss is None else 0.98 * loss + 0.02 * now
        bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        bar.update()
        if time.monotonic() - saved > options.save_every or run.step == options.steps:
            run.save(state)
            saved = time.monotonic()
        if run.step % options.export_every == 0 or run.step == options.steps:
            export(options.model, run.average, options.out, recipe_text(options), run.step)
    bar.close()


def recipe_text(options: argparse.Namespace) -> str:
    """The recipe in one line, for the metadata of the checkpoint."""
    crop, height = f"{options.crop}x{2 * options.crop}", f"{options.height}x{2 * options.height}"
    return (
        f"AdamW, peak lr {options.rate or RATES[options.model]:g}, cosine; {options.steps} steps of {options.batch} "
        f"crops {crop}, the first {options.small_steps} at half size and twice as many; {options.scenes} scenes at "
        f"{height} and {options.large} at twice that; EMA 0.997; cross entropy + 0.5 soft IoU"
    )


def _caches(options: argparse.Namespace) -> tuple[list[SceneCache], list[tuple[float, float]]]:
    """Scenes at the base size and, for detail, fewer at twice that size."""
    height, caches, scales = options.height, [], []
    for count, factor, zoom in ((options.scenes, 1, (0.55, 1.4)), (options.large, 2, (0.55, 1.2))):
        if count:
            caches.append(open_cache(options.cache, count, factor * height, 2 * factor * height, not options.quiet))
            scales.append(zoom)
    if not caches:
        raise UsageError("no scenes to train on", expected="--scenes or --large above 0")
    return caches, scales


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", choices=sorted(RATES))
    add("--steps", type=int, default=3000, help="optimizer steps in all (default 3000)")
    add("--restart", action="store_true", help="forget the saved state and start afresh")
    add("--evaluate", action="store_true", help="measure the exported checkpoint on held-out scenes and stop")
    add("--small-steps", type=int, default=0, metavar="N", help="first N steps at half size (part of --steps)")
    add("--batch", type=int, default=4, help="crops per step")
    add("--crop", type=int, default=256, help="crop height; the width is twice that")
    add("--height", type=int, default=512, help="height of the cached scenes; the width is twice that")
    add("--scenes", type=int, default=700, help="training scenes at that size")
    add("--large", type=int, default=160, help="training scenes at twice that size")
    add("--rate", type=float, help="peak learning rate")
    add("--no-bf16", dest="bf16", action="store_false", help="train in FP32 instead of BF16 autocast")
    add("--threads", type=int, help="CPU threads (default: all)")
    add("--export-every", type=int, default=250, metavar="STEPS")
    add("--save-every", type=float, default=120.0, metavar="SECONDS", help="how often the state is saved")
    add("--held-out", type=int, default=100, help="held-out scenes per size (--evaluate)")
    add("--sizes", type=int, nargs="+", default=[512, 1024], help="image heights to evaluate")
    add("--cache", type=Path, default=CACHE, help=f"folder for scenes and run states (default {CACHE})")
    add("--out", type=Path, default=EXPORTS, help="folder for checkpoints")
    add("--quiet", action="store_true", help="no progress bar while rendering")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Train or evaluate."""
    options = parse_options(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    options.cache.mkdir(parents=True, exist_ok=True)
    if options.evaluate:
        evaluate_file(options.model, options.out, options.sizes, options.held_out)
    else:
        train(options)


if __name__ == "__main__":
    main()
