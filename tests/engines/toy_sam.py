# SPDX-License-Identifier: Apache-2.0
"""A segment-anything export in miniature: the inputs, outputs and open axes of a real one, and next to no arithmetic.

What stands for PyTorch's answers is what ONNX Runtime makes of the graphs themselves.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from evit_deploy.data.masks import PromptFrame
from evit_deploy.manifest import (
    Bundle,
    GraphInfo,
    Manifest,
    Preprocess,
    TensorInfo,
    WeightsInfo,
    content_key,
    write_artifact,
    write_bundle,
)
from evit_deploy.runtime.preprocess import fit_frame
from evit_deploy.runtime.reference import Reference
from evit_deploy.runtime.sam.reference import PromptReference
from tests.manifest.sample import sample_bundle, sample_manifest
from tests.precision.toy_graphs import IO, MEAN, SIDE, toy_decoder, toy_encoder

RULES = Preprocess("RGB", "longest-side", "pillow-bilinear", 1.0, MEAN, (0.229, 0.224, 0.225))


def write_toy(folder: Path, gain: float = 1.0) -> Bundle:
    """Write the export.

    Args:
        folder: Where to.
        gain: Factor on the encoder's weights.
    """
    graphs = {"encoder": toy_encoder(gain), "decoder": toy_decoder()}
    sessions = {
        name: ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        for name, model in graphs.items()
    }
    pictures = _pictures(sessions["encoder"])
    references = {"encoder": pictures, "decoder": _prompts(sessions["decoder"], pictures)}
    with write_bundle(folder) as writer:
        for name, model in graphs.items():
            with write_artifact(writer.part(name)) as part:
                onnx.save(model, part.folder / f"{name}.onnx")
                references[name].save(part.folder)
                part.commit(_manifest(name, gain))
        weights = WeightsInfo("random", f"gain {gain}", content_key(gain=gain))
        return writer.commit(replace(sample_bundle(key=content_key(gain=gain)), weights=weights), tuple(graphs))


def _pictures(session: ort.InferenceSession) -> Reference:
    draw = np.random.default_rng(1)
    frames = tuple(draw.integers(0, 256, (*shape, 3), np.uint8) for shape in ((40, 60), (64, 30)))
    canvases = np.stack([fit_frame(frame, RULES, SIDE, SIDE, use_libraries=False) for frame in frames])
    reference = Reference(("a.png", "b.png"), canvases, np.zeros((2, 256, 64, 64), np.float32), frames, RULES)
    feeds = zip(canvases, reference.sizes, strict=True)
    embeddings = [session.run(None, {"image": image[None], "size": size[None]})[0][0] for image, size in feeds]
    return replace(reference, logits=np.stack(embeddings))


def _prompts(session: ort.InferenceSession, pictures: Reference) -> PromptReference:
    coords = np.array(
        [[[300, 200], [0, 0], [0, 0]], [[500, 100], [700, 400], [0, 0]], [[512, 512], [100, 90], [400, 700]]],
        np.float32,
    )
    labels = np.array([[1, -2, -2], [1, 0, -2], [1, 2, 3]], np.int32)
    mask = np.zeros((3, 1, 256, 256), np.float32)
    mask[1, :, :128], has_mask = 5.0, np.array([0, 1, 0], np.float32)
    of = np.array([0, 0, 1])
    answers = [
        session.run(
            ["single_mask", "masks", "single_iou", "iou"],
            {"coords": coords[[i]], "labels": labels[[i]], "embedding": pictures.logits[[of[i]]],
             "mask": mask[[i]], "has_mask": has_mask[[i]]},
        )
        for i in range(3)
    ]  # fmt: skip
    names = ("a.png, a point", "a.png, two points and a mask", "b.png, a point and a box")
    masks = np.concatenate([np.concatenate(answer[:2], axis=1) for answer in answers])
    scores = np.concatenate([np.concatenate(answer[2:], axis=1) for answer in answers])
    frames = tuple(PromptFrame(*frame.shape[:2]) for frame in pictures.frames)
    return PromptReference(names, frames, pictures.logits, of, coords, labels, mask, has_mask, masks, scores)


def _manifest(part: str, gain: float) -> Manifest:
    inputs, outputs = (
        tuple(
            TensorInfo(name, dtype, tuple(-1 if isinstance(size, str) else size for size in shape))
            for name, (dtype, shape) in side.items()
        )
        for side in IO[part]
    )
    encodes = part == "encoder"
    graph = GraphInfo(
        file=f"{part}.onnx", opset=17, precision="fp32", resolution=(SIDE, SIDE) if encodes else (1024, 1024),
        batch=(1, 1) if encodes else (1, 64), input="image" if encodes else "prompts",
        output="embedding" if encodes else "masks", inputs=inputs, outputs=outputs,
    )  # fmt: skip
    base = sample_manifest(key=content_key(part=part, gain=gain))
    return replace(base, model=sample_bundle().model, graph=graph, preprocess=RULES, warnings=())
