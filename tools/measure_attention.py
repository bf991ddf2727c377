# SPDX-License-Identifier: Apache-2.0
"""Compile the attention in many formulations and print the tables of docs/attention.md; needs no GPU.

``python tools/measure_attention.py forms b1-seg:1024x2048 …`` puts each formulation into a whole network, types it in
FP16, compiles it by TensorRT for RTX and reads the plan. ``safety`` runs one block of each under faithful FP16
emulation. ``passes MODEL:SIZE …`` adds the passes of `evit_deploy.precision.arrange` one by one, ``classes`` compares
ways to make a class map, and ``bound MODEL:SIZE`` sets the plan against the least traffic there could be. Milliseconds
are predictions (`gpu_cost.Cost.orin_ms`), not measurements.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import lowerings
import torch
from attention_forms import REFERENCE, Change, changes
from attention_numbers import judge
from class_maps import class_maps, surroundings
from gpu_cost import ARCH, Cost, applied, compile_fp16, compile_typed
from onnx import ModelProto
from traffic_bound import GROUPS, OTHER, least_traffic, plan_traffic

from evit_deploy.cli.common import parse_resolution
from evit_deploy.engines.tensorrt_rtx import COMPILER
from evit_deploy.models import create_model
from evit_deploy.models.zoo import find_model
from evit_deploy.precision import arrange as passes
from evit_deploy.precision.arrange import arrange
from evit_deploy.precision.attention import AttentionForm, arrange_attention

Job = tuple[str, tuple[int, int]]


def exported(name: str, size: tuple[int, int], input: str = "tensor", output: str = "logits") -> ModelProto:
    """The graph that ``evit-deploy export`` writes, unverified and of random weights."""
    return lowerings.exported(create_model(name, weights="random"), find_model(name), size, input, output)


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a markdown table row by row, as rows come."""
    header = list(header)
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |", flush=True)
    print()


def show_forms(jobs: Iterable[Job]) -> None:
    """Every formulation in every network."""
    named = changes()
    verdicts = judge({name: partial(_changed, change) for name, change in named.items()})
    header = ("formulation", "kernels", "MB", "GMACs added", "predicted Orin ms", "safe in FP16", "error")
    for name, size in jobs:
        print(f"{_title(name, size)}\n")
        base = applied(exported(name, size), passes.resize_upsampling)
        reference, _ = compile_fp16(_changed(named[REFERENCE], base))

        def rows(base: ModelProto = base, reference: Cost = reference) -> Iterator[tuple[object, ...]]:
            for form, change in named.items():
                cost, _ = compile_fp16(_changed(change, base))
                verdict = verdicts[form]
                safe = "no" if verdict.failed else "yes"
                yield (form, *_cells(cost, reference), safe, f"{verdict.error:.2f}")

        table(header, rows())


def show_safety() -> None:
    """Every formulation on every hard case."""
    verdicts = judge({name: partial(_changed, change) for name, change in changes().items()})
    rows = ((name, f"{v.error:.2f}", f"{v.worst:.2f}", ", ".join(v.failed) or "none") for name, v in verdicts.items())
    table(("formulation", "error on normal numbers", "worst error", "cases failed"), rows)


def show_passes(jobs: Iterable[Job]) -> None:
    """The passes of `arrange`, one after the other."""
    named = changes()
    ours = partial(arrange_attention, form=AttentionForm())
    for name, size in jobs:
        print(f"{_title(name, size)}\n")
        base = exported(name, size)
        reference, _ = compile_fp16(applied(base, passes.resize_upsampling, named[REFERENCE]))
        steps: dict[str, tuple[Change, ...]] = {
            "reference": (passes.resize_upsampling, named[REFERENCE]),
            "as exported": (),
            "+ attention": (ours,),
            "+ Resize": (ours, passes.resize_upsampling),
            "+ merged shortcuts (all of `arrange`)": (ours, passes.merge_shortcuts, passes.resize_upsampling),
        }
        costs = ((step, compile_fp16(applied(base, *parts))[0]) for step, parts in steps.items())
        table(("graph", "kernels", "MB", "GMACs added", "predicted Orin ms"),
              ((step, *_cells(cost, reference)) for step, cost in costs))  # fmt: skip


def show_classes() -> None:
    """Ways to make a class map; what they cost beyond the logits."""
    for classes, size in ((19, (1024, 2048)), (150, (512, 512))):
        print(f"{classes} classes, {size[0]}x{size[1]}\n")

        def rows(classes: int = classes, size: tuple[int, int] = size) -> Iterator[tuple[object, ...]]:
            for name, make in class_maps(classes, size):
                cost, plan = compile_fp16(make(), "fp16")
                once = sum(kernel.distinct_traffic for kernel in plan.working)
                yield name, cost.kernels, f"{cost.traffic / 1e6:.1f}", f"{once / 1e6:.1f}"

        table(("form", "kernels", "MB", "MB, each tensor once"), rows())


def show_bound(jobs: Iterable[Job]) -> None:
    """The arranged graph's plan against the least traffic, kind by kind."""
    for name, size in jobs:
        print(f"{_title(name, size)}\n")
        model = arrange(exported(name, size))
        _, plan = compile_fp16(model)
        least, found = least_traffic(model), plan_traffic(plan)
        base = exported(name, size)
        _, naive = compile_fp16(applied(base, passes.resize_upsampling, changes()[REFERENCE]))
        before = plan_traffic(naive)
        columns = (least, found, before)
        rows = [(kind, *(f"{column[kind] / 1e6:.1f}" for column in columns)) for kind in (*GROUPS, OTHER)]
        total = ("all", *(f"{column.total() / 1e6:.1f}" for column in columns))
        table(("MB", "least", "ours", "reference"), [*rows, total])


def show_ends(jobs: Iterable[Job]) -> None:
    """The whole way from frame to class map, in one engine or in three."""
    for name, size in jobs:
        print(f"{_title(name, size)}\n")
        base = exported(name, size)
        naive, _ = compile_fp16(applied(base, passes.resize_upsampling, changes()[REFERENCE]))
        ends = surroundings(size, find_model(name).classes)
        before, after = (replace(compile_typed(model)[0], transfer=0) for model in ends)  # all stays on the device
        chain = replace(before + naive + after, transfer=(3 + 1) * size[0] * size[1])
        costs = {
            "reference, FP32 tensor to FP32 logits": naive,
            "ours, FP32 tensor to FP32 logits": compile_fp16(arrange(base))[0],
            "ours, FP16 tensor to FP16 logits": compile_fp16(arrange(base), "fp16")[0],
            "before: normalise, FP32": before,
            "after: upsample and ArgMax, FP32": after,
            "reference, image to classes in three engines": chain,
            "ours, image to classes": compile_fp16(arrange(exported(name, size, "image", "classes")), "fp16")[0],
        }
        rows = ((key, c.kernels, f"{c.traffic / 1e6:.0f}", f"{c.transfer / 1e6:.1f}", f"{c.orin_ms:.2f}")
                for key, c in costs.items())  # fmt: skip
        table(("engine", "kernels", "MB", "MB to and from the device", "predicted Orin ms"), rows)


def _changed(change: Change, model: ModelProto) -> ModelProto:
    return applied(model, change)


def _cells(cost: Cost, reference: Cost) -> tuple[str, ...]:
    added = (cost.macs - reference.macs) / 1e9
    return str(cost.kernels), f"{cost.traffic / 1e6:.0f}", f"{added:+.2f}", f"{cost.orin_ms:.2f}"


def _title(name: str, size: tuple[int, int]) -> str:
    return f"{name} {size[0]}x{size[1]}"


def _job(text: str) -> Job:
    name, _, size = text.partition(":")
    found = parse_resolution(size or None)
    return name, found or find_model(name).resolution


def main(arguments: list[str] | None = None) -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=("forms", "safety", "passes", "classes", "bound", "ends"))
    parser.add_argument("jobs", nargs="*", type=_job, metavar="MODEL:SIZE", default=[("b1-seg", (1024, 2048))])
    given = parser.parse_args(arguments)
    print(f"TensorRT for RTX {COMPILER.version()}, {ARCH}, FP16; torch {torch.__version__}\n")
    if given.table in ("safety", "classes"):
        {"safety": show_safety, "classes": show_classes}[given.table]()
        return
    {"forms": show_forms, "passes": show_passes, "bound": show_bound, "ends": show_ends}[given.table](given.jobs)


if __name__ == "__main__":
    main()
