# SPDX-License-Identifier: Apache-2.0
"""The surfaces of NVIDIA's bindings, version by version, read from their own wheels.

A wheel of TensorRT's bindings holds one native module that needs nine C functions of TensorRT's libraries when it is
loaded. Libraries that hold these nine and do nothing are enough to look at its classes. CUDA's bindings load without.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

TENSORRT = {
    "10.0.1": "tensorrt-cu12-bindings==10.0.1",
    "10.3.0": "tensorrt-cu12-bindings==10.3.0",
    "10.16.1": "tensorrt-cu12-bindings==10.16.1.11",
    "11.4.0": "tensorrt-cu13-bindings==11.4.0.106",
}
"""The first of 10, that of JetPack 6.1 to 6.2, next to JetPack 7.2's 10.16.2, and the newest of 11.

Change versions here only.
"""

CUDA = {"12.9": "cuda-bindings==12.9.10", "13.5": "cuda-bindings==13.5.0"}

LIBRARIES = ("libnvinfer", "libnvonnxparser", "libnvinfer_plugin")
STUB = """
void *createInferBuilder_INTERNAL(void *logger, int version) { return 0; }
void *createInferRefitter_INTERNAL(void *engine, void *logger, int version) { return 0; }
void *createInferRuntime_INTERNAL(void *logger, int version) { return 0; }
void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int version) { return 0; }
void *createNvOnnxParser_INTERNAL(void *network, void *logger, int version) { return 0; }
void *getBuilderPluginRegistry(int capability) { return 0; }
void *getPluginRegistry(void) { return 0; }
int getNvOnnxParserVersion(void) { return 0; }
_Bool initLibNvInferPlugins(void *logger, const char *space) { return 1; }
"""


class UnavailableWheelError(Exception):
    """A wheel cannot be had here: no network, no wheel for this Python, no compiler."""


@dataclass(frozen=True)
class Surface:
    """What a module of one version has.

    Attributes:
        name: Library and version.
        members: Its members, as `dump_api` describes them.
    """

    name: str
    members: dict

    def find(self, owner, path):
        """A member of the module, or of one of its classes; None if there is none."""
        found = {"members": self.members}
        for name in (owner, *path) if owner else path:
            found = found.get("members", {}).get(name)
            if found is None:
                return None
        return found

    @cached_property
    def returns(self):
        """Class of what methods give, by class and method; classes themselves under an empty one."""
        classes = {name: member for name, member in self.members.items() if member["kind"] == "class"}
        found = {("", name): name for name in classes}
        for owner, description in classes.items():
            for name, member in description["members"].items():
                given = {form["returns"].replace("nvonnxparser::IParserError", "ParserError")
                         for form in member.get("overloads", ())}  # fmt: skip
                if len(given) == 1 and (only := given.pop()) in classes and only not in ("DataType", "Dims"):
                    found[owner, name] = only
        return found


def read_surface(requirement, module, folder):
    """Download the wheel of a requirement, and describe a module of it.

    Args:
        requirement: Name and version of the wheel.
        module: Module to describe.
        folder: Where wheels are kept.
    """
    unpacked = unpack(requirement, folder)
    text = run_in(unpacked, folder, [str(Path(__file__).with_name("dump_api.py")), module])
    return Surface(requirement, json.loads(text)["members"])


def run_in(unpacked, folder, arguments):
    """Run Python with an unpacked wheel and the stub libraries; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "LD_LIBRARY_PATH": str(stub_libraries(folder))}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise AssertionError(f"{arguments} with {unpacked.name}: {done.stderr[-2000:]}")
    return done.stdout


def unpack(requirement, folder):
    """Download a wheel, unless it is there, and unpack it."""
    target = folder / requirement.replace("==", "-")
    if not target.is_dir():
        wheels = target.with_suffix(".wheel")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--only-binary=:all:", "--dest", str(wheels), requirement]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = sorted(wheels.glob("*.whl")) if done.returncode == 0 else []
        if not found:
            raise UnavailableWheelError(f"{requirement} cannot be downloaded: {done.stderr.strip()[-200:]}")
        partial = target.with_suffix(f".{os.getpid()}")
        with zipfile.ZipFile(found[0]) as wheel:
            wheel.extractall(partial)
        _settle(partial, target)
    return target


def stub_libraries(folder):
    """Libraries of TensorRT's names that do nothing."""
    target = folder / "stub"
    if not target.is_dir():
        partial = folder / f"stub.{os.getpid()}"
        partial.mkdir()
        for name in (f"{library}.so.{major}" for library in LIBRARIES for major in (10, 11)):
            command = ["gcc", "-x", "c", "-", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(partial / name)]
            try:
                subprocess.run(command, input=STUB, text=True, check=True, capture_output=True)
            except FileNotFoundError as error:
                raise UnavailableWheelError("gcc is not installed") from error
        _settle(partial, target)
    return target


def _settle(partial, target):
    """Put a folder in its place, unless another session was quicker."""
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(partial)
