# SPDX-License-Identifier: Apache-2.0
"""A wheel of this very package, made from the files it runs from: what a device gets is what the host has.

Works for an installed package and for an editable one, without build tools and without a network.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import evit_deploy
from evit_deploy.errors import UnavailableError

EXTRA = "device"
"""Extra of this package that holds what a device needs."""

_NAME = "evit-deploy"
_ORIGIN = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip archive can say
_WHEEL = "Wheel-Version: 1.0\nGenerator: evit-deploy\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_LEFT_OUT = {"__pycache__", ".mypy_cache", ".ruff_cache"}


@dataclass(frozen=True)
class Wheel:
    """A wheel.

    Attributes:
        name: File name; pip reads name and version from it.
        data: The archive, the same bytes for the same files.
        sha256: Its hash.
    """

    name: str
    data: bytes
    sha256: str


def make_wheel() -> Wheel:
    """Pack this package and its metadata.

    Raises:
        UnavailableError: It runs from files that were never installed.
    """
    version, root = evit_deploy.__version__, Path(evit_deploy.__file__).parent
    folder = f"evit_deploy-{version}.dist-info"
    files = {
        f"evit_deploy/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not _LEFT_OUT & set(path.relative_to(root).parts)
    }
    files |= {f"{folder}/{name}": text.encode() for name, text in _metadata(version).items()}
    rows = [f"{name},sha256={_record_hash(data)},{len(data)}" for name, data in files.items()]
    files[f"{folder}/RECORD"] = "\n".join([*rows, f"{folder}/RECORD,,", ""]).encode()
    data = _archive(files)
    return Wheel(f"evit_deploy-{version}-py3-none-any.whl", data, hashlib.sha256(data).hexdigest())


def _metadata(version: str) -> dict[str, str]:
    """Metadata files of the installed distribution, as its own wheel had them."""
    found = list(metadata.distributions(name=_NAME))  # a checkout has its own beside those of the environment
    for distribution in found:
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        entry_points = distribution.read_text("entry_points.txt")
        if distribution.version == version and f"Provides-Extra: {EXTRA}\n" in text and entry_points:
            return {"WHEEL": _WHEEL, "METADATA": text, "entry_points.txt": entry_points}
    raise UnavailableError(
        "no wheel can be made of this evit-deploy",
        found=f"metadata of {', '.join(one.version for one in found)}" if found else "no metadata",
        expected=f"an installed evit-deploy {version} with the extra [{EXTRA}]",
        fix="install it here again (in a checkout: pip install -e .)",
    )


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, _ORIGIN)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, data)
    return buffer.getvalue()
