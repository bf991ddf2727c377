# SPDX-License-Identifier: Apache-2.0
"""What to export: the options, their checks and defaults, and how frames are prepared for a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evit_deploy.errors import UsageError
from evit_deploy.manifest import Preprocess
from evit_deploy.models.zoo import ModelSpec

OPSETS = range(17, 21)
MULTIPLE = 32
MAX_BATCH = 64
MAX_PIXELS = 4096 * 8192
LARGEST_FRAME = 8192
INPUTS = ("image", "tensor")
OUTPUTS = ("classes", "confidence", "logits")


@dataclass(frozen=True)
class ExportOptions:
    """What to export.

    Attributes:
        opset: ONNX opset, 17 to 20.
        weights: "official", "demo", "random", a path, or None for the best that can be had.
        resolution: (height, width), multiples of 32; None for the model's own, the only one of Segment Anything.
        batch: (smallest, largest) batch; equal for a static graph. Images, also where a model answers prompts.
        input: "image" or "tensor".
        output: "classes", "confidence" or "logits"; None for classes where the model segments, else logits.
        images: Folder of frames to prove agreement on; None for installed photos and drawn scenes.
        seed: Seed of random weights.
        frame: (height, width) of a camera, for masks at its pixels straight from the graph; Segment Anything only.
    """

    opset: int = 17
    weights: str | None = None
    resolution: tuple[int, int] | None = None
    batch: tuple[int, int] = (1, 1)
    input: str = "image"
    output: str | None = None
    images: Path | None = None
    seed: int = 0
    frame: tuple[int, int] | None = None


@dataclass(frozen=True)
class Plan:
    """Options with every default filled in."""

    spec: ModelSpec
    opset: int
    resolution: tuple[int, int]
    batch: tuple[int, int]
    input: str
    output: str


def make_plan(spec: ModelSpec, options: ExportOptions) -> Plan:
    """Fill in the defaults for a model that takes images and gives one answer for each.

    Raises:
        UsageError: Options that make no sense.
    """
    check_opset(options.opset)
    resolution = options.resolution or spec.resolution
    _check_resolution(resolution)
    check_batch(options.batch)
    output = options.output or ("classes" if spec.task == "seg" else "logits")
    if options.input not in INPUTS or output not in OUTPUTS:
        raise UsageError(
            "unknown input or output", found=f"{options.input}, {output}",
            expected=f"input {' or '.join(INPUTS)}; output {', '.join(OUTPUTS)}",
        )  # fmt: skip
    if spec.task == "cls" and output != "logits":
        raise UsageError(f"{spec.name} classifies whole images: it has no class map", fix="--output logits")
    if options.frame is not None:
        raise UsageError(
            f"{spec.name} has no use for the size of a camera's frame",
            found=f"--frame {options.frame[0]}x{options.frame[1]}",
            expected="a model of Segment Anything, such as l0-sam",
            fix="--resolution HxW sets the size of this model's input",
        )
    return Plan(spec, options.opset, resolution, options.batch, options.input, output)


def make_sam_plan(spec: ModelSpec, options: ExportOptions) -> Plan:
    """Fill in the defaults for the image encoder of a model of Segment Anything.

    Raises:
        UsageError: Options that make no sense.
    """
    check_opset(options.opset)
    check_batch(options.batch)
    if options.resolution not in (None, spec.resolution):
        side = spec.resolution[0]
        raise UsageError(
            f"{spec.name} has one resolution",
            found=f"--resolution {options.resolution[0]}x{options.resolution[1]}",
            expected=f"{side}x{side}: frames of any size and shape are fitted into it",
            fix="leave --resolution out; --frame HxW gives masks at your camera's pixels",
        )
    if options.output is not None:
        raise UsageError(
            f"{spec.name} gives masks for prompts: there is no output to choose",
            found=f"--output {options.output}",
            fix="leave --output out",
        )
    if options.input not in INPUTS:
        raise UsageError("unknown input", found=options.input, expected=" or ".join(INPUTS))
    if options.frame is not None and not all(1 <= side <= LARGEST_FRAME for side in options.frame):
        raise UsageError(
            "no camera has frames of this size",
            found=f"--frame {options.frame[0]}x{options.frame[1]}",
            expected=f"HEIGHTxWIDTH, each within 1..{LARGEST_FRAME}, such as 720x1280",
        )
    return Plan(spec, options.opset, spec.resolution, options.batch, options.input, "embedding")


def check_opset(opset: int) -> None:
    """Refuse an opset outside the supported range.

    Raises:
        UsageError: Outside 17 to 20.
    """
    if opset not in OPSETS:
        raise UsageError(
            f"opset {opset} is not supported",
            found=str(opset),
            expected=f"{OPSETS[0]} to {OPSETS[-1]}",
            fix="--opset 17 is read by every TensorRT from 8.6 on",
        )


def check_batch(batch: tuple[int, int]) -> None:
    """Refuse a range of batches that is empty or too large.

    Raises:
        UsageError: It is.
    """
    low, high = batch
    if not 1 <= low <= high <= MAX_BATCH:
        raise UsageError("the batch is out of range", found=f"{low}..{high}", expected=f"within 1..{MAX_BATCH}")


def _check_resolution(resolution: tuple[int, int]) -> None:
    nearest = tuple(max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE) for side in resolution)
    if resolution != nearest:
        raise UsageError(
            "height and width must be multiples of 32",
            found=f"{resolution[0]}x{resolution[1]}",
            expected=f"such as {nearest[0]}x{nearest[1]}, the nearest",
            fix=f"--resolution {nearest[0]}x{nearest[1]}",
        )
    if resolution[0] * resolution[1] > MAX_PIXELS:
        raise UsageError(
            "the resolution is too large",
            found=f"{resolution[0]}x{resolution[1]}",
            expected=f"at most {MAX_PIXELS / 1e6:.0f} million pixels, such as 4096x8192",
        )


def preprocess_rules(spec: ModelSpec) -> Preprocess:
    """How frames are prepared for a model, as the reference implementation evaluates.

    One difference: for ADE20K the reference lets the graph's size follow the frame (short side 512, long side rounded
    up to a multiple of 32). A graph here has one size, to which every frame is stretched; export with the size that the
    reference would choose for your camera, such as ``--resolution 512x704`` for 4:3, and both do the same.
    """
    resize, kernel = {
        "cls": ("short-side-crop", "pillow-bicubic"),
        "seg": ("stretch", "opencv-cubic"),
        "sam": ("longest-side", "pillow-bilinear"),
    }[spec.task]
    return Preprocess(
        colour="RGB",
        resize=resize,
        kernel=kernel,
        crop_ratio=spec.crop_ratio,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
