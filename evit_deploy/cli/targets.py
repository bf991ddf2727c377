# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy targets``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from evit_deploy.cli.common import Json, print_json, print_table
from evit_deploy.targets import TARGETS, find_target

if TYPE_CHECKING:
    from evit_deploy.targets import Figure, TargetSpec

Name = Annotated[str | None, typer.Argument(metavar="[TARGET]", help="Show everything about this one.")]

_MARKS = "~ derived from published figures, ? not checked; all others are the vendor's"


def command(name: Name = None, json: Json = False) -> None:
    """List the machines an engine can be built for, or all that is known about one."""
    if name is not None:
        return _one(find_target(name), json)
    if json:
        return print_json([asdict(spec) for spec in TARGETS.values()])
    rows = [
        [
            spec.name,
            spec.title,
            spec.compute_capability or "-",
            *_sizes(spec),
            " ".join(spec.precisions) or "-",
            " ".join(spec.compilers) or "-",
            spec.note,
        ]
        for spec in TARGETS.values()
    ]
    print_table(["target", "machine", "CC", "SMs", "GB", "GB/s", "precisions", "compilers", "note"], rows)
    typer.echo(f"{_MARKS}; evit-deploy targets NAME shows sizes and power modes", err=True)  # the table stays a table


def _sizes(spec: TargetSpec) -> list[str]:
    """Multiprocessors, memory and bandwidth of all sizes, each value once."""
    columns = (
        [str(size.multiprocessors) for size in spec.variants],
        [str(size.memory_gb) for size in spec.variants],
        [str(size.bandwidth_gbs) for size in spec.variants],
    )
    return ["/".join(dict.fromkeys(column)) or "-" for column in columns]


def _one(spec: TargetSpec, json: bool) -> None:
    from evit_deploy.targets.jetpack import jetpacks_of

    releases = jetpacks_of(spec.name)
    if json:
        return print_json({**asdict(spec), "jetpacks": [asdict(line) for line in releases]})
    typer.echo(f"{spec.name}: {spec.title}")
    rows = {
        "CC": " ".join(spec.capabilities),
        "precisions": " ".join(spec.precisions),
        "compilers": " ".join(spec.compilers),
        "opset": f"at most {spec.opset}" if spec.opset else "",
        "note": spec.note,
    }
    for title, text in rows.items():
        if text:
            typer.echo(f"  {title:<12}{text}")
    _print_sizes(spec)
    _print_modes(spec)
    if releases:
        lines = [
            [
                _span(line.releases),
                _span(tuple(version for versions in line.l4t for version in versions)),
                line.cuda,
                line.tensorrt,
                line.python,
                str(line.opset or "-"),
                "" if line.supported else "TensorRT too old",
            ]
            for line in releases
        ]
        typer.echo("")
        print_table(["JetPack", "L4T", "CUDA", "TensorRT", "Python", "opset", ""], lines)


def _print_sizes(spec: TargetSpec) -> None:
    if not spec.variants:
        return
    rows = [
        [
            size.name,
            *map(_cell, (size.multiprocessors, size.clock_mhz, size.fp16_tflops, size.int8_tops, size.bandwidth_gbs)),
        ]
        for size in spec.variants
    ]
    typer.echo("")
    print_table(["size", "SMs", "MHz", "FP16 TFLOPS", "INT8 TOPS", "GB/s"], rows)
    typer.echo(f"dense peaks of the GPU; {_MARKS}")


def _print_modes(spec: TargetSpec) -> None:
    rows = [
        [size.name, mode.name, str(mode.multiprocessors), str(mode.clock_mhz or "-"), "default" if mode.default else ""]
        for size in spec.variants
        for mode in size.modes
    ]
    if rows:
        typer.echo("")
        print_table(["size", "power mode", "SMs", "MHz at most", ""], rows)


def _span(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _cell(figure: Figure | None) -> str:
    return "-" if figure is None else str(figure)
