# SPDX-License-Identifier: Apache-2.0
"""Keys as files: what OpenSSL, OpenSSH and evit-deploy write is read, and everything else is refused in words."""

from __future__ import annotations

import builtins
import hashlib
import itertools
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.errors import MissingExtraError, UsageError
from evit_deploy.manifest.keys import PASSWORD, key_id, make_key, read_private_key, read_public_key, read_trusted_keys


@pytest.fixture(autouse=True)
def _no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD, raising=False)


def run(*command: object) -> None:
    """Run a tool that this machine may lack."""
    if not shutil.which(str(command[0])):
        pytest.skip(f"no {command[0]} here")
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


def ssh_key(path: Path, password: str = "", kind: str = "ed25519") -> Path:
    run("ssh-keygen", "-q", "-t", kind, "-N", password, "-C", "robot@factory", "-f", path)
    return path


def openssl_key(path: Path, password: str = "") -> Path:
    secret = ["-aes256", "-pass", f"pass:{password}"] if password else []
    run("openssl", "genpkey", "-algorithm", "ed25519", *secret, "-out", path)
    source = ["-passin", f"pass:{password}"] if password else []
    run("openssl", "pkey", "-in", path, *source, "-pubout", "-out", path.with_name(f"{path.name}.pub"))
    return path


MAKERS = {"evit-deploy": lambda path, word="": (make_key(path, word), path)[1], "openssl": openssl_key, "ssh": ssh_key}


@pytest.mark.parametrize("maker", MAKERS)
def test_a_pair_fits_together(maker: str, tmp_path: Path) -> None:
    path = MAKERS[maker](tmp_path / "release.key")
    trusted = read_public_key(tmp_path / "release.key.pub")
    public = read_private_key(path).public_key()
    assert trusted.id == key_id(public) == hashlib.sha256(public.public_bytes_raw()).hexdigest()
    assert trusted.name == "release.key.pub"
    trusted.key.verify(read_private_key(path).sign(b"text"), b"text")


@pytest.mark.parametrize("maker", MAKERS)
def test_a_password_from_the_environment_or_asked_for(
    maker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = MAKERS[maker](tmp_path / "release.key", "grü123")
    with pytest.raises(UsageError, match="has a password") as caught:
        read_private_key(path)
    assert PASSWORD in str(caught.value.fix)
    asked = read_private_key(path, lambda: "grü123")
    with pytest.raises(UsageError, match="with this password"):
        read_private_key(path, lambda: "wrong")
    monkeypatch.setenv(PASSWORD, "grü123")
    assert key_id(read_private_key(path, pytest.fail).public_key()) == key_id(asked.public_key())
    monkeypatch.setenv(PASSWORD, "wrong")
    with pytest.raises(UsageError, match="with this password"):
        read_private_key(path, lambda: "grü123")


def test_a_password_that_no_key_needs_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_key(tmp_path / "release.key")
    monkeypatch.setenv(PASSWORD, "anything")
    assert read_private_key(tmp_path / "release.key")


def test_a_new_private_key_is_its_owners_alone(tmp_path: Path) -> None:
    trusted = make_key(tmp_path / "keys" / "release.key")
    assert stat.S_IMODE((tmp_path / "keys" / "release.key").stat().st_mode) == 0o600
    assert read_public_key(tmp_path / "keys" / "release.key.pub") == trusted


@pytest.mark.parametrize("name", ["release.key", "release.key.pub"])
def test_a_key_is_never_overwritten(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("precious", encoding="utf-8")
    with pytest.raises(UsageError, match="exists"):
        make_key(tmp_path / "release.key")
    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [(name, "precious")]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write"):
        make_key(tmp_path / "file" / "release.key")


@pytest.mark.parametrize("kind", ["RSA", "EC"])
@pytest.mark.parametrize("form", ["PEM", "OpenSSH"])
def test_keys_of_other_kinds(kind: str, form: str, tmp_path: Path) -> None:
    key: Any = rsa.generate_private_key(65537, 2048) if kind == "RSA" else ec.generate_private_key(ec.SECP256R1())
    pem = form == "PEM"
    ours = PrivateFormat.PKCS8 if pem else PrivateFormat.OpenSSH
    theirs = PublicFormat.SubjectPublicKeyInfo if pem else PublicFormat.OpenSSH
    (tmp_path / "key").write_bytes(key.private_bytes(Encoding.PEM, ours, NoEncryption()))
    (tmp_path / "key.pub").write_bytes(key.public_key().public_bytes(Encoding.PEM if pem else Encoding.OpenSSH, theirs))
    line = {"RSA": "ssh-rsa", "EC": "ecdsa-sha2-nistp256"}[kind]
    for read, name, found, expected in (
        (read_private_key, "key", kind, "private"),
        (read_public_key, "key.pub", kind if pem else line, "public"),
    ):
        with pytest.raises(UsageError, match="another kind") as caught:
            read(tmp_path / name)
        assert (caught.value.found, caught.value.expected) == (found, f"a {expected} Ed25519 key")


NO_KEYS = {
    "empty": b"",
    "text": b"hello",
    "binary": bytes(range(256)),
    "long": b"a" * 1_000_000,
    "cut PEM": b"-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n",
    "no end": b"-----BEGIN PUBLIC KEY-----\nMCow",
    "ssh": b"ssh-ed25519 AAAA robot",
    "ssh without a key": b"ssh-ed25519 ",
    "spaces": b" \n\t\n",
    "certificate": b"-----BEGIN CERTIFICATE-----\nMCow\n-----END CERTIFICATE-----\n",
}


@pytest.mark.parametrize("name", NO_KEYS)
def test_what_is_no_key(name: str, tmp_path: Path) -> None:
    path = tmp_path / "some.pub"
    path.write_bytes(NO_KEYS[name])
    for read in (read_public_key, read_private_key):
        with pytest.raises(UsageError, match="cannot be read") as caught:
            read(path)
        assert "--new-key" in str(caught.value.fix)
        assert len(str(caught.value)) < 600


HEADS = [b"", b"ssh-ed25519 ", b"-----BEGIN OPENSSH PRIVATE KEY-----\n", b"-----BEGIN PRIVATE KEY-----\n"]


@given(content=st.binary(max_size=200), head=st.sampled_from(HEADS))
def test_any_bytes_are_refused_in_words(tmp_path_factory: pytest.TempPathFactory, content: bytes, head: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.pub"
    path.write_bytes(head + content)
    for read in (read_public_key, read_private_key):
        with pytest.raises(UsageError):
            read(path)


@pytest.mark.parametrize("place", ["missing", "."])
def test_no_file(place: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read") as caught:
        read_private_key(tmp_path / place)
    assert caught.value.found


def test_a_public_key_does_not_sign(tmp_path: Path) -> None:
    make_key(tmp_path / "release.key")
    with pytest.raises(UsageError, match="cannot be read") as caught:
        read_private_key(tmp_path / "release.key.pub")
    assert caught.value.found == "a public key"


@pytest.mark.parametrize("maker", MAKERS)
def test_a_private_key_among_the_trusted_is_refused(maker: str, tmp_path: Path) -> None:
    MAKERS[maker](tmp_path / "release.pem")
    with pytest.raises(UsageError, match="holds a private key") as caught:
        read_trusted_keys(tmp_path)
    assert "release.pem.pub" in str(caught.value.fix)


def test_all_keys_of_a_folder_or_one_file(tmp_path: Path) -> None:
    keys = [make_key(tmp_path / "made" / name) for name in ("a", "b")]
    folder = tmp_path / "trusted"
    folder.mkdir()
    shutil.copyfile(tmp_path / "made" / "a.pub", folder / "one.pem")
    shutil.copyfile(tmp_path / "made" / "b.pub", folder / "two.pub")
    (folder / "README.md").write_text("Whose keys these are", encoding="utf-8")
    assert [(key.id, key.name) for key in read_trusted_keys(folder)] == [
        (keys[0].id, "one.pem"), (keys[1].id, "two.pub")
    ]  # fmt: skip
    assert [key.id for key in read_trusted_keys(folder / "two.pub")] == [keys[1].id]


def test_a_folder_without_keys_trusts_nobody(tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    with pytest.raises(UsageError, match="no trusted keys") as caught:
        read_trusted_keys(tmp_path)
    assert ".pub or .pem" in str(caught.value.expected)


def test_one_bad_file_among_the_trusted_is_named(tmp_path: Path) -> None:
    make_key(tmp_path / "made" / "a")
    (tmp_path / "z.pub").touch()
    shutil.copyfile(tmp_path / "made" / "a.pub", tmp_path / "a.pub")
    with pytest.raises(UsageError, match=r"z\.pub cannot be read"):
        read_trusted_keys(tmp_path)


@pytest.mark.parametrize("between", [b"", b" ", b"\n\t ", b"# the other one\n"])
@pytest.mark.parametrize(("first", "second"), itertools.product(MAKERS, MAKERS))
def test_several_keys_in_one_file_are_refused(first: str, second: str, between: bytes, tmp_path: Path) -> None:
    MAKERS[first](tmp_path / "a")
    MAKERS[second](tmp_path / "b")
    both = tmp_path / "both.pub"
    both.write_bytes((tmp_path / "a.pub").read_bytes() + between + (tmp_path / "b.pub").read_bytes())
    with pytest.raises(UsageError, match="several keys"):
        read_public_key(both)


def test_an_openssh_key_is_one_line(tmp_path: Path) -> None:
    line = ssh_key(tmp_path / "key").with_name("key.pub").read_bytes()
    path = tmp_path / "other.pub"
    path.write_bytes(b"\n \t" + line + b"\n\n")
    assert read_public_key(path).id == read_public_key(tmp_path / "key.pub").id
    for content, found in (
        (line + b"more words", "2 lines of text"),
        (b"# whose it is\n" + line, "2 lines of text"),
        (line + b'from="here" ' + line, "2 lines of text"),
        (b"sk-" + line, "sk-ssh-ed25519"),
    ):
        path.write_bytes(content)
        with pytest.raises(UsageError) as caught:
            read_public_key(path)
        assert caught.value.found == found


def test_an_openssh_certificate_is_not_the_key_in_it(tmp_path: Path) -> None:
    ssh_key(tmp_path / "authority")
    ssh_key(tmp_path / "key")
    expired = ("-V", "20200101:20200102")
    run("ssh-keygen", "-q", "-s", tmp_path / "authority", "-I", "robot", *expired, tmp_path / "key.pub")
    with pytest.raises(UsageError, match="another kind") as caught:
        read_public_key(tmp_path / "key-cert.pub")
    assert caught.value.found == "ssh-ed25519-cert-v01@openssh.com"


@pytest.mark.parametrize("name", ["is_dir", "iterdir"])
def test_trusted_keys_that_this_user_may_not_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(UsageError, match="cannot be read") as caught:
        read_trusted_keys(tmp_path)
    assert caught.value.found == "Permission denied"


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_new_key_needs_a_name(name: str) -> None:
    with pytest.raises(UsageError, match="needs the name of a file") as caught:
        make_key(Path(name))
    assert caught.value.expected == "--new-key FILE"


def test_an_old_cryptography_is_enough_for_an_id(tmp_path: Path) -> None:
    """Ubuntu 22.04, and so JetPack 6, has 3.4.8, whose keys lack `public_bytes_raw`."""
    key = make_key(tmp_path / "release.key")
    old: Any = SimpleNamespace(public_bytes=key.key.public_bytes)
    assert key_id(old) == key.id


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted = make_key(tmp_path / "release.key")
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("cryptography"):
            raise ModuleNotFoundError(name=name)
        return real(name, *rest)

    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    for read, name in ((read_private_key, "release.key"), (read_trusted_keys, trusted.name)):
        with pytest.raises(MissingExtraError, match=r"evit-deploy\[sign\]"):
            read(tmp_path / name)
