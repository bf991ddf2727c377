# SPDX-License-Identifier: Apache-2.0
"""What an engine costs a robot's process: memory and time to load, measured in a fresh process.

The probe imports `evit_deploy.runtime` and nothing else of this package, so neither PyTorch nor a compiler that is
loaded here counts.

On Linux the peak is the kernel's high-water mark of the process image (``VmHWM`` in ``/proc/self/status``), reset just
before the load. ``ru_maxrss`` will not do there: a child inherits the maximum of the process that started it, and a
small engine would vanish behind the parent's PyTorch. Elsewhere ``ru_maxrss`` is all there is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import evit_deploy
from evit_deploy.errors import UnavailableError

TIMEOUT_SECONDS = 600

# Text, not a module: run by path it would put this folder, with a profile.py that hides Python's own, on the path.
_PROBE = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from evit_deploy.runtime import load

def status(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024

def maximum():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

linux = sys.platform.startswith("linux")
try:
    Path("/proc/self/clear_refs").write_text("5")
except OSError:
    pass
baseline = status("VmRSS") if linux else maximum()
start = time.perf_counter()
task = load(sys.argv[1], trusted_keys=sys.argv[2] if len(sys.argv) > 2 else None)
seconds = time.perf_counter() - start
frame = np.zeros((720, 1280, 3), np.uint8)

def show(count):
    if hasattr(task, "set_image"):
        task.set_image(frame)
        return task.predict(points=np.full((count, 1, 2), 360.0)).masks
    low = task.manifest.graph.batch[0]
    if low == 1:
        return task(frame)
    inputs = {t.name: np.zeros([low if s == -1 else s for s in t.shape], t.dtype) for t in task.engine.inputs}
    return task.infer(inputs)

def peak():
    return (status("VmHWM") if linux else maximum()) - baseline

began = time.perf_counter()
show(1)
first = time.perf_counter() - began
for _ in range(2):
    show(1)
few = peak()
many = None
if hasattr(task, "set_image"):
    show(64)
    many = peak()
foreign = [name for name in ("torch", "onnx") if name in sys.modules]
print(json.dumps({"bytes": few, "many": many, "seconds": seconds, "first": first, "foreign": foreign}))
"""


@dataclass(frozen=True)
class Footprint:
    """What loading an engine costs.

    Attributes:
        peak_memory_mb: Memory in MB (10⁶ bytes, resident) that loading the engine and running three 720×1280 frames
            adds at its peak to a process that has Python, numpy and the runtime already: the backend's library,
            weights, compiled graph, buffers, and whatever building them needed for a moment. For a graph with a fixed
            batch above 1 the three runs are of the raw graph. A segment-anything engine answers one prompt per frame.
        load_seconds: From the folder to an engine ready to be called: hashes checked, backend imported, graph loaded.
            The files are in the system's cache.
        many_peak_memory_mb: The peak after one more frame with 64 prompts in one call, with their 192 masks at the
            frame's size, where the engine takes prompts.
        first_call_ms: The first of the three, just after the load: a library may still allocate or compile then.
    """

    peak_memory_mb: float
    load_seconds: float
    many_peak_memory_mb: float | None = None
    first_call_ms: float | None = None


def measure_footprint(folder: Path, trusted_keys: str | Path | None = None) -> Footprint:
    """Load an engine in a fresh process and run three frames.

    Args:
        folder: Folder of an engine.
        trusted_keys: Keys one of which must have signed it, as for `evit_deploy.load`.

    Raises:
        UnavailableError: The process failed.
    """
    # The child must find the very package that runs here, also where it is not installed.
    root = str(Path(evit_deploy.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}
    arguments = [str(folder.resolve()), *([] if trusted_keys is None else [str(trusted_keys)])]
    try:
        result = subprocess.run(
            [sys.executable, "-c", _PROBE, *arguments],
            capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True, env=environment,
        )  # fmt: skip
        data = json.loads(result.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError) as error:
        detail = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise UnavailableError(
            f"the memory of {folder} could not be measured: a fresh process that loads it failed",
            found=detail[-1] if detail else type(error).__name__,
            fix=f"python -c 'import evit_deploy; evit_deploy.load(\"{folder}\")' shows why",
        ) from error
    many = data["many"]
    return Footprint(
        peak_memory_mb=data["bytes"] / 1e6,
        load_seconds=data["seconds"],
        many_peak_memory_mb=None if many is None else many / 1e6,
        first_call_ms=data["first"] * 1000,
    )
