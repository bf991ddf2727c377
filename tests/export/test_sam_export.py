# SPDX-License-Identifier: Apache-2.0
"""Segment Anything as a bundle: two verified graphs, nothing done twice, and refusals of what means nothing for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from evit_deploy.agreement import worst
from evit_deploy.data.images import write_image
from evit_deploy.data.masks import PromptFrame
from evit_deploy.errors import CheckFailedError, UsageError
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.export.sam import export as sam_export
from evit_deploy.export.sam.reference import MOST_FRAMES, choose_pictures
from evit_deploy.manifest import is_bundle, read_bundle
from evit_deploy.runtime.reference import Reference
from evit_deploy.runtime.sam.reference import EMPTY_SLOT, PromptReference
from tests.sam import SAM_MODELS, golden_model, save_checkpoint


def export(folder: Path, **options):
    return export_model("l0-sam", folder / "l0-sam", ExportOptions(**{"weights": "random", **options}))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """l0-sam with golden weights, exported once. Do not change it."""
    folder = tmp_path_factory.mktemp("export")
    weights = save_checkpoint(golden_model("l0-sam"), folder / "l0.pt")
    bundle, written = export(folder, weights=str(weights), batch=(1, 2), frame=(90, 160))
    assert written
    return folder, bundle, weights


def test_a_bundle_of_two_verified_graphs(exported):
    folder, bundle, weights = exported
    assert is_bundle(folder / "l0-sam")
    again, parts = read_bundle(folder / "l0-sam")
    assert again == bundle
    assert (bundle.kind, bundle.model.task, bundle.model.classes) == ("export", "sam", 1)
    assert (bundle.weights.source, bundle.weights.location) == ("path", str(weights))
    encoder, decoder = parts["encoder"], parts["decoder"]
    assert (encoder.graph.input, encoder.graph.output, encoder.graph.resolution) == ("image", "embedding", (512, 512))
    assert (decoder.graph.input, decoder.graph.output, decoder.graph.resolution) == ("prompts", "pixels", (1024, 1024))
    assert (encoder.graph.batch, decoder.graph.batch) == ((1, 2), (1, 64))
    assert encoder.preprocess == decoder.preprocess
    assert (encoder.preprocess.resize, encoder.preprocess.kernel) == ("longest-side", "pillow-bilinear")
    shapes = {tensor.name: tensor.shape for tensor in (*decoder.graph.inputs, *decoder.graph.outputs)}
    assert shapes["coords"] == (-1, -1, 2)
    assert shapes["masks"] == (-1, 3, 256, 256)
    assert shapes["pixels"] == (-1, 3, 90, 160)


def test_agreement_of_the_parts_and_of_both_together(exported):
    folder, bundle, _ = exported
    _, parts = read_bundle(folder / "l0-sam")
    assert worst(parts["encoder"].agreement.frames).relative_l2 <= 1e-4
    for agreement in (parts["decoder"].agreement, bundle.agreement):
        row = worst(agreement.frames)
        assert agreement.passed
        assert row.mask_iou >= 0.999
        assert row.score_error <= 1e-4


def test_references_hold_pictures_of_both_shapes_and_prompts_of_every_kind(exported):
    folder, _, _ = exported
    pictures = Reference.load(folder / "l0-sam" / "encoder")
    prompts = PromptReference.load(folder / "l0-sam" / "decoder")
    heights, widths = pictures.sizes.T
    assert (heights < widths).any()
    assert (heights > widths).any()
    assert [frame.image.shape[:2] for frame in choose_pictures(None)] == [(f.height, f.width) for f in prompts.frames]
    np.testing.assert_array_equal(prompts.embeddings, pictures.logits)
    labels = {tuple(label for label in row if label != EMPTY_SLOT) for row in prompts.labels.tolist()}
    assert labels == {(1,), (1, 0), (2, 3), (1, 2, 3)}
    assert prompts.has_mask.sum() == len(pictures.names)


def test_prompts_are_answered_as_pytorch_answers_them(exported):
    """By hand, for the last prompt of the first picture: a point and a box."""
    folder, _, _ = exported
    pictures = Reference.load(folder / "l0-sam" / "encoder")
    prompts = PromptReference.load(folder / "l0-sam" / "decoder")
    height, width = prompts.frames[0].height, prompts.frames[0].width
    frame = PromptFrame(height, width)
    point = torch.from_numpy(frame.to_frame([[[0.6 * width, 0.7 * height]]]))
    box = torch.from_numpy(frame.to_frame([[0.35 * width, 0.3 * height], [0.95 * width, 0.95 * height]])).reshape(1, 4)
    with torch.inference_mode():
        masks, iou = golden_model("l0-sam").decode(
            torch.from_numpy(pictures.logits[:1]), point, torch.ones(1, 1, dtype=torch.int32), box
        )
    np.testing.assert_allclose(prompts.masks[4], masks[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(prompts.iou[4], iou[0].numpy(), atol=1e-5)


def test_same_inputs_are_a_no_op(exported):
    folder, bundle, weights = exported
    assert export(folder, weights=str(weights), batch=(1, 2), frame=(90, 160)) == (bundle, False)


@pytest.mark.slow
def test_a_part_that_is_done_is_not_done_again(exported, tmp_path, monkeypatch):
    folder, bundle, weights = exported
    shutil.copytree(folder / "l0-sam", tmp_path / "l0-sam")
    before = (tmp_path / "l0-sam" / "encoder" / "manifest.json").read_bytes()

    def never(*_arguments, **_options):
        raise AssertionError("the encoder was traced again")

    monkeypatch.setattr(sam_export, "trace_encoder", never)
    other, written = export(tmp_path, weights=str(weights), batch=(1, 2))
    assert written
    assert other.key != bundle.key
    assert other.parts["encoder"] == bundle.parts["encoder"]
    assert (tmp_path / "l0-sam" / "encoder" / "manifest.json").read_bytes() == before
    _, parts = read_bundle(tmp_path / "l0-sam")
    assert parts["decoder"].graph.output == "masks"


def test_a_graph_that_disagrees_is_not_written(tmp_path, monkeypatch):
    real = sam_export.trace_encoder

    def wrong(*arguments, **options):
        graph = real(*arguments, **options)
        weight = next(t for t in graph.graph.initializer if t.name.startswith("neck.output_ops"))
        values = onnx.numpy_helper.to_array(weight).copy()
        values[::2] *= -1
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        return graph

    monkeypatch.setattr(sam_export, "trace_encoder", wrong)
    with pytest.raises(CheckFailedError, match="the exported encoder of l0-sam does not agree"):
        export(tmp_path)
    assert not (tmp_path / "l0-sam").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": (256, 256)}, "l0-sam has one resolution"),
        ({"output": "logits"}, "masks for prompts"),
        ({"output": "classes"}, "no output to choose"),
        ({"input": "video"}, "image or tensor"),
        ({"batch": (0, 1)}, "within 1..64"),
        ({"opset": 16}, "opset 16 is not supported"),
        ({"frame": (0, 720)}, "no camera has frames of this size"),
        ({"frame": (720, 99999)}, r"within 1\.\.8192"),
    ],
)
def test_options_that_make_no_sense(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        export(tmp_path, **options)
    assert not (tmp_path / "l0-sam").exists()


def test_a_camera_means_nothing_to_other_models(tmp_path):
    with pytest.raises(UsageError, match="no use for the size of a camera's frame"):
        export_model("b0-seg", tmp_path / "b0", ExportOptions(weights="random", frame=(720, 1280)))


def test_own_images_but_not_a_whole_data_set(tmp_path):
    for index in range(MOST_FRAMES + 1):
        write_image(tmp_path / f"{index}.png", np.full((8, 9, 3), index, np.uint8))
    with pytest.raises(UsageError, match="too many images"):
        choose_pictures(tmp_path)
    (tmp_path / "0.png").unlink()
    assert len(choose_pictures(tmp_path)) == MOST_FRAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SAM_MODELS if name != "l0-sam"])
def test_every_model_agrees_with_pytorch(tmp_path, name):
    weights = save_checkpoint(golden_model(name), tmp_path / "weights.pt")
    bundle, _ = export_model(name, tmp_path / name, ExportOptions(weights=str(weights)))
    _, parts = read_bundle(tmp_path / name)
    assert worst(parts["encoder"].agreement.frames).relative_l2 <= 1e-4
    assert worst(bundle.agreement.frames).mask_iou >= 0.999
