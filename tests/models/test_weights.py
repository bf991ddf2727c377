# SPDX-License-Identifier: Apache-2.0
"""Loading checkpoints: strict, safe, and clear about what is wrong."""

from __future__ import annotations

import hashlib

import pytest
import torch
from safetensors.torch import save_file

from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.models import create_model, find_model
from evit_deploy.models.weights import DEMO_FOLDER, random_weights, resolve_weights


@pytest.fixture(scope="module")
def state():
    return dict(create_model("b0-seg", weights="random").state_dict())


def same(model, state):
    return all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_pt_plain_and_wrapped(tmp_path, state):
    torch.save(state, tmp_path / "plain.pt")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "wrapped.pt")
    for name in ("plain.pt", "wrapped.pt"):
        assert same(create_model("b0-seg", weights=str(tmp_path / name)), state)


def test_safetensors_without_counters(tmp_path, state):
    """BatchNorm's step counter may be missing: it plays no part in inference."""
    kept = {key: value.contiguous() for key, value in state.items() if not key.endswith("num_batches_tracked")}
    save_file(kept, tmp_path / "model.safetensors")
    model = create_model("b0-seg", weights=str(tmp_path / "model.safetensors"))
    assert same(model, state)


def test_half_precision_is_widened(tmp_path, state):
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    save_file(half, tmp_path / "half.safetensors")
    model = create_model("b0-seg", weights=str(tmp_path / "half.safetensors"))
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_wrong_file_says_which_keys(tmp_path, state):
    wrong = dict(state)
    del wrong["head.middle.op_list.0.main.depth_conv.conv.weight"]
    wrong["head.surprise"] = torch.zeros(1)
    wrong["backbone.input_stem.op_list.0.conv.weight"] = torch.zeros(8, 4, 3, 3)
    torch.save(wrong, tmp_path / "wrong.pt")
    with pytest.raises(ArtifactError) as error:
        create_model("b0-seg", weights=str(tmp_path / "wrong.pt"))
    text = str(error.value)
    assert "1 missing (head.middle.op_list.0.main.depth_conv.conv.weight)" in text
    assert "1 unexpected (head.surprise)" in text
    assert "1 of wrong shape (backbone.input_stem.op_list.0.conv.weight (8, 4, 3, 3) instead of (8, 3, 3, 3))" in text


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("damage", ["empty", "garbage", "truncated"])
def test_damaged_file(tmp_path, state, suffix, damage):
    path = tmp_path / f"model{suffix}"
    if suffix == ".pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    data = {"empty": b"", "garbage": b"not a checkpoint" * 99, "truncated": path.read_bytes()[:5000]}[damage]
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="cannot be read"):
        create_model("b0-seg", weights=str(path))


class Payload:
    """What a hostile checkpoint would run."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (exec, (f"open({str(self.marker)!r}, 'w').close()",))


def test_a_checkpoint_cannot_run_code(tmp_path):
    marker = tmp_path / "was-here"
    torch.save({"state_dict": Payload(marker)}, tmp_path / "hostile.pt")
    with pytest.raises(ArtifactError):
        create_model("b0-seg", weights=str(tmp_path / "hostile.pt"))
    assert not marker.exists()


def test_a_list_is_no_state_dict(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(ArtifactError, match="no state dict"):
        create_model("b0-seg", weights=str(tmp_path / "list.pt"))


def test_keys_must_be_names(tmp_path):
    torch.save({0: torch.zeros(1)}, tmp_path / "numbers.pt")
    with pytest.raises(ArtifactError, match="no state dict"):
        create_model("b0-seg", weights=str(tmp_path / "numbers.pt"))


def test_missing_path():
    with pytest.raises(UsageError, match="there is no checkpoint"):
        create_model("b0-seg", weights="nowhere.pt")


def test_hash_is_the_file_s(tmp_path, state):
    torch.save(state, tmp_path / "model.pt")
    weights = resolve_weights(find_model("b0-seg"), str(tmp_path / "model.pt"))
    assert weights.sha256 == hashlib.sha256((tmp_path / "model.pt").read_bytes()).hexdigest()
    assert (weights.source, weights.location) == ("path", str((tmp_path / "model.pt").resolve()))


def test_random_weights_differ_by_model_and_seed():
    keys = {random_weights(find_model(name), seed).sha256 for name in ("b0-seg", "b1-seg") for seed in (0, 1)}
    assert len(keys) == 4


@pytest.mark.parametrize("name", ["b0-seg", "b1-seg"])
def test_demo_weights_ship_and_load(name):
    assert (DEMO_FOLDER / f"{name}.safetensors").stat().st_size < 12e6
    weights = resolve_weights(find_model(name), "demo")
    assert "demo weights" in (weights.warning or "")
    assert create_model(name, weights="demo") is not None


def test_no_demo_weights_for_other_models():
    with pytest.raises(UsageError, match="no demo weights"):
        resolve_weights(find_model("b2-seg"), "demo")


def test_model_without_official_checkpoint():
    with pytest.raises(UsageError, match="no checkpoint"):
        resolve_weights(find_model("b0-cls"), "official")
