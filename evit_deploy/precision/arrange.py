# SPDX-License-Identifier: Apache-2.0
"""Rearranges an exported graph for a GPU: exact algebra in FP32, chosen for what TensorRT's optimiser makes of it.

Every pass was kept because the compiled plan has fewer kernels or less traffic with it (docs/attention.md):

* attention: `evit_deploy.precision.attention`;
* shortcut before a downsampling block: where a residual sum feeds one 1×1 convolution only, that convolution reads the
  summands side by side and the sum is never written;
* bicubic upsampling as Resize: the compiler fuses it with what follows (on CPUs the convolution of the export is far
  faster);
* class map: Resize, a knock-out tournament of the classes instead of ArgMax, cast to uint8 at the very end. The
  compiler makes one kernel of it that reads logits and writes bytes. ArgMax becomes TopK, which reads the upsampled
  logits from memory and writes values and 32-bit indices (216 MB against 36 for 19 classes at 1024×2048). TensorRT has
  no uint8 but at inputs and outputs;
* image input: cast first, for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper

from evit_deploy.errors import ArtifactError
from evit_deploy.precision.attention import arrange_attention, find_form
from evit_deploy.precision.graph import Array, GraphView, Scope

MOST_PLAYERS = 32
"""Most classes that a tournament decides: for 150 it is as good a kernel, but takes the compiler nine minutes."""


def arrange(model: onnx.ModelProto, attention: str = "conv") -> onnx.ModelProto:
    """Rearrange a copy of an exported FP32 graph.

    Args:
        model: Graph written by ``evit-deploy export``.
        attention: Arrangement of the attention, see `evit_deploy.precision.attention.FORMS`; "portable" leaves the
            whole graph as exported, but for what TensorRT cannot read.

    Returns:
        A graph with the same inputs and outputs, equal in FP32 up to rounding.

    Raises:
        UsageError: No such arrangement.
        ArtifactError: The graph is not as ``evit-deploy export`` writes it.
    """
    form = find_form(attention)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    result = apply_pass(result, _cast_image_first)
    result = apply_pass(result, _classify_by_tournament)
    if form is not None:
        result = apply_pass(result, lambda view: arrange_attention(view, form))
        result = apply_pass(result, merge_shortcuts)
        result = apply_pass(result, resize_upsampling)
    onnx.checker.check_model(result, full_check=True)
    return result


def apply_pass(model: onnx.ModelProto, change: Callable[[GraphView], None]) -> onnx.ModelProto:
    """Let one pass change a model; each sees the shapes and readers of the graph as the one before left it."""
    view = GraphView(model)
    change(view)
    return view.finish()


def _cast_image_first(view: GraphView) -> None:
    """Transpose(uint8), Cast, Sub(mean) → Cast, Sub(mean), Transpose."""
    image = view.graph.input[0]
    if image.type.tensor_type.elem_type != TensorProto.UINT8:
        return
    transpose, cast, subtract = chain(view, image.name, ("Transpose", "Cast", "Sub"))
    scope = Scope(view, "image")
    pixels = scope.op("Cast", image.name, to=TensorProto.FLOAT)
    mean = scope.constant("mean", view.array(subtract.input[1]).reshape(3))
    centred = scope.op("Sub", pixels, mean)
    scope.op("Transpose", centred, perm=[0, 3, 1, 2], result=subtract.output[0])
    view.replace([transpose, cast, subtract], scope.nodes)


def resize_upsampling(view: GraphView) -> None:
    """Bicubic upsampling as the export writes it (pad, convolution, DepthToSpace) → Resize."""
    for pad in [node for node in view.graph.node if node.op_type == "Pad"]:
        nodes = chain(view, pad.output[0], ("Reshape", "Conv", "DepthToSpace", "Reshape"))
        factor = view.shapes[nodes[-1].output[0]][2] // view.shapes[pad.input[0]][2]
        scope = Scope(view, nodes[2].name.rpartition(".")[0])
        upsample(scope, pad.input[0], factor, result=nodes[-1].output[0])
        view.replace([pad, *nodes], scope.nodes)


def upsample(scope: Scope, x: str, factor: int, result: str | None = None) -> str:
    """Bicubic upsampling by a whole factor: a = -0.75, half-pixel centres, as PyTorch."""
    scales = scope.constant("scales", np.array([1, 1, factor, factor], np.float32))
    return scope.op(
        "Resize", x, "", scales, result=result, mode="cubic", cubic_coeff_a=-0.75,
        coordinate_transformation_mode="half_pixel",
    )  # fmt: skip


def _classify_by_tournament(view: GraphView) -> None:
    """Everything behind the logits → Resize, tournament, casts."""
    outputs = [value.name for value in view.graph.output]
    if "classes" not in outputs:
        return
    _, classes, height, _ = view.shapes["logits"]
    behind = _behind(view, "logits")
    scope = Scope(view, "classify")
    factor = view.shapes["classes"][1] // height
    large = upsample(scope, "logits", factor)
    best, index = _best_class(scope, large, classes)
    squeeze = scope.constant("axis", np.array([1], np.int64))
    if "confidence" in outputs:
        odds = scope.reduce("ReduceSum", scope.op("Exp", scope.op("Sub", large, best)), axis=1)
        scope.op("Squeeze", scope.op("Reciprocal", odds), squeeze, result="confidence")
    scope.op("Cast", scope.op("Squeeze", index, squeeze), to=TensorProto.UINT8, result="classes")
    view.replace(behind, scope.nodes)


def _best_class(scope: Scope, large: str, classes: int) -> tuple[str, str]:
    """Largest of the classes' planes [B, classes, H, W] and its number, both [B, 1, H, W]."""
    if classes > MOST_PLAYERS:
        return scope.reduce("ReduceMax", large, axis=1), scope.op("ArgMax", large, axis=1, keepdims=1)
    planes = scope.split(large, classes, 1, axis=1)
    return _play(scope, [(plane, scope.constant("class", float(number))) for number, plane in enumerate(planes)])


def _play(scope: Scope, players: list[tuple[str, str]]) -> tuple[str, str]:
    """The (value, number) of the largest value by pairwise comparison; of equals, the one that stands first."""
    while len(players) > 1:
        winners = []
        for (left, low), (right, high) in zip(players[::2], players[1::2], strict=False):
            larger = scope.op("Greater", right, left)
            winners.append((scope.op("Max", left, right), scope.op("Where", larger, high, low)))
        players = winners + players[len(winners) * 2 :]
    return players[0]


def merge_shortcuts(view: GraphView) -> None:
    """E(x + P h) → [E, E P] [x; h] for 1×1 convolutions P and E where nothing else reads the sum.

    Only where x comes straight from a 1×1 convolution: the compiler lets that one write beside h, but copies other x.
    """
    for node in [node for node in view.graph.node if node.op_type == "Add" and view.used_once(node.output[0])]:
        (expand,) = view.consumers(node.output[0]) or (None,)
        makers = [view.producers.get(name) for name in node.input]
        if expand is None or not all(_is_pointwise(view, maker) for maker in (*makers, expand)):
            continue
        if [view.used_once(name) for name in node.input] not in ([True, False], [False, True]):
            continue
        source, project = sorted(makers, key=lambda maker: view.used_once(maker.output[0]))  # type: ignore[union-attr]
        assert source is not None and project is not None
        scope = Scope(view, expand.name.removesuffix(".Conv"))
        weight, bias = _merged(view, project, expand)
        both = scope.op("Concat", source.output[0], project.input[0], axis=1)
        tensors = [scope.constant("weight.merged", weight), scope.constant("bias.merged", bias)]
        scope.op("Conv", both, *tensors, result=expand.output[0])
        view.replace([project, node, expand], scope.nodes)


def _merged(view: GraphView, project: onnx.NodeProto, expand: onnx.NodeProto) -> tuple[Array, Array]:
    """Weights and bias of the convolution over [x; h], in FP64 and rounded once."""
    p, p_bias, e, e_bias = (
        view.array(name).astype(np.float64) for node in (project, expand) for name in node.input[1:]
    )
    p, e = p[:, :, 0, 0], e[:, :, 0, 0]
    weight = np.concatenate([e, e @ p], axis=1)[:, :, None, None]
    return weight.astype(np.float32), (e @ p_bias + e_bias).astype(np.float32)


def _is_pointwise(view: GraphView, node: onnx.NodeProto | None) -> bool:
    """Whether a node is a plain 1×1 convolution with constant weights and bias."""
    if node is None or view.dropped(node) or node.op_type != "Conv" or len(node.input) != 3:
        return False
    if node.input[1] not in view.initializers:
        return False
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    plain = view.shapes[node.input[1]][2:] == (1, 1) and attributes.get("group", 1) == 1
    return plain and set(attributes.get("strides", [1])) == {1} and not any(attributes.get("pads", [0]))


def chain(view: GraphView, start: str, kinds: tuple[str, ...]) -> list[onnx.NodeProto]:
    """The nodes of given operators that read a tensor one after the other.

    Raises:
        ArtifactError: The graph goes on differently.
    """
    nodes: list[onnx.NodeProto] = []
    for kind in kinds:
        readers = view.consumers(nodes[-1].output[0] if nodes else start)
        if len(readers) != 1 or readers[0].op_type != kind:
            raise ArtifactError(
                f"the graph goes on unexpectedly behind {nodes[-1].name if nodes else start}",
                found=", ".join(reader.op_type for reader in readers) or "its end",
                expected=kind,
                fix="export the model again with this version",
            )
        nodes += readers
    return nodes


def _behind(view: GraphView, name: str) -> list[onnx.NodeProto]:
    """All nodes that depend on a tensor."""
    reached = {name}
    nodes = []
    for node in view.graph.node:
        if reached & set(node.input):
            reached |= set(node.output)
            nodes.append(node)
    return nodes
