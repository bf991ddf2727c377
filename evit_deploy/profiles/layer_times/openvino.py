# SPDX-License-Identifier: Apache-2.0
"""OpenVINO's counters: the mean time of every primitive since the graph was compiled, less the first run."""

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

    def run() -> None:
        request.infer(dict(inputs), share_inputs=True, share_outputs=True)

    run()
    first = _counters(request.get_profiling_info())
    times = repeat(run)
    runs = len(times) + 1  # without the first, with the one that is not timed as a whole
    counters = request.get_profiling_info()
    means = without_first(_counters(counters), first, runs)
    return LayerTimes(
        tool=f"OpenVINO {ov.__version__.partition('-')[0]}",
        runs=runs,
        layers=tuple(_layers(counters, means, _origins(compiled.get_runtime_model()))),
        run_ms=float(np.mean(times)),
        note="What OpenVINO does between primitives is in no layer.",
    )


def without_first(means: Mapping[str, float], first: Mapping[str, float], runs: int) -> dict[str, float]:
    """Take the first run, in which memory is found and code is made, out of means that it is in.

    Args:
        means: Mean milliseconds by name, over the first run and `runs` more.
        first: Milliseconds of the first run by name.
        runs: How many came after it.

    Returns:
        Mean milliseconds of the others; counters are whole microseconds, so that little may become less than nothing,
        which is 0 here.
    """
    return {
        name: max(0.0, ((runs + 1) * mean - first[name]) / runs) if name in first else mean
        for name, mean in means.items()
    }


def _counters(items: Iterable[Any]) -> dict[str, float]:
    """Milliseconds by name."""
    return {item.node_name: item.real_time.total_seconds() * 1000 for item in items}


def _layers(
    counters: Iterable[Any], means: Mapping[str, float], origins: Mapping[str, tuple[str, ...]]
) -> Iterable[LayerTime]:
    """The primitives that ran; those that were fused into others did not."""
    for item in counters:
        if item.status.name == "EXECUTED":
            kind = f"{item.node_type} ({item.exec_type})"
            yield LayerTime(item.node_name, kind, means[item.node_name], origins.get(item.node_name, ()))


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
