# SPDX-License-Identifier: Apache-2.0
"""Fit what INT8 gains to published pairs of latencies, and print the table of docs/prediction.md.

``python tools/check_int8.py`` writes ``evit_deploy/profiles/predict/int8.json``; seconds. The pairs and their sources
stand in tools/int8_published.py, the networks in tools/int8_networks.py. Those who published them quantised everything
that TensorRT computes in INT8: sums, pooling and the first convolution too. So does this check; this package does not.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from functools import cache

import numpy as np
from int8_networks import NETWORKS
from int8_published import PAIRS, Pair, boards
from scipy.optimize import least_squares

from evit_deploy.models.zoo import find_model
from evit_deploy.precision.int8.layers import find_layers
from evit_deploy.profiles.predict.cost import calibration, run_ms
from evit_deploy.profiles.predict.fusion import plan_from_graph
from evit_deploy.profiles.predict.graphs import whole_graph
from evit_deploy.profiles.predict.int8 import PredictedOracle
from evit_deploy.profiles.predict.int8_cost import CALIBRATION, Int8Constants, Int8Model, Mixed, mixed_cost
from evit_deploy.profiles.predict.int8_flow import flow_of
from evit_deploy.profiles.predict.machine import conditions
from evit_deploy.profiles.predict.sources import model_subjects
from evit_deploy.profiles.predict.typed_graph import TypedGraph

CHANNELS = (1, 16, 32)
"""What channels may be filled up to a multiple of; the best on held-out families is taken."""

COVERAGE = 0.9
QUIET = frozenset({"Add", "Clip", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Relu", "Resize", "Split"})
"""Operators that TensorRT computes in INT8 beside convolutions."""

MODELS = ("b0-seg", "b1-seg", "b2-seg", "l1-seg", "b1-cls", "b3-cls", "l0-sam")

Fit = dict[Pair, float]


def main() -> None:
    """Fit, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", action="store_true", help="predict this project's models instead: minutes")
    if parser.parse_args().models:
        print_models()
        return
    tried = {channels: held_out(PAIRS, channels) for channels in CHANNELS}
    for channels, found in tried.items():
        print(f"channels in multiples of {channels}, families held out: {words(found)}")
    channels = min(tried, key=lambda number: float(np.median(errors(tried[number]))))
    constants, held = fit(PAIRS, channels), tried[channels]
    fitted = {pair: ratio(pair, constants) for pair in PAIRS}
    print_table(fitted, held)
    record = {
        "fitted": datetime.now(timezone.utc).date().isoformat(),
        "source": "latencies in FP16 and INT8 on Orins that others published; see tools/int8_published.py",
        "tool": "tools/check_int8.py",
        "constants": asdict(constants),
        "margin": margin(held),
        "coverage": COVERAGE,
    }
    CALIBRATION.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))


@cache
def quantised(network: str, batch: int, channels: int) -> tuple[Int8Model, Mixed]:
    """A network with everything in INT8 that TensorRT computes in INT8."""
    graph = NETWORKS[network](batch)
    flow = flow_of(TypedGraph(graph), plan_from_graph(graph).working)
    computes = {product.kernel for product in flow.products.values()}
    also = {number for number, kinds in enumerate(flow.operators) if number in computes or kinds <= QUIET}
    model = Int8Model(flow, channels, also)
    return model, model.mixed([name for name in flow.products if not name.startswith("MatMul")])


def ratio(pair: Pair, constants: Int8Constants) -> float:
    """Predicted time in INT8 over that in FP16; inputs and outputs are not copied in either."""
    model, mixed = quantised(pair.network, pair.batch, constants.channels)
    machine, ours = boards()[pair.board], calibration().constants
    launches = len(mixed.kinds) * ours.launch(machine)
    ms = mixed_cost(mixed, machine, ours, constants).total + launches
    return ms / run_ms(model.work, 0, machine, ours)


def fit(pairs: Sequence[Pair], channels: int) -> Int8Constants:
    """Fit constants: relative errors, large ones weighing less than squared, and every family as much."""
    weights = {family: number**-0.5 for family, number in Counter(pair.family for pair in pairs).items()}

    def constants(values: Iterable[float]) -> Int8Constants:
        light, dense, arithmetic = map(float, values)
        return Int8Constants(light, dense, arithmetic, channels)

    def misses(values: Iterable[float]) -> list[float]:
        found = constants(values)
        return [np.log(ratio(pair, found) / pair.ratio) * weights[pair.family] for pair in pairs]

    bounds = ([0.5, 0.5, 0.3], [3.0, 3.0, 1.5])
    return constants(least_squares(misses, [1.2, 1.2, 0.9], bounds=bounds, loss="soft_l1", f_scale=0.05).x)


def held_out(pairs: Sequence[Pair], channels: int) -> Fit:
    """Predict each pair from a fit to all other families of networks."""
    found: Fit = {}
    for family in dict.fromkeys(pair.family for pair in pairs):
        constants = fit([pair for pair in pairs if pair.family != family], channels)
        found |= {pair: ratio(pair, constants) for pair in pairs if pair.family == family}
    return found


def errors(found: Fit) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How far ratios are off, relative to the published ones."""
    return np.array([abs(value / pair.ratio - 1) for pair, value in found.items()])


def margin(found: Fit) -> float:
    """The factor within which a share of predictions lies; every family counts as much, however many pairs it has."""
    sizes = Counter(pair.family for pair in found)
    ordered = sorted((abs(np.log(value / pair.ratio)), 1 / sizes[pair.family]) for pair, value in found.items())
    reached = np.cumsum([weight for _, weight in ordered]) >= COVERAGE * len(sizes) - 1e-9
    return float(np.exp(ordered[int(reached.argmax())][0]))


def words(found: Fit) -> str:
    """Median, mean and worst error."""
    off = errors(found)
    return f"median {np.median(off):.1%}, mean {off.mean():.1%}, worst {off.max():.1%}"


def print_table(fitted: Fit, held: Fit) -> None:
    """Every pair: published, fitted, and predicted with its family held out."""
    print("\n| network | board | batch | FP16 ms | INT8 ms | ratio | predicted | family held out |")
    print("|---|---|---|---|---|---|---|---|")
    for pair in PAIRS:
        numbers = (f"{value:.2f}" for value in (pair.fp16_ms, pair.int8_ms, pair.ratio, fitted[pair], held[pair]))
        print(f"| {pair.network} | {pair.board} | {pair.batch} | {' | '.join(numbers)} |")
    print(f"\nfitted: {words(fitted)}\nfamily held out: {words(held)}")


def print_models() -> None:
    """Models of this project on an AGX Orin with all convolutions in INT8 that may be."""
    print(
        "| graph | FP16 ms | INT8 ms | ratio | interval | without depthwise convolutions |\n|---|---|---|---|---|---|"
    )
    for name in MODELS:
        subject, *_ = model_subjects(find_model(name))
        graph = whole_graph(find_model(name), subject.resolution, subject.output, 1)
        layers = find_layers(graph)
        oracle = PredictedOracle(subject, graph, [layer.name for layer in layers], conditions("orin"))
        found = oracle.cost([layer.name for layer in layers])
        rest = oracle.cost([layer.name for layer in layers if layer.kind != "depthwise"])
        height, width = subject.resolution
        print(
            f"| {name} {height}x{width} | {oracle.cost(()).ms:.2f} | {found.ms:.2f} | {found.ratio:.2f} | "
            f"{found.low:.2f}–{found.high:.2f} | {rest.ratio:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
