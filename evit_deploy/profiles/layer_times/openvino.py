# SPDX-License-Identifier: Apache-2.0
"""OpenVINO's counters: the mean time of every primitive since the graph was compiled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from evit_deploy.errors import UnavailableError, extra, first_line
from evit_deploy.profiles.layer_times.measure import repeat
from evit_deploy.profiles.layer_times.record import LayerTime, LayerTimes
from evit_deploy.runtime import Engine
from evit_deploy.runtime.backends.openvino import core, settings
from evit_deploy.runtime.engine import available_cores

_SUFFIX = "/WithoutBiases"


def measure(engine: Engine, inputs: Mapping[str, Any]) -> LayerTimes:
    """Time every primitive, in a compiled graph of its own.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        UnavailableError: It cannot load the engine with its counters on.
    """
    with extra("openvino", "Timing layers"):
        import openvino as ov
    info = engine.manifest.engine
    assert info is not None
    path, hints = engine.folder / info.entry, settings(info.precision, available_cores())
    try:
        compiled = core().compile_model(str(path), "CPU", {**hints, "PERF_COUNT": True})
    except RuntimeError as error:
        raise UnavailableError(f"OpenVINO cannot profile {path}", found=first_line(error)) from error
    request = compiled.create_infer_request()
    times = repeat(lambda: request.infer(dict(inputs), share_inputs=True, share_outputs=True))
    return LayerTimes(
        tool=f"OpenVINO {ov.__version__.partition('-')[0]}",
        runs=len(times) + 1,
        layers=tuple(_layers(request.get_profiling_info(), _origins(compiled.get_runtime_model()))),
        run_ms=float(np.mean(times)),
        note="The first run is in the means of the layers. What OpenVINO does between primitives is in no layer.",
    )


def _layers(counters: Iterable[Any], origins: Mapping[str, tuple[str, ...]]) -> Iterable[LayerTime]:
    """The primitives that ran; those that were fused into others did not."""
    for item in counters:
        if item.status.name == "EXECUTED":
            milliseconds = item.real_time.total_seconds() * 1000
            kind = f"{item.node_type} ({item.exec_type})"
            yield LayerTime(item.node_name, kind, milliseconds, origins.get(item.node_name, ()))


def _origins(model: Any) -> dict[str, tuple[str, ...]]:
    """Names of the ONNX nodes that every primitive computes."""
    found = {}
    for item in model.get_ordered_ops():
        info = item.get_rt_info()
        names = str(info["originalLayersNames"].astype(str)) if "originalLayersNames" in info else ""
        whole = (
            name.removesuffix(_SUFFIX) for name in names.split(",") if name
        )  # a bias is listed beside its convolution
        found[item.get_friendly_name()] = tuple(dict.fromkeys(whole))
    return found
