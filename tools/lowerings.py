# SPDX-License-Identifier: Apache-2.0
"""What tools/compare_lowerings.py compares: the libraries that make an FP16 graph of an FP32 one, and the graphs."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from evit_deploy.export.exporter import preprocess_rules
from evit_deploy.export.graph import LOGITS, trace_deployed
from evit_deploy.export.peaks import Peaks, record_peaks
from evit_deploy.export.plain import trace_plain
from evit_deploy.export.reference import choose_frames, make_reference
from evit_deploy.export.trace import hide_output
from evit_deploy.models import create_model
from evit_deploy.models.attention import MultiScaleLinearAttention
from evit_deploy.models.zoo import ModelSpec, find_model
from evit_deploy.precision.arrange import arrange
from evit_deploy.precision.fp16 import lower_fp16

Array = npt.NDArray[Any]
Convert = Callable[[onnx.ModelProto, Array], onnx.ModelProto]


@dataclass(frozen=True)
class Contender:
    """One way to make an FP16 graph.

    Attributes:
        name: Short name in tables.
        package: Distribution it is installed with.
        convert: Takes an FP32 graph, which it may spoil, and an input of it; returns the typed graph.
    """

    name: str
    package: str
    convert: Convert

    @property
    def version(self) -> str | None:
        """Version of the distribution; None if it is not installed."""
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(self.package)
        return None


def _converter_common(model: onnx.ModelProto, _: Array, **options: Any) -> onnx.ModelProto:
    from onnxconverter_common import float16  # type: ignore[import-untyped, import-not-found, unused-ignore]

    result: onnx.ModelProto = float16.convert_float_to_float16(model, **options)
    return result


def _onnxruntime(model: onnx.ModelProto, _: Array, **options: Any) -> onnx.ModelProto:
    from onnxruntime.transformers import float16

    result: onnx.ModelProto = float16.convert_float_to_float16(model, **options)
    return result


def _autocast(model: onnx.ModelProto, image: Array, **options: Any) -> onnx.ModelProto:
    """ModelOpt reads files, and looks at the ranges of one run on the image."""
    from modelopt.onnx.autocast import convert_to_mixed_precision  # type: ignore[import-not-found, unused-ignore]

    with tempfile.TemporaryDirectory() as folder:
        graph, data = Path(folder) / "model.onnx", Path(folder) / "data.npz"
        onnx.save(model, graph)
        np.savez(data, image=image)
        result: onnx.ModelProto = convert_to_mixed_precision(str(graph), calibration_data=str(data), **options)
    return result


def _autocast_all(model: onnx.ModelProto, _: Array) -> onnx.ModelProto:
    from modelopt.onnx.autocast import convert_to_f16  # type: ignore[import-not-found, unused-ignore]

    result: onnx.ModelProto = convert_to_f16(model, keep_io_types=False)
    return result


CONTENDERS = (
    Contender("converter-common", "onnxconverter-common", _converter_common),
    Contender(
        "converter-common io", "onnxconverter-common", lambda m, x: _converter_common(m, x, keep_io_types=True)
    ),
    Contender("onnxruntime", "onnxruntime", _onnxruntime),
    Contender("AutoCast", "nvidia-modelopt", _autocast),
    Contender("AutoCast f16", "nvidia-modelopt", _autocast_all),
    Contender("ours", "evit-deploy", lambda m, _: lower_fp16(m)[0]),
)  # fmt: skip


@contextlib.contextmanager
def listening() -> Iterator[list[str]]:
    """Collect what a library says by warnings, logging or print while it works; a line each."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger()
    root.addHandler(handler)
    printed = io.StringIO()
    try:
        with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(printed):
            warnings.simplefilter("always")
            yield said
    finally:
        root.removeHandler(handler)
        said += [str(warning.message) for warning in caught] + printed.getvalue().splitlines()


def network(spec: ModelSpec, enlarged: float = 1.0) -> nn.Module:
    """A model with demo weights where there are any, else random ones.

    Args:
        spec: The model.
        enlarged: Factor on q, k and v, taken back in the projection: the same function in FP32.
    """
    model = create_model(spec.name, weights="demo" if spec.has_demo_weights else "random").eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, MultiScaleLinearAttention):
                module.qkv.conv.weight.mul_(enlarged)
                module.proj.conv.weight.div_(enlarged)
    return model


def plain_graph(model: nn.Module, spec: ModelSpec, resolution: tuple[int, int]) -> onnx.ModelProto:
    """What one gets by exporting the reference: float NCHW in, logits out. Changes the model."""
    return trace_plain(model, resolution)


def arranged_images(model: nn.Module, spec: ModelSpec, resolution: tuple[int, int]) -> onnx.ModelProto:
    """What this project gives to the compiler of a GPU, before typing: uint8 images in, class map or logits out."""
    output = "classes" if spec.task == "seg" else "logits"
    return arrange(exported(model, spec, resolution, "image", output, _peaks(model, spec, resolution)), "conv")


def arranged_floats(model: nn.Module, spec: ModelSpec, resolution: tuple[int, int]) -> onnx.ModelProto:
    """The same with float NCHW in and logits out, as `plain_graph`: no Cast in it."""
    return arrange(exported(model, spec, resolution, "tensor", "logits", _peaks(model, spec, resolution)), "conv")


def exported(
    model: nn.Module, spec: ModelSpec, resolution: tuple[int, int], input: str, output: str, peaks: Peaks | None = None
) -> onnx.ModelProto:
    """The graph that ``evit-deploy export`` writes, unverified."""
    graph = trace_deployed(model, preprocess_rules(spec), resolution, input, output, peaks=peaks)
    if output != LOGITS:
        hide_output(graph, LOGITS)
    return graph


def _peaks(model: nn.Module, spec: ModelSpec, resolution: tuple[int, int]) -> Peaks:
    """What `export` sees on its reference frames."""
    with record_peaks(model) as peaks:
        make_reference(model, choose_frames(None, resolution)[:1], preprocess_rules(spec), resolution)
    return peaks


GRAPHS = {"plain": plain_graph, "arranged floats": arranged_floats, "arranged images": arranged_images}


def make_graph(kind: str, name: str, resolution: tuple[int, int], enlarged: float = 1.0) -> onnx.ModelProto:
    """The FP32 graph of a model; `kind` is one of `GRAPHS`."""
    spec = find_model(name)
    return GRAPHS[kind](network(spec, enlarged), spec, resolution)
