# SPDX-License-Identifier: Apache-2.0
"""Small manifests and artifacts, complete by the schema and made in no time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from evit_deploy.manifest import (
    DECODER,
    ENCODER,
    Agreement,
    Budget,
    Bundle,
    EngineInfo,
    FrameAgreement,
    GraphInfo,
    Int8Info,
    Int8Point,
    LoweredInfo,
    Manifest,
    ModelInfo,
    Preprocess,
    TensorInfo,
    WeightsInfo,
    write_artifact,
    write_bundle,
)

SHA = "0123456789abcdef" * 4
CONTENT = {"model.onnx": b"a graph", "reference.npz": b"a reference"}


def sample_manifest(kind: str = "export", key: str = SHA) -> Manifest:
    """A manifest that says everything a manifest can say, except files and INT8."""
    manifest = Manifest(
        kind="export",
        key=key,
        created="2025-01-02T03:04:05+00:00",
        tool="0.1.0",
        model=ModelInfo("b0-seg", "seg", "cityscapes", 19),
        weights=WeightsInfo("random", "seed 0", SHA),
        graph=GraphInfo(
            file="model.onnx",
            opset=17,
            precision="fp32",
            resolution=(64, 128),
            batch=(1, 4),
            input="image",
            output="classes",
            inputs=(TensorInfo("image", "uint8", (-1, 64, 128, 3)),),
            outputs=(TensorInfo("classes", "uint8", (-1, 64, 128)),),
        ),
        preprocess=Preprocess("RGB", "stretch", "opencv-cubic", 1.0, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        agreement=sample_agreement(),
        warnings=("random weights: Zufall, 乱数",),
        environment={"python": "3.11"},
    )
    return manifest if kind == "export" else replace(manifest, kind="engine", engine=sample_engine())


def sample_agreement() -> Agreement:
    """The comparison in `sample_manifest`."""
    frames = (
        FrameAgreement("a.png", 1.0, 0.5, 0.25, True, 1e-7, 2e-6, 0.999),
        FrameAgreement("b.png", 1.0, None, 0.0),
        FrameAgreement("c.png, a point", None, None, None, mask_iou=0.9995, score_error=1e-5),
    )
    return Agreement("PyTorch", True, Budget(1e-4, 0.999, 1e-3, 1e-3, 0.999, 1e-3), frames)


def sample_engine() -> EngineInfo:
    """How the engine of `sample_manifest` was compiled."""
    return EngineInfo(
        target="cpu",
        precision="fp32",
        state="compiled",
        compiler="onnxruntime",
        compiler_version="1.2.3",
        backend="onnxruntime",
        entry="model.onnx",
        machine={"processor": "a CPU"},
        lowered=LoweredInfo(SHA, ("a note",), sample_agreement()),
    )


def sample_int8() -> Int8Info:
    """How an INT8 graph came about that gains a third and loses a quarter of a point."""
    chosen, full = Int8Point(3, 0.75, 6.5, 0.65, 0.25, 0.03125), Int8Point(4, 0.875, 6.0, 0.6, 1.5, 0.125)
    layers = ("/stem/conv", "/stages.1/expand/conv", "/stages.1/depth/conv")
    return Int8Info(
        calibration="frames of the demo scenes", images=128, method="auto", methods={"entropy": 3, "min-max": 1},
        judged="other frames of the demo scenes", judged_frames=32, metric="mIoU", max_drop=0.5,
        drop=chosen.drop, agreement=0.9921875, error=chosen.error, oracle="predicted for Jetson AGX Orin", fp16_ms=10.0,
        ms=chosen.ms, ratio=chosen.ratio, ratio_low=0.55, ratio_high=0.77, mac_share=chosen.mac_share, layers=layers,
        eligible=full.layers, complete=True, full=full, curve=(full, chosen, Int8Point(0, 0.0, 10.0, 1.0, 0.0, 0.0)),
        sensitivity={layer: 0.0625 * index for index, layer in enumerate((*layers, "/stages.2/conv"))},
        warnings=("only 128 of 500 images were there",), source="scenes", max_error=0.05, spread=0.04,
    )  # fmt: skip


def write_sample(
    folder: Path, kind: str = "export", key: str = SHA, content: dict[str, bytes] | None = None
) -> Manifest:
    """Write an artifact of two small files."""
    with write_artifact(folder) as writer:
        for name, data in (content or CONTENT).items():
            (writer.folder / name).write_bytes(data)
        return writer.commit(sample_manifest(kind, key))


def sample_bundle(kind: str = "export", key: str = SHA) -> Bundle:
    """A bundle that says everything but its parts."""
    return Bundle(
        kind=kind,
        key=key,
        created="2025-01-02T03:04:05+00:00",
        tool="0.1.0",
        model=ModelInfo("l0-sam", "sam", "sa-1b", 1),
        weights=WeightsInfo("random", "seed 0", SHA),
        agreement=sample_agreement(),
        warnings=("random weights",),
    )


def write_sample_bundle(folder: Path, kind: str = "export", key: str = SHA) -> Bundle:
    """Write a bundle of two parts of two small files each."""
    with write_bundle(folder) as writer:
        for name in (ENCODER, DECODER):
            write_sample(writer.part(name), kind, content={**CONTENT, "model.onnx": name.encode()})
        return writer.commit(sample_bundle(kind, key), (ENCODER, DECODER))


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and its content; lock files, which stay, are left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def entries(folder: Path) -> list[str]:
    """Names in a folder, hidden ones too; lock files, which stay, are left out."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")
