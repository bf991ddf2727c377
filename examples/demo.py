# SPDX-License-Identifier: Apache-2.0
"""The main job, end to end, on a machine without a GPU: ``make demo``.

Exports b1-seg, builds an engine with every compiler and precision this machine has, keeps the fastest one that agrees
with PyTorch, runs it on a real photo and on a drawn street scene, and profiles it beside PyTorch. Every command is
printed as a user would type it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np

import evit_deploy
from evit_deploy.data.images import installed_photos
from evit_deploy.engines import choose_compiler
from evit_deploy.errors import UnavailableError
from evit_deploy.profiles.latency import Subject, measure_together
from evit_deploy.targets import find_target

MODEL, RESOLUTION = "b1-seg", "512x1024"
CANDIDATES = (("openvino", "fp32"), ("openvino", "bf16"), ("onnxruntime", "fp32"))
WORKSPACE = Path(os.environ.get("EVIT_WORKSPACE", "."))
PICTURES = WORKSPACE / "profiles" / "demo"


def evit(*arguments: str, check: bool = True) -> int:
    """Run a command of evit-deploy, shown as typed."""
    print(f"\n$ evit-deploy {' '.join(arguments)}", flush=True)
    program = [sys.executable, "-m", "evit_deploy.cli.main", *arguments]
    result = subprocess.run(program, check=False, env={**os.environ, "EVIT_WORKSPACE": str(WORKSPACE)})
    if check and result.returncode:
        sys.exit(result.returncode)
    return result.returncode


def buildable() -> list[tuple[str, str]]:
    """The compilers and precisions that this machine has."""
    found = []
    for compiler, precision in CANDIDATES:
        try:
            choose_compiler(find_target("cpu"), precision, compiler)
            found.append((compiler, precision))
        except UnavailableError as error:
            print(f"left out: {str(error).splitlines()[-1].strip()}")
    return found


def fastest(engines: list[Path]) -> Path:
    """The engine with the lowest median latency, all of them timed in one run."""
    frame = np.zeros((512, 1024, 3), np.uint8)
    with contextlib.ExitStack() as stack:
        subjects = []
        for engine in engines:
            task = evit_deploy.load(engine)
            stack.enter_context(task)
            subjects.append(Subject(engine.name, partial(task, frame), 20))
        latencies = measure_together(subjects)
    for latency in latencies:
        print(f"  {latency.name:<36} {latency.p50:7.1f} ms per frame")
    return engines[int(np.argmin([latency.p50 for latency in latencies]))]


def main() -> None:
    """Run the demo."""
    print(f"evit-deploy {evit_deploy.__version__}: from a model name to a verified, profiled engine on a real photo")
    evit("export", MODEL, "--weights", "demo", "--resolution", RESOLUTION, "--opset", "17")
    engines = []
    for compiler, precision in buildable():
        code = evit("build", MODEL, "--target", "cpu", f"--{precision}", "--compiler", compiler, check=False)
        if code == 0:
            engines.append(WORKSPACE / "engines" / f"{MODEL}.cpu.{precision}.{compiler}")
        else:
            print("left out: it was not written, for the reason above")
    if not engines:
        sys.exit("no engine could be built")
    print("\nall of these agree with PyTorch; the fastest is kept:")
    engine = fastest(engines)
    print(f"  -> {engine.name}")

    photos = installed_photos()
    photo = str(photos[0]) if photos else "scene:1"
    evit("verify", str(engine))
    evit("run", str(engine), photo, "--out", str(PICTURES / "photo.png"))
    evit("run", str(engine), "scene:2000000", "--out", str(PICTURES / "scene.png"))
    evit("profile", str(engine))
    report = WORKSPACE / "profiles" / engine.name / "report.html"
    print(f"""
Done. Where the results lie:
  {PICTURES / "photo.png"}    a real photo with its classes laid over it
  {PICTURES / "scene.png"}    a drawn street scene, likewise
  {report}    agreement with PyTorch, latency beside it, pictures
  {engine}    the engine: copy this folder to a robot, then

    import evit_deploy
    segment = evit_deploy.load("{engine}")
    result = segment(frame)        # H x W x 3 uint8 RGB, any size
{"" if shutil.which("evit-deploy") else chr(10) + "The program is .venv/bin/evit-deploy."}""")


if __name__ == "__main__":
    main()
