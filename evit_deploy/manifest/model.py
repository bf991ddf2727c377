# SPDX-License-Identifier: Apache-2.0
"""The manifest as Python values: what an artifact says about itself.

The published form is ``schema.json``, next to this file; the dataclasses here mirror it field by field.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from evit_deploy.manifest.int8 import Int8Info

SCHEMA_VERSION = 1
ITSELF = "the artifact itself"
"""`Agreement.method` of an artifact that ran; others were emulated."""


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a graph; a dimension of -1 is open: the batch, and a mask decoder's slots and masks."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelInfo:
    """The model an artifact was made from."""

    name: str
    task: str
    dataset: str
    classes: int


@dataclass(frozen=True)
class WeightsInfo:
    """Origin of the weights and the SHA-256 of their file."""

    source: str
    location: str
    sha256: str


@dataclass(frozen=True)
class GraphInfo:
    """The ONNX graph.

    Attributes:
        file: Name of the ONNX file in the artifact.
        opset: Opset of the default domain.
        precision: Precision typed into the graph.
        resolution: (height, width) of the input in pixels.
        batch: (smallest, largest) batch; equal for a static graph.
        input: "image": uint8 [N, H, W, 3] RGB; "tensor": normalised float [N, 3, H, W]; "prompts": points, boxes and
            masks in the frame of `resolution`, for a mask decoder, whose batch counts prompts.
        output: "classes": uint8 class map [N, H, W]; "confidence": that and float probabilities [N, H, W];
            "logits": the network's raw output; "embedding": that of an image encoder; "masks": logits of masks
            [P, M, 256, 256] and predicted IoU [P, M]; "pixels": those and masks at the size of a camera's frame.
        inputs: Input tensors.
        outputs: Output tensors.
    """

    file: str
    opset: int
    precision: str
    resolution: tuple[int, int]
    batch: tuple[int, int]
    input: str
    output: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


@dataclass(frozen=True)
class Preprocess:
    """From a frame to the graph's input, as the reference implementation evaluates.

    Attributes:
        colour: Channel order of the frame.
        resize: "stretch": to the graph's size; "short-side-crop": short side to size / crop_ratio (rounded up), then
            a centre crop; "longest-side": longest side to the graph's size, which is square, the rest padded at the
            right and at the bottom with what normalises to zero.
        kernel: "opencv-cubic" (a = -0.75, no antialiasing), "pillow-bicubic" (a = -0.5, antialiasing) or
            "pillow-bilinear" (antialiasing).
        crop_ratio: Part of the short side that the crop keeps.
        mean: Per channel, of values in 0..1.
        std: Per channel, of values in 0..1.
    """

    colour: str
    resize: str
    kernel: str
    crop_ratio: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Budget:
    """What still counts as agreement with PyTorch.

    Attributes:
        relative_l2: Largest ‖found - reference‖ / ‖reference‖ of the logits.
        class_agreement: Smallest fraction of equal classes (pixels, or top-1 of frames).
        conceded_margin: Where the classes differ, the largest reference logit given away: reference logit of the
            reference's class minus that of the engine's class, in units of the logits' standard deviation.
        confidence_error: Largest difference of the softmax probability of the chosen class.
        mask_iou: Smallest intersection over union of a mask with PyTorch's.
        score_error: Largest difference of a mask's predicted IoU.
    """

    relative_l2: float
    class_agreement: float
    conceded_margin: float
    confidence_error: float
    mask_iou: float = 0.99
    score_error: float = 0.02


@dataclass(frozen=True)
class FrameAgreement:
    """How an output compares with PyTorch's on one frame; None where the output does not show the quantity."""

    frame: str
    class_agreement: float | None
    miou: float | None
    conceded_margin: float | None
    finite: bool = True
    relative_l2: float | None = None
    max_error: float | None = None
    cosine: float | None = None
    confidence_error: float | None = None
    mask_iou: float | None = None
    score_error: float | None = None


@dataclass(frozen=True)
class Agreement:
    """The comparison that travels with an artifact.

    Attributes:
        against: What was compared with.
        passed: Whether every frame is within the budget.
        budget: What still passes.
        frames: One comparison per frame.
        method: How the outputs came about: the artifact itself ran, or was emulated where it cannot run.
    """

    against: str
    passed: bool
    budget: Budget
    frames: tuple[FrameAgreement, ...]
    method: str = ITSELF


@dataclass(frozen=True)
class LoweredInfo:
    """What was known of a GPU's engine before it was compiled; its files are still beside the compiled one.

    Attributes:
        key: Key of the lowered engine.
        notes: Decisions of the lowering, in words.
        agreement: How the typed graph's emulation compared with PyTorch.
    """

    key: str
    notes: tuple[str, ...]
    agreement: Agreement


@dataclass(frozen=True)
class EngineInfo:
    """How an engine was compiled and what runs it.

    Attributes:
        target: Machine it is for.
        precision: Precision it computes in.
        state: "compiled", or "lowered" when only the compile step is left.
        compiler: Name of the compiler.
        compiler_version: Its exact version.
        backend: Runtime backend that loads it.
        entry: File the backend loads.
        machine: Machine it was compiled on; "arch" is the GPU architecture it was compiled for, where it was chosen.
        attention: Arrangement of the attention in the graph.
        notes: Decisions of the lowering and of the compilation, in words.
        lowered: The engine before it was compiled, of a compiled engine for a GPU.
        int8: How an INT8 graph came about.
    """

    target: str
    precision: str
    state: str
    compiler: str
    compiler_version: str
    backend: str
    entry: str
    machine: dict[str, str]
    attention: str = "portable"
    notes: tuple[str, ...] = ()
    lowered: LoweredInfo | None = None
    int8: Int8Info | None = None


@dataclass(frozen=True)
class FileInfo:
    """Hash and size of one file."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """Everything an artifact says about itself."""

    kind: str
    key: str
    created: str
    tool: str
    model: ModelInfo
    weights: WeightsInfo
    graph: GraphInfo
    preprocess: Preprocess
    agreement: Agreement
    engine: EngineInfo | None = None
    warnings: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    files: dict[str, FileInfo] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Part:
    """One artifact of a bundle: its key, and the SHA-256 of its manifest, which lists that of every file."""

    key: str
    manifest: str


@dataclass(frozen=True)
class Bundle:
    """What a folder of several artifacts says about them as a whole.

    Attributes:
        kind: "export" or "engine", as its parts are.
        key: Hash of everything it was made from.
        created: UTC, ISO 8601.
        tool: Version of evit-deploy that wrote it.
        model: The model its parts make up.
        weights: Origin of the weights.
        parts: By name of the folder inside.
        agreement: How the parts together compare with PyTorch, from end to end.
        warnings: What users must know.
    """

    kind: str
    key: str
    created: str
    tool: str
    model: ModelInfo
    weights: WeightsInfo
    agreement: Agreement
    parts: dict[str, Part] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    schema: int = SCHEMA_VERSION


def to_json(manifest: Manifest | Bundle) -> dict[str, Any]:
    """A manifest as plain JSON values."""
    return dataclasses.asdict(manifest)


def from_json(data: dict[str, Any]) -> Manifest:
    """Build a manifest from JSON values that the schema has accepted."""
    return _decode(Manifest, data)  # type: ignore[no-any-return]


def bundle_from_json(data: dict[str, Any]) -> Bundle:
    """Build the manifest of a bundle from JSON values that its schema has accepted."""
    return _decode(Bundle, data)  # type: ignore[no-any-return]


def _decode(kind: Any, value: Any) -> Any:
    """Turn JSON values into the dataclasses and tuples that an annotation names."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        return value if value is None or len(options) > 1 else _decode(options[0], value)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _decode(hints[name], item) for name, item in value.items()})  # type: ignore[operator]
    if origin is tuple:
        item = typing.get_args(kind)[0]
        return tuple(_decode(item, entry) for entry in value)
    if origin is dict:
        item = typing.get_args(kind)[1]
        return {name: _decode(item, entry) for name, entry in value.items()}
    return kind(value) if kind in (int, float) else value  # JSON does not tell 1 from 1.0
