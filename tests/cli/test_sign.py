# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy sign``, and ``--trusted-keys`` of the commands that run engines."""

from __future__ import annotations

import getpass
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from evit_deploy.data.images import write_image
from evit_deploy.errors import ArtifactError
from evit_deploy.manifest import read_artifact, read_bundle
from evit_deploy.manifest.keys import PASSWORD, read_private_key
from evit_deploy.manifest.signing import SIGNATURE, TRUSTED_KEYS, read_trusted, read_trusted_bundle
from tests.cli.conftest import Answer, Program
from tests.manifest.sample import snapshot, write_sample_bundle

ENGINE = "b0-seg.cpu.fp32.onnxruntime"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (TRUSTED_KEYS, PASSWORD):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def workspace(small_workspace: Path, tmp_path: Path, frame: np.ndarray) -> Path:
    """The test's folder, with two engines, one image and a key."""
    for name in ("one", "two"):
        shutil.copytree(small_workspace / "engines" / ENGINE, tmp_path / "engines" / name)
    write_image(tmp_path / "street.png", frame)
    return tmp_path


@pytest.fixture
def key(workspace: Path, evit: Program) -> Path:
    assert evit("sign", "--new-key", "keys/release.key").code == 0
    return workspace / "keys" / "release.key"


def refused(answer: Answer, code: int, *words: str) -> None:
    assert answer.code == code, answer.err
    assert "Traceback" not in answer.err
    for word in words:
        assert word in answer.message, answer.message


def test_a_key_is_made_and_signs(workspace: Path, evit: Program) -> None:
    made = evit("sign", "--new-key", "release.key")
    assert made.code == 0
    identity = made.out.split()[-1]
    assert "release.key  signs; keep it safe: it has no password" in made.out
    answer = evit("sign", "one", workspace / "engines" / "two", "--key", "release.key")
    assert answer.code == 0
    assert answer.out.splitlines() == [
        f"{Path('engines') / 'one' / SIGNATURE}  by {identity[:16]}…",
        f"{workspace / 'engines' / 'two' / SIGNATURE}  by {identity[:16]}…",
    ]
    for name in ("one", "two"):
        folder = workspace / "engines" / name
        assert read_trusted(folder, workspace / "release.key.pub") == read_artifact(folder)
        assert json.loads((folder / SIGNATURE).read_text(encoding="ascii"))["key"] == identity


def test_json_for_programs(workspace: Path, evit: Program) -> None:
    made = json.loads(evit("sign", "--new-key", "release.key", "--json").out)
    assert (made["private"], made["public"]) == ("release.key", "release.key.pub")
    answer = json.loads(evit("sign", "one", "two", "--key", "release.key", "--json").out)
    assert answer == [{"engine": f"engines/{name}", "key": made["key"]} for name in ("one", "two")]


def test_one_signature_vouches_for_all_parts(workspace: Path, key: Path, evit: Program) -> None:
    folder = workspace / "engines" / "l0-sam.cpu.fp32"
    write_sample_bundle(folder, "engine")
    refused(evit("verify", folder, "--trusted-keys", f"{key}.pub"), 2, f"{folder} is not signed")
    answer = evit("sign", "l0-sam.cpu.fp32", "--key", key)
    assert answer.code == 0, answer.err
    assert answer.out.startswith(str(Path("engines") / folder.name / SIGNATURE))
    assert read_trusted_bundle(folder, f"{key}.pub") == read_bundle(folder)
    assert not (folder / "decoder" / SIGNATURE).exists()
    assert evit("sign", f"{folder.name}/decoder", "--key", key).code == 0  # a part by itself, as any engine
    assert read_trusted(folder / "decoder", f"{key}.pub") == read_artifact(folder / "decoder")
    assert read_trusted_bundle(folder, f"{key}.pub") == read_bundle(folder)
    (folder / "decoder" / "model.onnx").write_bytes(b"")
    with pytest.raises(ArtifactError, match="is not the file that was verified"):
        read_trusted_bundle(folder, f"{key}.pub")
    refused(evit("sign", folder, "--key", key), 2, "is not the file that was verified")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", ("signing needs engines and a key", "no engine", "evit-deploy sign ENGINE --key FILE")),
        ("one", ("signing needs engines and a key", "no --key", "--new-key FILE")),
        ("--key keys/release.key", ("no engine",)),
        ("one --new-key other.key", ("--new-key makes a key and does nothing else",)),
        ("--new-key other.key --key keys/release.key", ("--new-key makes a key",)),
        ("--new-key keys/release.key", ("keys/release.key exists",)),
        ("--new-key .", ("a new key needs the name of a file", "--new-key FILE")),
        ("--new-key /", ("a new key needs the name of a file",)),
        ("missing --key keys/release.key", ("there is no 'missing'", "one, two")),
        ("one --key missing", ("the key missing cannot be read", "No such file")),
        ("one --key street.png", ("the key street.png cannot be read",)),
        ("one --key keys/release.key.pub", ("a public key", "a private Ed25519 key")),
        ("one --key engines", ("the key engines cannot be read",)),
    ],
)
def test_wrong_words(arguments: str, words: tuple[str, ...], key: Path, workspace: Path, evit: Program) -> None:
    before = snapshot(workspace)
    refused(evit("sign", *arguments.split()), 2, *words)
    assert snapshot(workspace) == before


def test_all_engines_are_found_before_one_is_signed(key: Path, workspace: Path, evit: Program) -> None:
    refused(evit("sign", "one", "three", "--key", key), 2, "there is no 'three'")
    assert not (workspace / "engines" / "one" / SIGNATURE).exists()


def test_a_damaged_engine_is_not_signed(key: Path, workspace: Path, evit: Program) -> None:
    (workspace / "engines" / "one" / "model.optimised.onnx").write_bytes(b"")
    refused(evit("sign", "one", "--key", key), 2, "is not the file that was verified")
    assert not (workspace / "engines" / "one" / SIGNATURE).exists()


def test_a_password_in_the_environment(workspace: Path, evit: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, "secret")
    assert "safe" not in evit("sign", "--new-key", "release.key").out
    assert evit("sign", "one", "--key", "release.key").code == 0
    monkeypatch.delenv(PASSWORD)
    refused(evit("sign", "one", "--key", "release.key"), 2, "has a password", PASSWORD)
    monkeypatch.setenv(PASSWORD, "wrong")
    refused(evit("sign", "one", "--key", "release.key"), 2, "with this password")


def test_a_password_is_asked_for_at_a_terminal(workspace: Path, evit: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[str] = []
    asked: list[str] = []

    def ask(words: str) -> str:
        asked.append(words)
        return answers.pop(0)

    monkeypatch.setattr(getpass, "getpass", ask)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    answers[:] = ["secret", "other"]
    refused(evit("sign", "--new-key", "release.key"), 2, "the two passwords differ")
    assert not (workspace / "release.key").exists()
    answers[:] = ["secret", "secret"]
    assert evit("sign", "--new-key", "release.key").code == 0
    assert b"ENCRYPTED" in (workspace / "release.key").read_bytes()
    answers[:] = ["secret"]
    asked.clear()
    assert evit("sign", "one", "two", "--key", "release.key").code == 0
    assert asked == ["password of release.key: "]
    answers[:] = ["", ""]
    assert evit("sign", "--new-key", "open.key").code == 0
    assert read_private_key(workspace / "open.key")


# Commands that run engines

COMMANDS = (("run", "one", "street.png"), ("verify", "one"), ("profile", "one", "--no-pytorch"))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("by", ["option", "environment"])
def test_an_engine_that_is_not_signed_is_not_run(
    command: tuple[str, ...], by: str, key: Path, workspace: Path, evit: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--trusted-keys", f"{key}.pub") if by == "option" else ()
    if by == "environment":
        monkeypatch.setenv(TRUSTED_KEYS, f"{key}.pub")
    before = snapshot(workspace)
    refused(evit(*command, *options), 2, "engines/one is not signed", "release.key.pub", "evit-deploy sign engines/one")
    assert snapshot(workspace) == before
    assert evit("sign", "one", "--key", key).code == 0
    answer = evit(*command, *options)
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_keys_that_are_not_there(command: tuple[str, ...], workspace: Path, evit: Program) -> None:
    (workspace / "empty").mkdir()
    refused(evit(*command, "--trusted-keys", "missing"), 2, "the key missing cannot be read")
    refused(evit(*command, "--trusted-keys", "empty"), 2, "there are no trusted keys in empty")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_an_empty_option_is_not_the_current_folder(
    command: tuple[str, ...], key: Path, workspace: Path, evit: Program
) -> None:
    shutil.copy(f"{key}.pub", workspace)
    assert evit("sign", "one", "--key", key).code == 0
    refused(evit(*command, "--trusted-keys", ""), 2, "the place of the trusted keys is empty", "''")
    assert evit(*command, "--trusted-keys", ".").code == 0


def test_an_empty_variable_is_a_mistake(workspace: Path, evit: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUSTED_KEYS, "")
    refused(evit("run", "one", "street.png"), 2, "the place of the trusted keys is empty", f"unset {TRUSTED_KEYS}")


def test_layers_are_not_looked_at_before_the_signature(key: Path, gpu_workspace: Path, evit: Program) -> None:
    folder = gpu_workspace / "engines" / "b0-seg.orin.fp16"
    refused(evit("verify", folder, "--layers", "--trusted-keys", f"{key}.pub"), 2, "is not signed")


def test_a_build_that_finds_nothing_to_do_keeps_the_signature(
    key: Path, small_workspace: Path, workspace: Path, evit: Program
) -> None:
    shutil.copytree(small_workspace / "export", workspace / "export")
    shutil.copytree(small_workspace / "engines" / ENGINE, workspace / "engines" / ENGINE)
    signature = workspace / "engines" / ENGINE / SIGNATURE
    assert evit("sign", ENGINE, "--key", key).code == 0
    answer = evit("build", "b0-seg", "--compiler", "onnxruntime")
    assert "nothing to do" in answer.out, answer.err
    assert signature.exists()
    (workspace / "engines" / ENGINE / "model.optimised.onnx").write_bytes(b"")
    assert evit("build", "b0-seg", "--compiler", "onnxruntime").code == 0
    assert not signature.exists()
