# SPDX-License-Identifier: Apache-2.0
"""Peak memory of Segment Anything in a process of its own, for `measure_sam.py`.

``python tools/sam_memory.py SUBJECT WORK ENGINE PHOTO OPTIONS`` loads an engine, or the PyTorch model that it was made
from, does one piece of work once, and prints the process's peak in MB (10⁶ bytes): Python, libraries and all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

PYTORCH = "PyTorch eager"
MANY = 64
EVERYTHING = "everything"


def peak_mb(subject: str, work: str, folder: Path, photo: Path, options: Any) -> float:
    """Run this file in a fresh process.

    Args:
        subject: `PYTORCH`, or anything else for the engine.
        work: "1 prompt", "64 prompts" or "everything".
        folder: The engine; for PyTorch, one made from the same weights.
        photo: An image.
        options: `EverythingOptions`, or None.
    """
    settings = json.dumps(asdict(options) if options else {})
    command = [sys.executable, __file__, subject, work, str(folder), str(photo), settings]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Do the work, print the peak."""
    subject, work, folder, path, settings = sys.argv[1:]
    from evit_deploy.data.images import read_image

    photo = read_image(Path(path))
    count = MANY if work.startswith(str(MANY)) else 1
    points = np.random.default_rng(0).uniform(0, photo.shape[1::-1], (count, 1, 2))
    (_torch if subject == PYTORCH else _engine)(work, Path(folder), photo, points, json.loads(settings))
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6)


def _torch(work: str, folder: Path, photo: Any, points: Any, settings: dict[str, Any]) -> None:
    import sam_baseline
    import torch

    from evit_deploy.manifest import ENCODER, read_bundle
    from evit_deploy.profiles.original import original_model
    from evit_deploy.profiles.sam.original import Original
    from evit_deploy.runtime.engine import available_cores
    from evit_deploy.runtime.sam import EverythingOptions

    torch.set_num_threads(available_cores())
    encoder = read_bundle(folder)[1][ENCODER]
    model: Any = original_model(encoder).requires_grad_(False)
    if work == EVERYTHING:
        sam_baseline.segment_everything(model, photo, EverythingOptions(**settings))
    else:
        Original(model, encoder).segment(photo, points)


def _engine(work: str, folder: Path, photo: Any, points: Any, settings: dict[str, Any]) -> None:
    from evit_deploy.runtime import load
    from evit_deploy.runtime.sam import EverythingOptions

    sam: Any = load(folder)
    if work == EVERYTHING:
        sam.everything(photo, EverythingOptions(**settings))
    else:
        sam.set_image(photo)
        _ = sam.predict(points).masks


if __name__ == "__main__":
    main()
