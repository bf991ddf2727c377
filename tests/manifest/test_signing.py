# SPDX-License-Identifier: Apache-2.0
"""Signatures: what was signed is read, and everything that was touched since is refused before it is used."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.errors import ArtifactError, EvitError, UsageError
from evit_deploy.manifest import read_artifact, read_bundle, read_existing, read_file, store
from evit_deploy.manifest.keys import make_key, read_private_key
from evit_deploy.manifest.signing import (
    SIGNATURE,
    TRUSTED_KEYS,
    SignatureError,
    read_trusted,
    read_trusted_bundle,
    sign,
)
from tests.manifest.sample import CONTENT, SHA, write_sample, write_sample_bundle

OTHER = "f" * 64


@dataclass(frozen=True)
class Signer:
    """A key, and the folder that a robot has its public half in."""

    private: Any
    public: Path
    id: str


@pytest.fixture(scope="session")
def signers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Signer, Signer]:
    """Two people who sign."""
    made = []
    for name in ("release", "stranger"):
        folder, trusted = tmp_path_factory.mktemp(name), tmp_path_factory.mktemp(f"{name}-trusted")
        key = make_key(folder / name)
        shutil.copy(folder / f"{name}.pub", trusted)
        made.append(Signer(read_private_key(folder / name), trusted, key.id))
    return made[0], made[1]


@pytest.fixture
def signer(signers: tuple[Signer, Signer]) -> Signer:
    return signers[0]


@pytest.fixture
def engine(tmp_path: Path, signer: Signer) -> Path:
    """A signed engine."""
    return signed(tmp_path / "engines" / "b0-seg.cpu.fp32", signer)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRUSTED_KEYS, raising=False)


def signed(folder: Path, signer: Signer, key: str = SHA, content: dict[str, bytes] | None = None) -> Path:
    write_sample(folder, "engine", key, content)
    assert sign(folder, signer.private) == signer.id
    return folder


def flip(path: Path, index: int, mask: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[index % len(data)] ^= mask
    path.write_bytes(data)


# What is signed


def test_a_signed_engine_is_read(engine: Path, signer: Signer) -> None:
    assert read_trusted(engine, signer.public) == read_trusted(engine, str(signer.public)) == read_artifact(engine)
    assert read_trusted(engine, signer.public / "release.pub").key == SHA


def test_the_form_of_a_signature(engine: Path, signer: Signer) -> None:
    data = json.loads((engine / SIGNATURE).read_text(encoding="ascii"))
    assert list(data) == ["version", "algorithm", "key", "signature"]
    assert (data["version"], data["algorithm"], data["key"]) == (1, "ed25519", signer.id)
    signature = base64.b64decode(data["signature"], validate=True)
    signer.private.public_key().verify(signature, (engine / "manifest.json").read_bytes())


def test_openssl_agrees(engine: Path, signer: Signer, tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("no openssl here")
    data = json.loads((engine / SIGNATURE).read_text(encoding="ascii"))
    (tmp_path / "sig").write_bytes(base64.b64decode(data["signature"]))
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", signer.public / "release.pub"]
    done = subprocess.run(
        [*command, "-in", engine / "manifest.json", "-sigfile", tmp_path / "sig"], capture_output=True, check=False
    )
    assert b"Signature Verified Successfully" in done.stdout + done.stderr


def test_a_signature_is_no_part_of_the_artifact(engine: Path, signer: Signer, tmp_path: Path) -> None:
    assert set(read_artifact(engine).files) == set(CONTENT)
    assert read_existing(engine, SHA) == read_artifact(engine)
    copy = Path(shutil.copytree(engine, tmp_path / "another name"))
    assert read_trusted(copy, signer.public) == read_artifact(engine)


def test_signing_twice_and_by_another(engine: Path, signers: tuple[Signer, Signer]) -> None:
    before = (engine / SIGNATURE).read_bytes()
    sign(engine, signers[0].private)
    assert (engine / SIGNATURE).read_bytes() == before
    sign(engine, signers[1].private)
    assert read_trusted(engine, signers[1].public)
    with pytest.raises(SignatureError, match="not trusted"):
        read_trusted(engine, signers[0].public)


def test_an_engine_that_is_written_again_has_no_signature(engine: Path, signer: Signer) -> None:
    write_sample(engine, "engine", OTHER)
    assert not (engine / SIGNATURE).exists()
    with pytest.raises(SignatureError, match="is not signed"):
        read_trusted(engine, signer.public)


def test_what_is_damaged_is_not_signed(tmp_path: Path, signer: Signer) -> None:
    write_sample(tmp_path / "engine", "engine")
    flip(tmp_path / "engine" / "model.onnx", 0)
    with pytest.raises(ArtifactError, match="not the file that was verified"):
        sign(tmp_path / "engine", signer.private)
    assert not (tmp_path / "engine" / SIGNATURE).exists()
    with pytest.raises(UsageError, match="is not an artifact"):
        sign(tmp_path, signer.private)


# Whom to trust


def test_without_keys_signatures_are_not_looked_at(engine: Path) -> None:
    (engine / SIGNATURE).write_bytes(b"hello")
    assert read_trusted(engine) == read_artifact(engine)


def test_the_environment_names_the_keys(
    engine: Path, signers: tuple[Signer, Signer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRUSTED_KEYS, str(signers[1].public))
    with pytest.raises(SignatureError, match="not trusted"):
        read_trusted(engine)
    assert read_trusted(engine, signers[0].public)
    monkeypatch.setenv(TRUSTED_KEYS, str(signers[0].public))
    assert read_trusted(engine)


@pytest.mark.parametrize("given", [None, ""])
def test_an_empty_name_is_not_a_wish_to_trust_everybody(
    given: str | None, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRUSTED_KEYS, "")
    with pytest.raises(UsageError, match="is empty") as caught:
        read_trusted(engine, given)
    assert f"unset {TRUSTED_KEYS}" in str(caught.value.fix)


@pytest.mark.parametrize("given", ["", Path(), Path("./")])
def test_an_empty_name_is_not_the_current_folder(
    given: str | Path, engine: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(signer.public)
    with pytest.raises(UsageError, match="is empty") as caught:
        read_trusted(engine, given)
    assert caught.value.found == repr(given)
    assert read_trusted(engine, ".") == read_trusted(engine, signer.public)


@pytest.mark.parametrize("name", ["is_file", "is_dir", "read_bytes"])
def test_an_engine_that_this_user_may_not_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "engine"
    if name != "is_dir":
        write_sample(folder, "engine")

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read") as caught:
        read_trusted(folder)
    assert "Permission denied" in str(caught.value.found)


@pytest.mark.parametrize("place", ["missing", "empty"])
def test_keys_that_are_not_there(place: str, engine: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"cannot be read|no trusted keys"):
        read_trusted(engine, tmp_path / place)


def test_one_of_several_keys_is_enough(engine: Path, signers: tuple[Signer, Signer], tmp_path: Path) -> None:
    for signer in signers:
        shutil.copytree(signer.public, tmp_path / "both", dirs_exist_ok=True)
    assert read_trusted(engine, tmp_path / "both")
    sign(engine, signers[1].private)
    assert read_trusted(engine, tmp_path / "both")


def test_an_unknown_key_is_named_beside_those_that_are_trusted(
    engine: Path, signers: tuple[Signer, Signer], tmp_path: Path
) -> None:
    with pytest.raises(SignatureError, match="signed by a key that is not trusted") as caught:
        read_trusted(engine, signers[1].public)
    assert caught.value.exit_code == 2
    assert caught.value.found == f"{signers[0].id[:16]}…"
    assert caught.value.expected == f"{signers[1].id[:16]}… (stranger.pub)"
    many = tmp_path / "many"
    many.mkdir()
    for number in range(7):
        make_key(tmp_path / "made" / str(number))
        shutil.copy(tmp_path / "made" / f"{number}.pub", many)
    with pytest.raises(SignatureError) as caught:
        read_trusted(engine, many)
    assert "(4.pub) or 2 more" in str(caught.value.expected)


# What was touched


def test_an_unsigned_engine_names_the_command(tmp_path: Path, signer: Signer) -> None:
    write_sample(tmp_path / "engine", "engine")
    with pytest.raises(SignatureError, match="is not signed") as caught:
        read_trusted(tmp_path / "engine", signer.public)
    assert caught.value.fix == f"evit-deploy sign {tmp_path / 'engine'} --key FILE, where the private key is"
    assert "release.pub" in str(caught.value.expected)
    write_sample(tmp_path / "my engines" / "b0", "engine")
    with pytest.raises(SignatureError) as caught:
        read_trusted(tmp_path / "my engines" / "b0", signer.public)
    assert str(caught.value.fix).startswith(f"evit-deploy sign '{tmp_path}/my engines/b0' --key FILE")


FILES = [*CONTENT, "manifest.json", SIGNATURE]


@given(name=st.sampled_from(FILES), index=st.integers(0, 10_000), mask=st.integers(1, 255))
def test_no_byte_can_be_changed(
    tmp_path_factory: pytest.TempPathFactory, signers: tuple[Signer, Signer], name: str, index: int, mask: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "flipped"
    if not (folder / SIGNATURE).exists():
        signed(folder, signers[0])
    whole = (folder / name).read_bytes()
    flip(folder / name, index, mask)
    try:
        with pytest.raises(ArtifactError):
            read_trusted(folder, signers[0].public)
    finally:
        (folder / name).write_bytes(whole)
    assert read_trusted(folder, signers[0].public)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("length", [0, 1, -1])
def test_nothing_can_be_cut(name: str, length: int, engine: Path, signer: Signer) -> None:
    (engine / name).write_bytes((engine / name).read_bytes()[:length])
    with pytest.raises(ArtifactError):
        read_trusted(engine, signer.public)


@pytest.mark.parametrize("name", [*CONTENT, "manifest.json"])
def test_nothing_can_be_added(name: str, engine: Path, signer: Signer) -> None:
    with (engine / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(ArtifactError):
        read_trusted(engine, signer.public)


def _spelt(change: Callable[[dict[str, Any]], Any], **style: Any) -> Callable[[bytes], bytes]:
    def edit(content: bytes) -> bytes:
        data = json.loads(content)
        change(data)
        return (json.dumps(data, **{"indent": 2, **style}) + "\n").encode()

    return edit


def _last_bits(data: dict[str, Any]) -> None:
    """Another last letter before the padding: the same 64 bytes to a careless decoder."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    text = data["signature"]
    data["signature"] = text[:-3] + letters[letters.index(text[-3]) ^ 1] + "=="


BAD_SIGNATURES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "is damaged"),
    "text": (lambda _: b"hello", "is damaged"),
    "binary": (lambda _: b"\xff\xfe\x00", "is damaged"),
    "list": (lambda _: b"[]", "is damaged"),
    "number": (lambda _: b"1", "is damaged"),
    "null": (lambda _: b"null", "is damaged"),
    "deep": (lambda _: b"[" * 4000, "is damaged"),
    "huge": (lambda content: content + b" " * 10_000_000, "is damaged"),
    "twice": (lambda content: content + content, "is damaged"),
    "compact": (_spelt(lambda _: None, indent=None), "is damaged"),
    "more": (_spelt(lambda data: data.update(note="hello")), "is damaged"),
    "no key": (_spelt(lambda data: data.pop("key")), "is damaged"),
    "no version": (_spelt(lambda data: data.pop("version")), "is damaged"),
    "version 0": (_spelt(lambda data: data.update(version=0)), "is damaged"),
    "version true": (_spelt(lambda data: data.update(version=True)), "is damaged"),
    "version text": (_spelt(lambda data: data.update(version="1")), "is damaged"),
    "version 2": (_spelt(lambda data: data.update(version=2)), "newer evit-deploy"),
    "algorithm": (_spelt(lambda data: data.update(algorithm="none")), "is damaged"),
    "key a list": (_spelt(lambda data: data.update(key=[])), "is damaged"),
    "key in capitals": (_spelt(lambda data: data.update(key=data["key"].upper())), "not trusted"),
    "signature null": (_spelt(lambda data: data.update(signature=None)), "is damaged"),
    "signature no base64": (_spelt(lambda data: data.update(signature="?" * 88)), "is damaged"),
    "signature empty": (_spelt(lambda data: data.update(signature="")), "is not what"),
    "signature short": (_spelt(lambda data: data.update(signature="AAAA")), "is not what"),
    "signature zero": (_spelt(lambda data: data.update(signature="A" * 86 + "==")), "is not what"),
    "signature's spare bits": (_spelt(_last_bits), "is damaged"),
}


@pytest.mark.parametrize("name", BAD_SIGNATURES)
def test_a_damaged_signature(name: str, engine: Path, signer: Signer) -> None:
    change, words = BAD_SIGNATURES[name]
    (engine / SIGNATURE).write_bytes(change((engine / SIGNATURE).read_bytes()))
    with pytest.raises(SignatureError, match=words) as caught:
        read_trusted(engine, signer.public)
    assert caught.value.found
    assert caught.value.fix


def test_a_folder_in_place_of_the_signature(engine: Path, signer: Signer) -> None:
    (engine / SIGNATURE).unlink()
    (engine / SIGNATURE).mkdir()
    with pytest.raises(SignatureError, match="is damaged"):
        read_trusted(engine, signer.public)


@given(content=st.binary(max_size=300))
def test_any_bytes_as_a_signature(
    tmp_path_factory: pytest.TempPathFactory, signers: tuple[Signer, Signer], content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    if not (folder / "manifest.json").exists():
        write_sample(folder, "engine")
    (folder / SIGNATURE).write_bytes(content)
    with pytest.raises(SignatureError):
        read_trusted(folder, signers[0].public)


@pytest.mark.parametrize(
    "names",
    ["model.onnx", "manifest.json", SIGNATURE, "model.onnx manifest.json", f"{SIGNATURE} manifest.json"],
)
def test_files_of_two_signed_engines_do_not_mix(names: str, engine: Path, signer: Signer, tmp_path: Path) -> None:
    other = signed(tmp_path / "other", signer, OTHER, {**CONTENT, "model.onnx": b"another graph"})
    for name in names.split():
        shutil.copyfile(other / name, engine / name)
    with pytest.raises(ArtifactError):
        read_trusted(engine, signer.public)


def test_an_older_engine_that_was_signed_is_accepted_again(engine: Path, signer: Signer, tmp_path: Path) -> None:
    """Rollback is not prevented; docs/loading.md says so."""
    old = Path(shutil.copytree(engine, tmp_path / "old"))
    signed(engine, signer, OTHER)
    shutil.rmtree(engine)
    old.rename(engine)
    assert read_trusted(engine, signer.public).key == SHA


# Nothing is used before


def test_a_manifest_is_not_parsed_before_its_signature_was_checked(
    engine: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(*_: object) -> None:
        raise AssertionError("used before it was checked")

    monkeypatch.setattr(store, "_parse", touched)
    monkeypatch.setattr(store, "sha256_of", touched)
    flip(engine / "manifest.json", 100)
    with pytest.raises(SignatureError):
        read_trusted(engine, signer.public)


def test_the_manifest_that_was_checked_is_the_one_that_is_used(
    engine: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that is exchanged between the check and its use would not be noticed if it were read twice."""
    real = Path.read_bytes
    reads = []

    def exchanged(path: Path) -> bytes:
        content = real(path)
        if path.name == "manifest.json":
            reads.append(path)
            path.write_bytes(content.replace(SHA.encode(), OTHER.encode(), 1))
        return content

    monkeypatch.setattr(Path, "read_bytes", exchanged)
    assert read_trusted(engine, signer.public).key == SHA
    assert len(reads) == 1


# Files that are executed


def test_a_file_is_read_with_its_hash(engine: Path) -> None:
    assert read_file(engine, read_artifact(engine), "model.onnx") == CONTENT["model.onnx"]


DAMAGES = {"flipped": lambda path: flip(path, 3), "cut": lambda path: path.write_bytes(b""), "gone": Path.unlink}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_file_that_changed_since_is_not_given(damage: Callable[[Path], Any], engine: Path) -> None:
    manifest = read_artifact(engine)
    damage(engine / "model.onnx")
    with pytest.raises(ArtifactError):
        read_file(engine, manifest, "model.onnx")


@pytest.mark.parametrize("name", ["manifest.json", SIGNATURE, "../engine", "/etc/passwd", ""])
def test_a_file_that_is_not_listed_is_not_given(name: str, engine: Path) -> None:
    with pytest.raises(EvitError, match="lists no hash"):
        read_file(engine, read_artifact(engine), name)


# Bundles


@pytest.fixture
def bundle(tmp_path: Path, signer: Signer) -> Path:
    """A signed bundle of two engines."""
    folder = tmp_path / "engines" / "l0-sam.cpu.fp32"
    write_sample_bundle(folder, "engine")
    assert sign(folder, signer.private) == signer.id
    return folder


def test_one_signature_vouches_for_all_parts(bundle: Path, signer: Signer) -> None:
    assert read_trusted_bundle(bundle, signer.public) == read_bundle(bundle) == read_trusted_bundle(bundle)
    assert not list(bundle.glob(f"*/{SIGNATURE}"))


@pytest.mark.parametrize("name", ["manifest.json", "encoder/manifest.json", "decoder/model.onnx", SIGNATURE])
def test_a_bundle_that_was_touched_is_refused(bundle: Path, signer: Signer, name: str) -> None:
    flip(bundle / name, 60)
    with pytest.raises(ArtifactError):
        read_trusted_bundle(bundle, signer.public)


def test_a_part_exchanged_with_its_manifest_is_refused(bundle: Path, signer: Signer) -> None:
    write_sample(bundle / "encoder", "engine", OTHER)
    with pytest.raises(ArtifactError, match="not the part"):
        read_trusted_bundle(bundle, signer.public)


def test_a_bundle_of_a_stranger_is_refused(bundle: Path, signers: tuple[Signer, Signer]) -> None:
    with pytest.raises(SignatureError, match="not trusted"):
        read_trusted_bundle(bundle, signers[1].public)
    (bundle / SIGNATURE).unlink()
    with pytest.raises(SignatureError, match="not signed"):
        read_trusted_bundle(bundle, signers[0].public)


def test_a_damaged_bundle_is_not_signed(bundle: Path, signer: Signer) -> None:
    flip(bundle / "decoder" / "model.onnx", 0)
    with pytest.raises(ArtifactError):
        sign(bundle, signer.private)
