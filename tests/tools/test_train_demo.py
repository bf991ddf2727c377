# SPDX-License-Identifier: Apache-2.0
"""The training tool: resumes exactly, exports loadable FP16 weights, and evaluates them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors")
pytest.importorskip("cv2")
sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import demo_data  # noqa: E402
import demo_export  # noqa: E402
import train_demo  # noqa: E402

from evit_deploy.errors import ArtifactError  # noqa: E402
from evit_deploy.models import create_model  # noqa: E402


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenes")


def _arguments(cache: Path, out: Path, steps: int, *more: str) -> list[str]:
    text = f"b0-seg --steps {steps} --small-steps 2 --batch 2 --crop 64 --height 64 --scenes 3 --large 2"
    return [*text.split(), "--save-every", "0", "--quiet", "--cache", str(cache), "--out", str(out), *more]


def _state(cache: Path) -> dict[str, object]:
    state: dict[str, object] = torch.load(cache / "b0-seg.train.pt", weights_only=True)
    return state


def test_an_interrupted_run_ends_with_the_same_weights(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_demo.main(_arguments(cache, tmp_path / "whole", 4))
    whole = _state(cache)
    (cache / "b0-seg.train.pt").unlink()

    def killed(step: int, *others: object) -> float:
        if step == 2:
            raise KeyboardInterrupt
        return original(step, *others)

    original = train_demo.learning_rate
    monkeypatch.setattr(train_demo, "learning_rate", killed)
    with pytest.raises(KeyboardInterrupt):
        train_demo.main(_arguments(cache, tmp_path / "parts", 4))
    assert _state(cache)["step"] == 2
    monkeypatch.setattr(train_demo, "learning_rate", original)
    train_demo.main(_arguments(cache, tmp_path / "parts", 4))
    parts = _state(cache)
    assert parts["step"] == whole["step"] == 4
    for kind in ("model", "average"):
        for key, value in whole[kind].items():  # type: ignore[attr-defined]
            assert torch.allclose(parts[kind][key].float(), value.float(), rtol=1e-4, atol=1e-6), key  # type: ignore[index]
    _check_export(tmp_path)


def _check_export(folder: Path) -> None:
    whole, parts = (folder / run / "b0-seg.safetensors" for run in ("whole", "parts"))
    with safetensors.safe_open(whole, framework="pt") as file:
        metadata = file.metadata()
        types = {str(file.get_tensor(key).dtype) for key in file.keys()}  # noqa: SIM118
    assert metadata["model"] == "b0-seg"
    assert metadata["steps"] == "4"
    assert "procedural" in metadata["note"]
    assert types == {"torch.float16", "torch.int64"}
    assert whole.stat().st_size < 2_000_000
    image = torch.zeros(1, 3, 64, 64)
    with torch.inference_mode():
        first, second = (create_model("b0-seg", weights=str(path))(image) for path in (whole, parts))
    assert torch.allclose(first, second, rtol=1e-2, atol=1e-2)


def test_a_run_starts_afresh_only_when_asked_to(cache: Path, tmp_path: Path) -> None:
    train_demo.main(_arguments(cache, tmp_path, 4, "--restart"))
    train_demo.main(_arguments(cache, tmp_path, 1))
    assert _state(cache)["step"] == 4
    train_demo.main(_arguments(cache, tmp_path, 1, "--restart"))
    assert _state(cache)["step"] == 1


def test_evaluation_writes_its_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = create_model("b0-seg", weights="random", seed=1)
    path = demo_export.export("b0-seg", model, tmp_path, "no training", 0)
    before = path.read_bytes()
    train_demo.main(["b0-seg", "--evaluate", "--held-out", "2", "--sizes", "64", "--out", str(tmp_path)])
    report = json.loads((tmp_path / "b0-seg.json").read_text())
    result = report["held_out"]["64x128"]
    assert result["first_seed"] == demo_export.HELD_OUT == 1_000_000
    assert 0.0 <= result["mean_iou"] < 0.3
    assert set(result["iou"]) == set(demo_export.NAMES)
    assert "mIoU" in capsys.readouterr().out
    with safetensors.safe_open(path, framework="pt") as file:
        assert file.metadata()["held_out_miou"] == f"64x128: {result['mean_iou']}"
    assert path.read_bytes() != before
    assert not list(tmp_path.glob("*.partial"))


def test_values_beyond_fp16_are_refused() -> None:
    with pytest.raises(ArtifactError, match="FP16"):
        demo_export._half("layer.weight", torch.tensor([1e6]))
    with pytest.raises(ArtifactError, match="precision"):
        demo_export._half("norm.running_var", torch.tensor([1e-8, 2e-8]))
    assert demo_export._half("norm.num_batches_tracked", torch.tensor(7)).item() == 7


def test_attention_that_grew_in_training_is_tamed_without_changing_outputs() -> None:
    model = create_model("b0-seg", weights="random", seed=2)
    state = model.state_dict()
    for key in [key for key in state if key.endswith("main.qkv.conv.weight")]:
        norm = key.replace("qkv.conv.weight", "proj.norm.")
        state[key] *= 400.0
        state[f"{norm}running_var"] *= 400.0**2
    model.load_state_dict(state)
    with pytest.raises(ArtifactError, match="FP16"):
        [demo_export._half(key, value) for key, value in model.state_dict().items()]
    image = torch.randn(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = model(image)
        tamed = demo_export.tame_attention(model.state_dict())
        model.load_state_dict(tamed)
        after = model(image)
    assert all(demo_export._half(key, value).dtype != torch.float32 for key, value in tamed.items())
    assert torch.allclose(after, before, rtol=1e-3, atol=1e-3 * float(before.abs().max()))


def test_the_cache_is_reused_and_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = demo_data.open_cache(tmp_path, 3, 32, 64, progress=False)
    folder = next(tmp_path.iterdir())
    expected = demo_data.render_scene(2, 32, 64)
    assert np.array_equal(first.images[2], expected.image)
    (folder / "finished.txt").write_text("2")
    rendered: list[int] = []

    def counted(seed: int, height: int, width: int) -> object:
        if height == 32:
            rendered.append(seed)
        return original(seed, height, width)

    original = demo_data.render_scene
    monkeypatch.setattr(demo_data, "render_scene", counted)
    again = demo_data.open_cache(tmp_path, 3, 32, 64, progress=False)
    assert rendered == [2]
    assert np.array_equal(again.labels, first.labels)
    assert again.shares.sum(axis=1) == pytest.approx(1.0, abs=0.2)


def test_crops_depend_on_the_step_only(cache: Path) -> None:
    store = [demo_data.open_cache(cache, 3, 64, 128, progress=False)]
    recipe = demo_data.Recipe((32, 64), 4)
    images, labels = demo_data.draw_batch(store, [(0.5, 2.0)], recipe, 7)
    again, _ = demo_data.draw_batch(store, [(0.5, 2.0)], recipe, 7)
    other, _ = demo_data.draw_batch(store, [(0.5, 2.0)], recipe, 8)
    assert images.shape == (4, 3, 32, 64)
    assert labels.shape == (4, 32, 64)
    assert np.array_equal(images, again)
    assert not np.array_equal(images, other)
    assert np.abs(images).max() < 3.0


def test_learning_rate() -> None:
    rates = [train_demo.learning_rate(step, 1000, 1.0) for step in range(1000)]
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) in (149, 150)
    assert rates[0] < 0.01
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)
    assert sorted(rates[150:], reverse=True) == rates[150:]


def test_soft_iou_loss_is_zero_for_a_sure_and_right_answer() -> None:
    labels = torch.randint(0, 19, (1, 16, 32))
    labels[0, 0, 0] = 255
    scores = 50.0 * torch.nn.functional.one_hot(labels.clamp(max=18), 19).permute(0, 3, 1, 2).float()
    assert float(train_demo._soft_iou_loss(scores, labels)) == pytest.approx(0.0, abs=1e-3)
    assert float(train_demo._soft_iou_loss(torch.zeros_like(scores), labels)) > 0.5
