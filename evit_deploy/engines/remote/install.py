# SPDX-License-Identifier: Apache-2.0
"""``--install``: this machine's evit-deploy on a device, in a virtual environment of its own and nothing else.

The environment sees the system's packages: on a Jetson, TensorRT's Python module comes from there and never from pip.
"""

from __future__ import annotations

import shlex

from evit_deploy.engines.remote.device import NEEDED_PYTHON, VENV
from evit_deploy.engines.remote.protocol import CHUNK, ClosedError
from evit_deploy.engines.remote.ssh import Cancelled, Link, explain
from evit_deploy.engines.remote.wheel import EXTRA, Wheel, make_wheel
from evit_deploy.errors import EvitError, UnavailableError
from evit_deploy.progress import Progress

_SAME, _OLD_PYTHON, _NO_PYTHON, _NO_VENV, _NO_PIP, _DAMAGED = 10, 11, 12, 13, 14, 15
_SSH_FAILED = 255

# $1: the wheel's name, $2: its SHA-256, $3: its size. What pip has downloaded and checked it installs in one go, so a
# failed upgrade leaves the earlier version; a failed first installation is removed.
_SCRIPT = f"""
venv="$HOME/{VENV}"
command -v python3 >/dev/null 2>&1 || exit {_NO_PYTHON}
new="import sys; sys.exit(sys.version_info < {NEEDED_PYTHON})"
python3 -c "$new" || {{ python3 --version >&2; exit {_OLD_PYTHON}; }}
if [ -x "$venv/bin/evit-deploy" ] && [ "$(cat "$venv/wheel.sha256" 2>/dev/null)" = "$2" ]; then exit {_SAME}; fi
tmp=$(mktemp -d) || exit 1
trap "rm -rf \\"$tmp\\"" EXIT
echo send
head -c "$3" >"$tmp/$1"
echo "$2  $tmp/$1" | sha256sum -c >/dev/null 2>&1 || exit {_DAMAGED}
first=; [ -x "$venv/bin/evit-deploy" ] || first=yes
fail() {{ [ -z "$first" ] || rm -rf "$venv"; exit "$1"; }}
if [ -n "$first" ]; then
  rm -rf "$venv"
  python3 -m venv --system-site-packages "$venv" >&2 || fail {_NO_VENV}
fi
rm -f "$venv/wheel.sha256"
pip="$venv/bin/python -m pip --disable-pip-version-check install --no-input --quiet"
$pip "$tmp/$1[{EXTRA}]" >&2 || fail {_NO_PIP}
$pip --force-reinstall --no-deps "$tmp/$1" >&2 || fail {_NO_PIP}
echo "$2" >"$venv/wheel.sha256"
"""


def install_there(host: str, progress: Progress, cancelled: Cancelled | None = None) -> bool:
    """Install this evit-deploy on a device; return False if exactly this one is there already.

    Raises:
        UnavailableError: The device's Python is too old or has no venv, or pip cannot install; the message says why.
    """
    wheel = make_wheel()
    # The script travels in front of the wheel: not every login shell takes one of several lines as an argument.
    loader = shlex.quote('size=$1; shift; eval "$(head -c "$size")"')
    command = f"exec sh -c {loader} sh {len(_SCRIPT)} {wheel.name} {wheel.sha256} {len(wheel.data)}"
    with progress("install evit-deploy there"), Link(host, command) as link:
        _send(link, wheel, cancelled)
        link.output(cancelled)
        code = link.returncode()
        if code not in (0, _SAME):
            raise _failure(host, code, link.stderr())
    return code == 0


def _send(link: Link, wheel: Wheel, cancelled: Cancelled | None) -> None:
    """Send the wheel if the script asks for it; it may have ended before."""
    try:
        link.channel.write(_SCRIPT.encode())
        while b"send\n" not in link.channel.gathered():
            if cancelled and cancelled.is_set():
                raise KeyboardInterrupt
            link.channel.gather(0.1)
        for start in range(0, len(wheel.data), CHUNK):
            link.channel.write(wheel.data[start : start + CHUNK])
        link.end_input()
    except ClosedError:
        return


def _failure(host: str, code: int, stderr: str) -> EvitError:
    """Why an installation failed, in words."""
    if code == _SSH_FAILED:
        return explain(host, code, stderr)
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    found = (errors or lines or [f"exit code {code}"])[-1]
    what, expected, fix = _WORDS.get(code, ("evit-deploy cannot be installed there", None, None))
    return UnavailableError(f"{host}: {what}", found=found, expected=expected, fix=fix)


_WORDS: dict[int, tuple[str, str | None, str | None]] = {
    _OLD_PYTHON: (
        "its Python is too old",
        "Python 3.10 or newer",
        "upgrade a Jetson to JetPack 6.1 or newer (JetPack 5 has Python 3.8), or install a newer python3",
    ),
    _NO_PYTHON: ("it has no python3", "Python 3.10 or newer", "apt install python3 python3-venv there"),
    _NO_VENV: ("no virtual environment can be made there", None, "apt install python3-venv there, or free some disk"),
    _NO_PIP: (
        "pip cannot install evit-deploy there",
        None,
        "is the device online? If it must not be, set up its pip.conf for a local index (docs/remote.md)",
    ),
    _DAMAGED: ("the package did not arrive whole", None, "run the same command again"),
}
