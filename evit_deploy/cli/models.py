# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy models``."""

from __future__ import annotations

from dataclasses import asdict

from evit_deploy.cli.common import Json, print_json, print_table
from evit_deploy.models import MODELS


def command(json: Json = False) -> None:
    """List the models: size, published accuracy, and the weights that exist."""
    if json:
        return print_json([{**asdict(spec), "demo_weights": spec.has_demo_weights} for spec in MODELS.values()])
    rows = [
        [
            spec.name,
            spec.dataset,
            f"{spec.resolution[0]}x{spec.resolution[1]}",
            f"{spec.parameters:.1f}",
            f"{spec.gmacs:g}" if spec.gmacs else "-",
            f"{spec.accuracy:.1f} {spec.metric}" if spec.accuracy else "-",
            " ".join((["official"] if spec.checkpoints else []) + (["demo"] if spec.has_demo_weights else [])) or "-",
        ]
        for spec in MODELS.values()
    ]
    print_table(["model", "dataset", "input", "params M", "GMACs", "published %", "weights"], rows)
