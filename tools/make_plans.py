# SPDX-License-Identifier: Apache-2.0
"""Compile the plans that predictions ship with: minutes, with TensorRT for RTX.

``python tools/make_plans.py`` writes two files of ``evit_deploy/profiles/predict``: ``published_plans.json.xz``, the
graphs that latencies were published for as the reference exports them, which the model is fitted to; and
``zoo_plans.json.xz``, this project's own graphs of everything that ``evit-deploy advise`` chooses from. Run it again
when the form of exported or lowered graphs changes.
"""

from __future__ import annotations

import argparse
import json
import lzma
from typing import Any

import numpy as np

from evit_deploy.cli.bars import Bars
from evit_deploy.manifest.store import content_key
from evit_deploy.models.zoo import ModelSpec, find_model
from evit_deploy.profiles.advise.choice import candidates
from evit_deploy.profiles.predict.cost import Work
from evit_deploy.profiles.predict.fit import DECODER, PLANS
from evit_deploy.profiles.predict.plans import maker
from evit_deploy.profiles.predict.published import graphs
from evit_deploy.profiles.predict.sources import key_of, model_subjects
from evit_deploy.profiles.predict.store import write_shipped
from evit_deploy.profiles.predict.subject import Subject


def main() -> None:
    """Make and write all plans; those that are in the user's cache are taken from there."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    write_published([(find_model(model), size) for model, size in graphs()])
    write_zoo([(find_model(one.model), one.resolution) for one in candidates()])


def write_published(rows: list[tuple[ModelSpec, tuple[int, int]]]) -> None:
    """Kernels of the reference's graphs, three numbers each."""
    found: dict[str, Any] = {}
    for spec, (height, width) in rows:
        whole, *decoders = model_subjects(spec, (height, width), plain=True, progress=Bars())
        found[f"{spec.name} {height}x{width}"] = _numbers(whole)
        for decoder in decoders:
            found[DECODER] = _numbers(decoder)
    text = json.dumps({"compiler": maker(), "plans": found}, separators=(",", ":"))
    PLANS.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def write_zoo(rows: list[tuple[ModelSpec, tuple[int, int]]]) -> None:
    """Plans of this project's graphs."""
    shipped = {}
    for spec, size in rows:
        for subject in model_subjects(spec, size, progress=Bars()):
            shipped[content_key(**key_of(subject))] = subject
    write_shipped(shipped)


def _numbers(subject: Subject) -> dict[str, Any]:
    work = Work.of(subject.plan.working)
    kernels = np.stack([work.activations, work.weights, work.flops], axis=1).astype(np.int64).tolist()
    return {"io_bytes": subject.inputs + subject.outputs, "kernels": kernels}


if __name__ == "__main__":
    main()
