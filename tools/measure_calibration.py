# SPDX-License-Identifier: Apache-2.0
"""What calibrating INT8 takes: memory, flat or growing, and seconds per frame. For docs/int8.md.

    evit-deploy export b1-seg --weights demo --resolution 512x1024
    python tools/measure_calibration.py export/b1-seg --frames 60

Takes the way of a build: frames of `--source` as the engine fits them, every tensor that may be INT8, the state kept on
disk. Memory is the process's own (resident set, Python and libraries included), taken before every frame.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evit_deploy.manifest import read_manifest
from evit_deploy.precision.arrange import arrange
from evit_deploy.precision.graph import load_graph
from evit_deploy.precision.int8.calibrate import calibrate
from evit_deploy.precision.int8.layers import find_layers
from evit_deploy.precision.int8.samples import Samples, open_samples
from evit_deploy.precision.probe import Feed

FEWEST = 20
"""Frames to measure with; the first half of them shows how an allocator warms up, the second half whether it ends."""


class Watched:
    """Frames that write down memory and time whenever one is asked for.

    Attributes:
        resident: MB in use before each frame.
        drawing: Seconds that making the frames took.
    """

    def __init__(self, frames: Samples) -> None:
        self._frames, self.resident, self.drawing = frames, list[float](), 0.0

    def __iter__(self) -> Iterator[Feed]:
        """Each frame."""
        frames = iter(self._frames)
        while True:
            self.resident.append(memory("VmRSS"))
            begun = time.perf_counter()
            feed = next(frames, None)
            self.drawing += time.perf_counter() - begun
            if feed is None:
                return
            yield feed


def memory(field: str) -> float:
    """A field of /proc/self/status in MB (10⁶ bytes): VmRSS now, VmHWM at most."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found[1]) * 1024 / 1e6 if found else float("nan")


def growth(resident: list[float]) -> float:
    """MB per frame in the second half: the slope of a straight line."""
    warm = np.array(resident[len(resident) // 2 :])
    return float(np.polyfit(np.arange(len(warm)), warm, 1)[0])


def main() -> None:
    """Calibrate and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path)
    parser.add_argument("--source", default="scenes")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--extrapolate", type=int, default=500, help="frames to say the memory of")
    arguments = parser.parse_args()
    if arguments.frames < FEWEST:
        parser.error(f"--frames: at least {FEWEST}")
    manifest = read_manifest(arguments.export)
    model = arrange(load_graph(arguments.export / manifest.graph.file))
    tensors = list(dict.fromkeys(layer.source for layer in find_layers(model)))
    frames = Watched(open_samples(arguments.source, manifest, arguments.frames, held_out=1)[0])
    loaded, begun = memory("VmRSS"), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = calibrate(model, tensors, frames, total=arguments.frames, store=Path(folder) / "state.npz", key="-")
    seconds = time.perf_counter() - begun - frames.drawing
    slope, peak = growth(frames.resident), memory("VmHWM")
    half = frames.resident[len(frames.resident) // 2]
    more = max(slope, 0.0) * max(arguments.extrapolate - found.images, 0)
    print(f"{manifest.model.name} at {manifest.graph.resolution}: {len(tensors)} tensors, {found.images} frames")
    print(f"memory: {loaded:.0f} MB before, {half:.0f} MB after half of the frames, {peak:.0f} MB at most")
    print(f"growth: {slope:+.3f} MB per frame since, so at most {peak + more:.0f} MB for {arguments.extrapolate}")
    print(f"time: {seconds / found.images:.2f} s per frame, and {frames.drawing / found.images:.2f} s to make one")


if __name__ == "__main__":
    main()
