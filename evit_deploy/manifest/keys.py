# SPDX-License-Identifier: Apache-2.0
"""Ed25519 keys as files: those that sign engines, and those that a robot trusts.

Private keys are PKCS #8 in PEM, or OpenSSH's own form (``ssh-keygen -t ed25519``); public keys are
SubjectPublicKeyInfo in PEM, or the one line of an OpenSSH ``.pub`` file. One key per file. Reading needs the package
``cryptography``, and ``bcrypt`` for OpenSSH keys with a password; both belong to the extra ``sign``. Ubuntu 22.04's own
3.4.8, which JetPack 6 has, does as well.

Sources: RFC 8032 (Ed25519), RFC 8410 (its PKCS #8 and SubjectPublicKeyInfo), OpenSSH's PROTOCOL.key.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evit_deploy.errors import UsageError, extra

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PASSWORD = "EVIT_KEY_PASSWORD"
"""Environment variable with the password of a private key."""

SUFFIXES = (".pub", ".pem")
"""Names of public keys in a folder of trusted ones."""

_LONGEST = 1 << 16
_OPENSSH = (b"ssh-", b"ecdsa-", b"sk-")  # how its lines begin
_NEW = "evit-deploy sign --new-key FILE makes a pair"


@dataclass(frozen=True)
class TrustedKey:
    """A public key whose signatures count.

    Attributes:
        id: SHA-256 of the 32 bytes of the public key, in hexadecimal digits.
        name: Name of its file.
        key: The key itself.
    """

    id: str
    name: str
    key: Ed25519PublicKey

    def __str__(self) -> str:
        return f"{short(self.id)} ({self.name})"


def short(identity: str) -> str:
    """The beginning of a key's id, for people."""
    return f"{identity[:16]}…"


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256 of the 32 bytes of a public key, as 64 hexadecimal digits."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)  # public_bytes_raw() is new in cryptography 40
    return hashlib.sha256(raw).hexdigest()


def read_private_key(path: Path, ask: Callable[[], str | None] = lambda: None) -> Ed25519PrivateKey:
    """Read the key that signs.

    Args:
        path: PEM or OpenSSH file.
        ask: Asks for the password of a key that has one, where ``EVIT_KEY_PASSWORD`` does not say it; None if there is
            nobody to ask.

    Raises:
        UsageError: No such file, not a private Ed25519 key, or a wrong password.
        MissingExtraError: The extra ``sign`` is not installed.
    """
    with extra("sign", "Signing"):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    content = _read(path)
    try:
        key = _load_private(path, content, None)
    except TypeError:  # it has a password
        password = os.environ.get(PASSWORD) or ask()
        if not password:
            raise UsageError(f"the key {path} has a password", fix=f"say it in {PASSWORD}") from None
        key = _load_private(path, content, password.encode())
    if not isinstance(key, Ed25519PrivateKey):
        raise _wrong_kind(path, key, "a private Ed25519 key")
    return key


def _load_private(path: Path, content: bytes, password: bytes | None) -> Any:
    """A private key of any kind; a TypeError says that a password is missing."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    load = load_ssh_private_key if b"BEGIN OPENSSH PRIVATE KEY" in content else load_pem_private_key
    try:
        return load(content, password)
    except UnsupportedAlgorithm as error:
        raise UsageError(f"the key {path} cannot be read", found=str(error), fix=_NEW) from error
    except ValueError as error:
        if password is None and "password-protected" in str(error):  # cryptography 42 says it so of OpenSSH keys
            raise TypeError(str(error)) from error
        found = "a public key" if _is_public(content) else str(error).split("\n", 1)[0]
        what = f"the key {path} cannot be read" + (" with this password" if password else "")
        raise UsageError(what, found=found, expected="a private Ed25519 key (PEM or OpenSSH)", fix=_NEW) from error


def read_public_key(path: Path) -> TrustedKey:
    """Read a key that signatures are checked with.

    Raises:
        UsageError: No such file, or not a public Ed25519 key.
        MissingExtraError: The extra ``sign`` is not installed.
    """
    with extra("sign", "Checking a signature"):
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    content = _read(path)
    if b"PRIVATE KEY" in content:
        raise UsageError(
            f"{path} holds a private key, which does not belong among trusted keys",
            expected="a public key: whoever has the private one can sign anything",
            fix=f"copy only {path.name}.pub here, and keep {path.name} where engines are signed",
        )
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    if content.count(b"-----BEGIN") + sum(line.startswith(_OPENSSH) for line in lines) > 1:
        raise UsageError(f"{path} holds several keys", expected="one key", fix="give each a file, all in one folder")
    try:
        key = _load_public(path, content, lines)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(
            f"the key {path} cannot be read",
            found=str(error).split("\n", 1)[0],
            expected="a public Ed25519 key (PEM or OpenSSH)",
            fix=_NEW,
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _wrong_kind(path, key, "a public Ed25519 key")
    return TrustedKey(key_id(key), path.name, key)


def _load_public(path: Path, content: bytes, lines: list[bytes]) -> Any:
    """A public key: in PEM of any kind, as OpenSSH's line an Ed25519 key and nothing that is built around one."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_public_key

    if lines and lines[0].startswith(b"-----"):
        return load_pem_public_key(content)
    if len(lines) != 1:
        raise ValueError(f"{len(lines)} lines of text")
    kind = lines[0].split()[0].decode("ascii", "replace")
    if lines[0].startswith(_OPENSSH) and kind != "ssh-ed25519":  # a certificate, too: who heeds its term and its users?
        raise UsageError(f"{path} is a key of another kind", found=kind, expected="a public Ed25519 key", fix=_NEW)
    return load_ssh_public_key(lines[0])


def read_trusted_keys(place: Path) -> tuple[TrustedKey, ...]:
    """Read one public key, or all ``.pub`` and ``.pem`` files of a folder.

    Every one of them must be a key: a file that is not could be the one that somebody relies on.

    Raises:
        UsageError: Nothing there, or something that is not a public Ed25519 key.
        MissingExtraError: The extra ``sign`` is not installed.
    """
    try:
        if not place.is_dir():
            return (read_public_key(place),)
        paths = sorted(path for path in place.iterdir() if path.suffix in SUFFIXES)
    except OSError as error:
        raise UsageError(
            f"the trusted keys in {place} cannot be read",
            found=error.strerror,
            expected="a public key, or a folder of them, that this user may read",
        ) from error
    if not paths:
        raise UsageError(
            f"there are no trusted keys in {place}",
            expected=f"public keys, as files that end in {' or '.join(SUFFIXES)}",
            fix="copy the .pub file of the key that signs there",
        )
    return tuple(read_public_key(path) for path in paths)


def make_key(path: Path, password: str | None = None) -> TrustedKey:
    """Make a pair: `path` for who signs, readable by its owner alone, and ``PATH.pub`` for who trusts.

    Raises:
        UsageError: No name of a file, one of the files exists, or the place cannot be written.
        MissingExtraError: The extra ``sign`` is not installed.
    """
    with extra("sign", "Making a key"):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import (
            BestAvailableEncryption,
            Encoding,
            NoEncryption,
            PrivateFormat,
            PublicFormat,
        )
    if not path.name:
        raise UsageError("a new key needs the name of a file", found=repr(str(path)), expected="--new-key FILE")
    key, public = Ed25519PrivateKey.generate(), path.with_name(f"{path.name}.pub")
    protection = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    for place in (path, public):
        if os.path.lexists(place):
            raise UsageError(f"{place} exists", expected="a new name: a lost key cannot be made again")
    _create(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection), 0o600)
    _create(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    return TrustedKey(key_id(key.public_key()), public.name, key.public_key())


def _create(path: Path, content: bytes, mode: int) -> None:
    """Write a file that does not exist yet, never readable by more than `mode` says."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    except OSError as error:
        raise UsageError(f"cannot write {path}", found=error.strerror, fix="choose another place") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST)
    except OSError as error:
        raise UsageError(f"the key {path} cannot be read", found=error.strerror, expected="a file", fix=_NEW) from error
    return content


def _is_public(content: bytes) -> bool:
    return b"PUBLIC KEY" in content or content.startswith(_OPENSSH)


def _wrong_kind(path: Path, key: Any, expected: str) -> UsageError:
    kind = type(key).__name__.lstrip("_").removesuffix("PrivateKey").removesuffix("PublicKey")
    return UsageError(f"{path} is a key of another kind", found=kind, expected=expected, fix=_NEW)
