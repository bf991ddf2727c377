# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy targets``."""

from __future__ import annotations

from dataclasses import asdict

from evit_deploy.cli.common import Json, print_json, print_table
from evit_deploy.targets import TARGETS


def command(json: Json = False) -> None:
    """List the machines an engine can be built for."""
    if json:
        return print_json([asdict(spec) for spec in TARGETS.values()])
    rows = [
        [
            spec.name,
            spec.title,
            spec.compute_capability or "-",
            str(spec.multiprocessors or "-"),
            str(spec.memory_gb or "-"),
            f"{spec.bandwidth_gbs:g}" if spec.bandwidth_gbs else "-",
            " ".join(spec.precisions) or "-",
            " ".join(spec.compilers) or "-",
            spec.note,
        ]
        for spec in TARGETS.values()
    ]
    print_table(["target", "machine", "CC", "SMs", "GB", "GB/s", "precisions", "compilers", "note"], rows)
