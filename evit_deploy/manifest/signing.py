# SPDX-License-Identifier: Apache-2.0
"""Signatures: an engine that nobody trusted has signed is refused before any of it is used.

A plan is executable content, and so is a graph to whatever library reads it. The manifest lists the SHA-256 of every
file, so a signature of the manifest vouches for all of them. It stands in ``manifest.sig`` beside ``manifest.json``:

    {
      "version": 1,
      "algorithm": "ed25519",
      "key": "…",            SHA-256 of the 32 bytes of the public key, 64 hexadecimal digits
      "signature": "…"       64 bytes in base64, over the bytes of manifest.json exactly as they are
    }

written as Python's ``json.dumps(…, indent=2)`` and a line feed; any other spelling of the same values is refused, so
that no byte of a signed engine can change unnoticed. There is one signature per engine. An engine that is written anew
has none: it is another folder, put in the place of the old one.

Source: RFC 8032, section 5.1 (Ed25519, without pre-hash or context).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.manifest.bundle import is_bundle, read_bundle
from evit_deploy.manifest.keys import TrustedKey, key_id, read_trusted_keys, short
from evit_deploy.manifest.model import Bundle, Manifest
from evit_deploy.manifest.store import MANIFEST, read_artifact, replace_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE = "manifest.sig"
VERSION = 1
TRUSTED_KEYS = "EVIT_TRUSTED_KEYS"
"""Environment variable with the place of the trusted keys, where none is given."""

_ALGORITHM = "ed25519"
_LONGEST = 1 << 12


class SignatureError(ArtifactError):
    """An artifact that no trusted key has signed, or that was changed afterwards."""


def sign(folder: Path, key: Ed25519PrivateKey) -> str:
    """Sign an artifact, once it was found whole; an earlier signature is replaced.

    Args:
        folder: Folder of an engine; of a bundle, whose manifest vouches for its parts.
        key: What `evit_deploy.manifest.keys.read_private_key` read.

    Returns:
        The key's id.

    Raises:
        UsageError: Not an artifact, or the place cannot be written.
        ArtifactError: It is damaged.
    """
    seen: list[bytes] = []
    read = read_bundle if is_bundle(folder) else read_artifact
    read(folder, accept=seen.append)
    identity = key_id(key.public_key())
    replace_file(folder / SIGNATURE, _render(identity, key.sign(seen[0])))
    return identity


def read_trusted(folder: Path, trusted_keys: str | Path | None = None) -> Manifest:
    """Read an artifact and check its files, after its signature where keys are given.

    Args:
        folder: Folder of an engine.
        trusted_keys: A public key, or a folder of them; None takes what ``EVIT_TRUSTED_KEYS`` names. Where neither
            names any, signatures are not looked at.

    Raises:
        SignatureError: Not signed, by another key, or changed since; nothing of the engine was used.
        UsageError: Not an artifact, or keys that cannot be read.
        ArtifactError: Damaged, edited, or of a newer version.
        MissingExtraError: Keys are named, and the extra ``sign`` is not installed.
    """
    return read_artifact(folder, accept=_requirement(folder, trusted_keys))


def read_trusted_bundle(folder: Path, trusted_keys: str | Path | None = None) -> tuple[Bundle, dict[str, Manifest]]:
    """`read_trusted` for a bundle: one signature, of the bundle, for all of its parts."""
    return read_bundle(folder, accept=_requirement(folder, trusted_keys))


def _requirement(folder: Path, trusted_keys: str | Path | None) -> Callable[[bytes], None] | None:
    """What checks the manifest of a folder; None where no keys are named."""
    place = trusted_place(trusted_keys)
    if place is None:
        return None
    return partial(require_trusted, folder, keys=read_trusted_keys(place))


def trusted_place(given: str | Path | None = None) -> Path | None:
    """Where the trusted keys are: as given, else as ``EVIT_TRUSTED_KEYS`` says; None if neither says.

    Raises:
        UsageError: An empty name, which is a mistake rather than a wish to trust everything or whatever lies about
            here. Python's empty path and that of the current folder are one and the same.
    """
    named = os.environ.get(TRUSTED_KEYS) if given is None else given
    if named == "" or named == Path():
        raise UsageError(
            "the place of the trusted keys is empty",
            found=f"{TRUSTED_KEYS}=" if given is None else repr(given),
            expected="a public key, or a folder of them",
            fix=f"name it whole, or unset {TRUSTED_KEYS} to load engines of anybody",
        )
    return None if named is None else Path(named)


def require_trusted(folder: Path, content: bytes, keys: tuple[TrustedKey, ...]) -> None:
    """Check the signature beside a manifest.

    Args:
        folder: Folder of the artifact.
        content: Bytes of its manifest.
        keys: Keys whose signatures count.

    Raises:
        SignatureError: There is none, it is damaged, by another key, or of another manifest.
    """
    from cryptography.exceptions import InvalidSignature

    identity, signature = _read_signature(folder, keys)
    key = next((key for key in keys if key.id == identity), None)
    if key is None:
        raise SignatureError(
            f"{folder} is signed by a key that is not trusted",
            found=short(identity),
            expected=_named(keys),
            fix="copy that key's .pub file to the trusted ones, if you know whose it is",
        )
    try:
        key.key.verify(signature, content)
    except InvalidSignature:
        raise SignatureError(
            f"{folder / MANIFEST} is not what {key} signed",
            found="a manifest or a signature that was changed, or that belongs to another engine",
            expected="the manifest as it was when it was signed",
            fix="copy the engine again from where it was signed",
        ) from None


def _read_signature(folder: Path, keys: tuple[TrustedKey, ...]) -> tuple[str, bytes]:
    """Id of the key that signed, and the signature."""
    path = folder / SIGNATURE
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST)
    except FileNotFoundError:
        raise SignatureError(
            f"{folder} is not signed",
            found=f"no {SIGNATURE}",
            expected=f"a signature by {_named(keys)}",
            fix=f"evit-deploy sign {shlex.quote(str(folder))} --key FILE, where the private key is",
        ) from None
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    try:
        data = json.loads(content.decode("ascii"))
        _require_version(path, data)
        identity, signature = str(data["key"]), base64.b64decode(data["signature"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise _damaged(path, str(error)) from error
    if content != _render(identity, signature):
        raise _damaged(path, "values in another form than evit-deploy writes them")
    return identity, signature


def _require_version(path: Path, data: Any) -> None:
    version = data["version"]
    if isinstance(version, int) and version > VERSION:
        raise SignatureError(
            f"{path} was written by a newer evit-deploy",
            found=f"signature version {version}",
            expected=f"at most {VERSION}",
            fix="pip install --upgrade evit-deploy",
        )


def _render(identity: str, signature: bytes) -> bytes:
    text = base64.b64encode(signature).decode("ascii")
    data = {"version": VERSION, "algorithm": _ALGORITHM, "key": identity, "signature": text}
    return f"{json.dumps(data, indent=2)}\n".encode("ascii")


def _damaged(path: Path, found: str) -> SignatureError:
    return SignatureError(
        f"{path} is damaged", found=found, expected=f"a signature by {_ALGORITHM}", fix="copy the engine again"
    )


def _named(keys: tuple[TrustedKey, ...]) -> str:
    shown = [str(key) for key in keys[:5]]
    return " or ".join(shown) + (f" or {len(keys) - 5} more" if len(keys) > 5 else "")
