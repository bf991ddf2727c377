# SPDX-License-Identifier: Apache-2.0
"""Plans that are guessed from graphs alone beside those that TensorRT for RTX makes: a table of docs/prediction.md.

``python tools/fusion_table.py`` traces and compiles every graph: minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import onnx

from evit_deploy.engines.bundle import POINTS
from evit_deploy.engines.lowering import Fixed
from evit_deploy.engines.plan import Plan
from evit_deploy.models.zoo import find_model
from evit_deploy.profiles.predict import graphs
from evit_deploy.profiles.predict.cost import Work, calibration, run_ms
from evit_deploy.profiles.predict.fusion import plan_from_graph
from evit_deploy.profiles.predict.machine import conditions
from evit_deploy.profiles.predict.plans import plan_of

Trace = Callable[[], onnx.ModelProto]


def whole(model: str, resolution: tuple[int, int], output: str, batch: int = 1) -> tuple[str, Trace]:
    """A graph as this package makes it."""
    height, width = resolution
    words = f"{model} {height}x{width}{'' if batch == 1 else f', batch {batch}'}"
    return words, partial(graphs.whole_graph, find_model(model), resolution, output, batch)


def plain(model: str, resolution: tuple[int, int]) -> tuple[str, Trace]:
    """A graph as the reference exports it."""
    height, width = resolution
    return f"{model} {height}x{width}, reference", partial(graphs.plain_graph, find_model(model), resolution)


ROWS: tuple[tuple[str, Trace], ...] = (
    whole("b1-cls", (224, 224), "logits"),
    whole("b3-cls", (288, 288), "logits"),
    whole("b1-seg", (1024, 2048), "classes"),
    plain("b1-seg", (1024, 2048)),
    whole("l2-seg", (1024, 2048), "classes"),
    whole("l1-seg-ade20k", (512, 512), "classes"),
    plain("l1-cls", (224, 224)),
    whole("l0-sam", (512, 512), "embedding"),
    plain("l0-sam", (512, 512)),
    whole("xl0-sam", (1024, 1024), "embedding"),
    ("mask decoder, one prompt", partial(graphs.decoder_graph, find_model("l0-sam"), Fixed(1, POINTS))),
    ("mask decoder, reference", partial(graphs.plain_decoder_graph, find_model("l0-sam"))),
    whole("b1-cls", (224, 224), "logits", batch=4),
    whole("b2-cls", (224, 224), "logits", batch=16),
)


def main() -> None:
    """Make both plans of every graph, and print how they differ."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("| graph | kernels, real / guessed | activation traffic | predicted ms |\n|---|---|---|---|")
    for words, trace in ROWS:
        graph = trace()
        real, guessed = plan_of(graph)[0], plan_from_graph(graph)
        moved, ms = (f"{value(guessed) / value(real) - 1:+.1%}" for value in (traffic, milliseconds))
        print(f"| {words} | {len(real.working)} / {len(guessed.working)} | {moved} | {ms} |", flush=True)


def traffic(plan: Plan) -> float:
    """Bytes of activations."""
    return sum(kernel.distinct_traffic for kernel in plan.working)


def milliseconds(plan: Plan) -> float:
    """Predicted on an AGX Orin, without copies."""
    return run_ms(Work.of(plan.working), 0, conditions("orin"), calibration().constants)


if __name__ == "__main__":
    main()
