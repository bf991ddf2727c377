# SPDX-License-Identifier: Apache-2.0
"""Prompts for tests of the deployed mask decoder: packing, running, comparing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime as ort
import torch

from evit_deploy.export.sam.decoder import OUTPUTS
from tests.synthetic import make_input

EMBEDDING = make_input([1, 256, 64, 64], 3)
MASK = make_input([1, 1, 256, 256], 2)


def open_graph(model: onnx.ModelProto) -> ort.InferenceSession:
    """An ONNX Runtime session on two threads that do not spin."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def pack(coords=None, labels=None, box=None, slots=None) -> dict[str, np.ndarray]:
    """Points [P, N, 2] with labels [P, N] and boxes [P, 4] in the 1024 frame as slots, the rest of them empty."""
    parts, kinds = [], []
    if coords is not None:
        parts.append(coords)
        kinds.append(labels)
    if box is not None:
        parts.append(np.reshape(box, (-1, 2, 2)))
        kinds.append(np.tile([2, 3], (len(box), 1)))
    given = np.concatenate(parts, axis=1).astype(np.float32), np.concatenate(kinds, axis=1).astype(np.int32)
    prompts, used = given[1].shape
    slots = slots or used
    packed = {
        "coords": np.full((prompts, slots, 2), np.nan, np.float32),
        "labels": np.full((prompts, slots), -2, np.int32),
    }
    packed["coords"][:, :used], packed["labels"][:, :used] = given
    return packed


def feed(prompts: Mapping[str, np.ndarray], mask: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All inputs of the graph; without a mask its place holds NaN, which must not matter."""
    given = np.full((1, 1, 256, 256), np.nan, np.float32) if mask is None else mask
    has_mask = np.full(len(given), mask is not None, np.float32)
    return {**prompts, "embedding": EMBEDDING, "mask": given, "has_mask": has_mask}


def answer(session: ort.InferenceSession, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Logits [P, 4, 256, 256] and predicted IoU [P, 4] of a graph, in the order of `SegmentAnything.decode`."""
    named = dict(zip(OUTPUTS, session.run(list(OUTPUTS), dict(inputs)), strict=True))
    masks = np.concatenate([named["single_mask"], named["masks"]], axis=1)
    return masks, np.concatenate([named["single_iou"], named["iou"]], axis=1)


def torch_answer(model, coords=None, labels=None, box=None, mask=None) -> tuple[np.ndarray, np.ndarray]:
    """The same by PyTorch."""
    given = [None if x is None else torch.from_numpy(np.asarray(x)) for x in (coords, labels, box, mask)]
    with torch.no_grad():
        masks, iou = model.decode(torch.from_numpy(EMBEDDING), *given)
    return masks.numpy(), iou.numpy()


def relative_l2(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found.astype(np.float64) - expected) / np.linalg.norm(expected))


def mask_iou(found: np.ndarray, expected: np.ndarray) -> float:
    """Smallest IoU over the masks of logits [..., h, w]; empty with empty is 1."""
    a, b = (x.reshape(-1, x.shape[-2] * x.shape[-1]) > 0 for x in (found, expected))
    union = (a | b).sum(1)
    return float(np.where(union, (a & b).sum(1) / np.maximum(union, 1), 1).min())
