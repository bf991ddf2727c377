# SPDX-License-Identifier: Apache-2.0
"""What a device says about itself before anything is sent to it, and whether that is enough."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import evit_deploy
from evit_deploy.engines.remote.ssh import Cancelled, Link, explain
from evit_deploy.engines.workspace import OWN_RESERVE, SHARED_RESERVE, SMALLEST
from evit_deploy.errors import UnavailableError
from evit_deploy.targets import TargetSpec

NEEDED_PYTHON = (3, 10)
NEEDED_DISK = 500_000_000
"""Bytes: four times the largest package of the zoo, its engine, and a timing cache."""
VENV = ".local/share/evit-deploy/venv"
"""Where ``--install`` puts evit-deploy, below the home folder."""

_NOT_FOUND, _SSH_FAILED = 127, 255
# Looked up in the place of --install first: what is installed there is meant for this. A shell that is not for people
# reads no profile, so ~/.local/bin is often not on its PATH. No quotes, exclamation marks or newlines: csh and fish
# must be able to pass it on.
_FIND = (
    f'for p in "$HOME/{VENV}/bin/evit-deploy" evit-deploy "$HOME/.local/bin/evit-deploy"; do '
    'if command -v "$p" >/dev/null 2>&1; then exec "$p" "$@"; fi; done; '
    'echo "evit-deploy: not found; $(python3 --version 2>&1)" >&2; exit 127'
)


def far_command(*arguments: str) -> str:
    """The shell command that runs evit-deploy on a device, wherever it is installed there."""
    return f"exec sh -c {shlex.quote(_FIND)} sh {shlex.join(arguments)}"


@dataclass(frozen=True)
class DeviceReport:
    """What ``evit-deploy doctor --json`` said on a device.

    Attributes:
        host: The device, as the user named it.
        version: Its evit-deploy; None if there is none, or none that works.
        python: Its Python.
        data: The whole report.
        problem: Why there is no report, in words.
    """

    host: str
    version: str | None
    python: str | None
    data: Mapping[str, Any]
    problem: str = ""


def examine(host: str, cancelled: Cancelled | None = None) -> DeviceReport:
    """Ask a device what it is.

    Raises:
        UnavailableError: It cannot be reached; the message says why.
    """
    with Link(host, far_command("doctor", "--json")) as link:
        link.end_input()
        text, code, stderr = link.output(cancelled), link.returncode(), link.stderr()
    if code == _SSH_FAILED and not text:
        raise explain(host, code, stderr)
    if code == _NOT_FOUND:
        python = re.search(r"not found; Python (\S+)", stderr)
        return DeviceReport(host, None, python[1] if python else None, {}, "evit-deploy is not installed there")
    data = _report(text)
    if code or data is None:
        last = (stderr.strip().splitlines() or ["no report"])[-1].strip()
        return DeviceReport(host, None, None, {}, f"evit-deploy doctor ended with exit code {code}: {last}")
    machine = data["machine"]
    return DeviceReport(host, machine.get("evit-deploy"), machine.get("python"), data)


def _report(text: str) -> dict[str, Any] | None:
    """The report in what a login printed: it may begin with a greeting."""
    start = re.search(r"^\{", text, flags=re.MULTILINE)
    try:
        data = json.loads(text[start.start() :]) if start else None
    except ValueError:
        return None
    good = isinstance(data, dict) and isinstance(data.get("machine"), dict) and isinstance(data.get("checks"), list)
    return data if good else None


def require_installed(report: DeviceReport) -> None:
    """Refuse a device without this version of evit-deploy.

    Raises:
        UnavailableError: It has none, another one, or none that works.
    """
    require_python(report)
    if report.version is None:
        raise UnavailableError(
            f"{report.host}: {report.problem}", expected=f"evit-deploy {evit_deploy.__version__}", fix=_INSTALL
        )
    if report.version != evit_deploy.__version__:
        raise UnavailableError(
            f"{report.host}: it has another evit-deploy than this machine",
            found=report.version, expected=evit_deploy.__version__, fix=_INSTALL,
        )  # fmt: skip


_INSTALL = "--install puts this machine's version into a virtual environment of its own there"


def require_python(report: DeviceReport) -> None:
    """Refuse a Python that evit-deploy does not run on.

    Raises:
        UnavailableError: It is too old.
    """
    found = re.match(r"(\d+)\.(\d+)", report.python or "")
    if found and tuple(map(int, found.groups())) < NEEDED_PYTHON:
        raise UnavailableError(
            f"{report.host}: its Python is too old",
            found=f"Python {report.python}",
            expected="Python 3.10 or newer",
            fix="upgrade a Jetson to JetPack 6.1 or newer (JetPack 5 has Python 3.8), or install a newer python3",
        )


def require_able(report: DeviceReport, spec: TargetSpec, precision: str, compiler: str | None = None) -> None:
    """Refuse a device that cannot build for a target, as far as its report tells.

    Raises:
        UnavailableError: No compiler, or too little disk or memory.
    """
    names = (compiler,) if compiler else spec.compilers
    wanted = [
        row
        for row in report.data.get("abilities", ())
        if (row["target"], row["precision"]) == (spec.name, precision) and row["compiler"] in names
    ]
    if wanted and all(row["obstacle"] for row in wanted):
        titles = {f"{row['compiler']} {precision}" for row in wanted}
        fixes = [check.get("fix") for check in report.data["checks"] if check.get("name") in titles]
        raise UnavailableError(
            f"{report.host}: no compiler there builds {precision} for {spec.name}",
            found="; ".join(f"{row['compiler']}: {row['obstacle']}" for row in wanted),
            fix=next((f"there: {fix}" for fix in fixes if fix), None),
        )
    _require_amount(report, "free_disk", NEEDED_DISK, "disk", "free some space there")
    _require_amount(
        report, "free_memory", needed_memory(report), "memory", "end other programs there, above all the desktop"
    )


def needed_memory(report: DeviceReport) -> int:
    """Free bytes without which TensorRT would not begin there; see `evit_deploy.engines.workspace`."""
    device = report.data.get("device")
    shared = isinstance(device, dict) and device.get("integrated")
    return (SHARED_RESERVE if shared else OWN_RESERVE) + 2 * SMALLEST


def _require_amount(report: DeviceReport, key: str, needed: int, what: str, fix: str) -> None:
    free = report.data.get(key)
    if isinstance(free, (int, float)) and free < needed:
        raise UnavailableError(
            f"{report.host}: too little free {what} to build there",
            found=f"{free / 1e6:.0f} MB", expected=f"at least {needed / 1e6:.0f} MB", fix=fix,
        )  # fmt: skip
