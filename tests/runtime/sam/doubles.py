# SPDX-License-Identifier: Apache-2.0
"""Engines that run without a file: a toy whose masks are discs, and one of PyTorch, behind the real `Engine`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from evit_deploy.manifest import Budget, GraphInfo, Preprocess, TensorInfo
from evit_deploy.runtime.engine import Engine
from evit_deploy.runtime.sam import SegmentAnything
from tests.manifest.sample import sample_bundle, sample_manifest

RULES = Preprocess(
    "RGB", "longest-side", "pillow-bilinear", 1.0,
    (123.675 / 255, 116.28 / 255, 103.53 / 255), (58.395 / 255, 57.12 / 255, 57.375 / 255),
)  # fmt: skip
LOOSE = Budget(1e-4, 0.999, 1e-3, 1e-3, 0.999, 1e-3)


def encoder_graph(side=512, batch=1, dtype="float32", kind="image"):
    """An encoder's graph."""
    picture = TensorInfo("image", "uint8", (batch, side, side, 3))
    inputs = (picture, TensorInfo("size", "int32", (batch, 2)))
    if kind == "tensor":
        inputs = (TensorInfo("image", dtype, (batch, 3, side, side)),)
    return GraphInfo(
        "encoder.onnx", 17, "fp32", (side, side), (batch, batch), kind, "embedding", inputs,
        (TensorInfo("embedding", dtype, (batch, 256, 64, 64)),),
    )  # fmt: skip


def decoder_graph(prompts=None, slots=10, dtype="float32", camera=None):
    """A decoder's graph: for any number of prompts, or for a fixed one."""
    p, n, m = (-1, -1, -1) if prompts is None else (prompts, slots, 1)
    outputs = [("masks", (p, 3, 256, 256)), ("iou", (p, 3)), ("single_mask", (p, 1, 256, 256)), ("single_iou", (p, 1))]
    infos = [TensorInfo(name, dtype, shape) for name, shape in outputs]
    if camera:
        infos += [TensorInfo("pixels", "uint8", (p, 3, *camera)), TensorInfo("single_pixels", "uint8", (p, 1, *camera))]
    return GraphInfo(
        "decoder.onnx", 17, "fp32", (1024, 1024), (1, 64) if prompts is None else (prompts, prompts), "prompts",
        "pixels" if camera else "masks",
        (
            TensorInfo("coords", "float32", (p, n, 2)), TensorInfo("labels", "int32", (p, n)),
            TensorInfo("embedding", dtype, (1, 256, 64, 64)), TensorInfo("mask", dtype, (m, 1, 256, 256)),
            TensorInfo("has_mask", "float32", (m,)),
        ),
        tuple(infos),
    )  # fmt: skip


class Recorder:
    """A backend that remembers what it was asked, and answers into buffers that the next call overwrites."""

    version = "1.2.3"

    def __init__(self, answer, graph):
        self.answer, self.graph, self.calls, self.buffers = answer, graph, [], {}

    def run(self, inputs):
        self.calls.append({name: array.copy() for name, array in inputs.items()})
        for name, array in self.answer(inputs).items():
            info = next(info for info in self.graph.outputs if info.name == name)
            buffer = self.buffers.setdefault((name, array.shape), np.empty(array.shape, info.dtype))
            buffer[...] = array
        count = len(next(iter(inputs.values())))
        return {name: buffer for (name, shape), buffer in self.buffers.items() if shape[0] == count}

    def close(self):
        self.calls.append("closed")


def make_engine(graph, answer, name="part"):
    """The real `Engine` around a function."""
    manifest = replace(sample_manifest("engine"), graph=graph, preprocess=RULES)
    return Engine(Path(name), manifest, Recorder(answer, graph))


def calls(engine):
    """What an engine of `make_engine` was asked."""
    return engine._backend.calls


def toy_embedding(inputs):
    """The mean of each picture, everywhere."""
    images = inputs["image"]
    if "size" in inputs:
        means = [image[:h, :w].mean() for image, (h, w) in zip(images, inputs["size"], strict=True)]
    else:
        means = images.mean(axis=(1, 2, 3))
    return {"embedding": np.broadcast_to(np.reshape(means, (-1, 1, 1, 1)), (len(images), 256, 64, 64))}


def toy_masks(inputs, camera=None):
    """Discs around the mean of the points, of radius 20, 40 and 80 of the 1024 frame; the single one of 60."""
    place = np.arange(2, 1024, 4, dtype=np.float32)
    discs, scores = [], []
    for index, (coords, labels) in enumerate(zip(inputs["coords"], inputs["labels"], strict=True)):
        own = 0 if len(inputs["mask"]) == 1 else index
        given = float(inputs["mask"][own].mean()) * float(inputs["has_mask"][own])
        used = coords[labels != -2]
        at = used.mean(axis=0) if len(used) else np.zeros(2)
        near = -(((place - np.float32(at[1])) / 64) ** 2)[:, None] - ((place - np.float32(at[0])) / 64) ** 2
        discs.append(np.stack([near + np.float32((radius / 64) ** 2 + given) for radius in (60, 20, 40, 80)]))
        seen = float(np.asarray(inputs["embedding"], np.float64).mean()) / 1000
        scores.append(np.array([0.5, 0.2, 0.9, 0.4]) + seen + np.abs(labels[labels != -2]).sum() / 100)
    masks, iou = np.stack(discs), np.stack(scores)
    found = {"masks": masks[:, 1:], "iou": iou[:, 1:], "single_mask": masks[:, :1], "single_iou": iou[:, :1]}
    if camera:
        full = np.stack([np.kron(disc, np.ones((2, 2))) for disc in masks.reshape(-1, 256, 256)]) > 0
        full = full[:, : camera[0], : camera[1]].reshape(len(masks), 4, *camera)
        found |= {"pixels": full[:, 1:], "single_pixels": full[:, :1]}
    return found


def toy_sam(sizes=None, slots=10, dtype="float32", camera=None, batch=1, model="l0-sam"):
    """A predictor on toys: a decoder for any number of prompts, or one for each of some sizes."""
    graphs = [decoder_graph(size, slots, dtype, camera) for size in sizes or (None,)]
    decoders = [make_engine(graph, lambda inputs: toy_masks(inputs, camera)) for graph in graphs]
    bundle = sample_bundle("engine")
    bundle = replace(bundle, model=replace(bundle.model, name=model))
    encoder = make_engine(encoder_graph(batch=batch, dtype=dtype), toy_embedding)
    return SegmentAnything(Path("toy"), bundle, encoder, decoders)


def torch_sam(model, side=512):
    """A predictor on a model in PyTorch."""
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (RULES.mean, RULES.std))

    @torch.inference_mode()
    def encode(inputs):
        picture = (torch.from_numpy(inputs["image"]).permute(0, 3, 1, 2).float() / 255 - mean) / std
        for image, (height, width) in zip(picture, inputs["size"], strict=True):
            image[:, height:] = 0
            image[:, :, width:] = 0
        return {"embedding": model(picture).numpy()}

    @torch.inference_mode()
    def decode(inputs):
        found = []
        for index, (coords, labels) in enumerate(zip(inputs["coords"], inputs["labels"], strict=True)):
            own = 0 if len(inputs["mask"]) == 1 else index
            found.append(_ask(model, coords, labels, inputs["embedding"], inputs, own))
        masks, iou = (torch.cat(parts).numpy() for parts in zip(*found, strict=True))
        return {"masks": masks[:, 1:], "iou": iou[:, 1:], "single_mask": masks[:, :1], "single_iou": iou[:, :1]}

    engines = make_engine(encoder_graph(side), encode), [make_engine(decoder_graph(), decode)]
    return SegmentAnything(Path("torch"), sample_bundle("engine"), *engines)


def _ask(model, coords, labels, embedding, inputs, own):
    """One prompt, by the words of the model in PyTorch: slots to points and a box."""
    points, corners = (labels == 0) | (labels == 1), labels >= 2
    return model.decode(
        torch.from_numpy(embedding.copy()),
        torch.from_numpy(coords[points])[None] if points.any() else None,
        torch.from_numpy(labels[points])[None] if points.any() else None,
        torch.from_numpy(coords[corners].reshape(1, 4)) if corners.any() else None,
        torch.from_numpy(inputs["mask"][own][None]) if inputs["has_mask"][own] else None,
    )
