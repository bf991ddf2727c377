# SPDX-License-Identifier: Apache-2.0
"""The exported attention, rearranged for a GPU: the same algebra with fewer kernels and less traffic.

What is exported (`evit_deploy.export.rewrite.StaticAttention`) suits every backend, but TensorRT's optimiser makes 14
kernels of a block. The arrangements here were found by compiling candidates and reading plans (docs/attention.md):

* The second scale's depthwise convolution and the 1×1 convolution behind it, linear both, become one grouped one.
* Tokens stand before channels, as they lie in memory on a GPU, so that the reshapes cost nothing.
* The projection is folded into the averages of the values, d×d numbers per head: softmax attention could not do this.
  The head outputs are never formed; one product maps the token's weights straight to the block's output.
* That product is written as a 1×1 convolution whose weights are computed, because the compiler adds the shortcut inside
  a convolution and not inside a MatMul. A convolution has one set of weights: batches above 1 take a MatMul.
* Where it is little arithmetic, all heads are multiplied at once and what mixes two heads is set to zero: one kernel
  less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.export.rewrite import LIFT, TokenScale
from evit_deploy.precision.graph import Array, GraphView, Scope
from evit_deploy.precision.merging import merge_aggregation

SCOPE = ".context_module."
AGGREGATION = "aggreg.weight"
DENSE_PRODUCTS = 650e6
"""Most multiply-adds of a block's two small products for which all heads are multiplied at once, to save a kernel."""


@dataclass(frozen=True)
class AttentionBlock:
    """One attention module with its shortcut, as found in a graph.

    Attributes:
        scope: Prefix of its node names.
        nodes: All its nodes.
        source: Tensor it reads, [B, C, H, W].
        result: Tensor it makes, same shape.
        qkv: Weights [3C, C, 1, 1].
        depthwise: Weights [3C, 1, k, k] of the second scale.
        mixing: Weights [3C, d, 1, 1] of the second scale.
        projection: Weights [C, 2C], `TokenScale.correction` included.
        bias: Bias [C] of the projection.
        batch: Batch; -1 if open.
        size: (H, W).
    """

    scope: str
    nodes: tuple[onnx.NodeProto, ...]
    source: str
    result: str
    qkv: Array
    depthwise: Array
    mixing: Array
    projection: Array
    bias: Array
    batch: int
    size: tuple[int, int]

    @property
    def head_dim(self) -> int:
        """Channels d of one head."""
        return int(self.mixing.shape[1])

    @property
    def channels(self) -> int:
        """Channels C of input and output."""
        return int(self.projection.shape[0])

    @property
    def width(self) -> int:
        """Channels of all heads of both scales, D = 2C."""
        return int(self.projection.shape[1])

    @property
    def tokens(self) -> int:
        """Number of tokens N = H · W."""
        return self.size[0] * self.size[1]


@dataclass(frozen=True)
class AttentionForm:
    """How the attention is arranged.

    Attributes:
        product: "conv": the last product is a convolution with computed weights; "matmul": it is a MatMul.
        dense: All heads are multiplied at once; None: where that pays.
    """

    product: str = "conv"
    dense: bool | None = None


FORMS = {
    "portable": None,
    "conv": AttentionForm("conv"),
    "matmul": AttentionForm("matmul", dense=False),
}
"""Arrangements by name; "portable" leaves the graph as exported."""


def find_form(name: str) -> AttentionForm | None:
    """The arrangement of a name; None for the one that leaves the graph as exported.

    Raises:
        UsageError: No such arrangement.
    """
    if name not in FORMS:
        raise UsageError(f"there is no attention '{name}'", expected=f"one of {', '.join(FORMS)}")
    return FORMS[name]


def find_blocks(view: GraphView) -> list[AttentionBlock]:
    """All attention modules of an exported graph.

    Raises:
        ArtifactError: A module is there but not as ``evit-deploy export`` writes it.
    """
    scopes: dict[str, list[onnx.NodeProto]] = {}
    for node in view.graph.node:
        prefix, found, _ = node.name.partition(SCOPE)
        if found:
            scopes.setdefault(prefix, []).append(node)
    return [_read_block(view, prefix + SCOPE.rstrip("."), nodes) for prefix, nodes in scopes.items()]


def arrange_attention(view: GraphView, form: AttentionForm) -> None:
    """Rearrange every attention module of a graph; exact algebra, equal in FP32 up to rounding.

    Raises:
        ArtifactError: There is none, or one is not as ``evit-deploy export`` writes it.
    """
    blocks = find_blocks(view)
    if not blocks:
        raise ArtifactError(
            "the graph has no attention module",
            expected=f"nodes named …{SCOPE}…, as evit-deploy export writes them",
            fix="export the model with this version",
        )
    for block in blocks:
        scope = Scope(view, f"{block.scope}.main")
        write_block(scope, block, form)
        view.replace(block.nodes, scope.nodes)


def merged_factors(model: onnx.ModelProto) -> dict[str, tuple[Array, Array]]:
    """The small weights that an exported graph's merged convolutions come from, by the name of the merged weight."""
    blocks = find_blocks(GraphView(model))
    return {f"{block.scope}.main.{AGGREGATION}": (block.depthwise, block.mixing) for block in blocks}


def _read_block(view: GraphView, scope: str, nodes: list[onnx.NodeProto]) -> AttentionBlock:
    convs = [node for node in nodes if node.op_type == "Conv"]
    shortcuts = [node for node in nodes if node.op_type == "Add"]
    if len(convs) != 4 or len(shortcuts) != 1:
        raise ArtifactError(
            f"{scope} is not an attention module as evit-deploy exports it",
            found=f"{len(convs)} convolutions and {len(shortcuts)} sums",
            expected="4 and 1",
            fix="export the model again with this version",
        )
    qkv, depthwise, mixing, projection = convs
    batch, _, height, width = view.shapes[qkv.input[0]]
    return AttentionBlock(
        scope=scope,
        nodes=tuple(nodes),
        source=qkv.input[0],
        result=shortcuts[0].output[0],
        qkv=view.array(qkv.input[1]),
        depthwise=view.array(depthwise.input[1]),
        mixing=view.array(mixing.input[1]),
        projection=view.array(projection.input[1])[:, :, 0, 0],
        bias=view.array(projection.input[2]),
        batch=batch,
        size=(height, width),
    )


def _dense_pays(block: AttentionBlock) -> bool:
    """Whether one kernel less is worth a matrix [D, D] for all heads: few tokens would not repay its traffic."""
    products = (block.tokens + block.channels) * block.width**2
    return block.tokens >= block.width and products <= DENSE_PRODUCTS


class _Axes:
    """Shapes and axes behind a batch axis that batch 1 leaves out: an axis of size 1 keeps the compiler from fusing."""

    def __init__(self, batch: int) -> None:
        self.lead = () if batch == 1 else (batch,)

    def shape(self, *sizes: int) -> tuple[int, ...]:
        return (*self.lead, *sizes)

    def axis(self, index: int) -> int:
        return index + len(self.lead)

    def perm(self, *order: int) -> list[int]:
        return [*range(len(self.lead)), *(self.axis(index) for index in order)]


def write_block(scope: Scope, block: AttentionBlock, form: AttentionForm) -> None:
    """Add the nodes of one attention module to a scope; the last one makes `block.result`."""
    at = _Axes(block.batch)
    q, k, v = _tokens(scope, block, at)
    weights, mean = _token_weights(scope, block, k, at)
    mixed = _channel_weights(scope, block, q, mean, at)
    dense = _dense_pays(block) if form.dense is None else form.dense
    make_values = _dense_values if dense else _headwise_values
    values = make_values(scope, block, weights, v, at)
    if form.product == "conv" and block.batch == 1:
        kernel = values if dense else scope.op("Transpose", values, perm=[1, 0])
        _product_as_conv(scope, block, mixed, kernel)
    else:
        columns = scope.op("Transpose", values, perm=at.perm(1, 0)) if dense else values
        _product_as_matmul(scope, block, mixed, columns)


def _tokens(scope: Scope, block: AttentionBlock, at: _Axes) -> list[str]:
    """q, k and v of both scales, each [N, heads, d] behind the batch."""
    dim = block.head_dim
    fine = scope.op("Conv", block.source, scope.constant("qkv.weight", block.qkv))
    merged = scope.constant(AGGREGATION, merge_aggregation(block.depthwise, block.mixing))
    pad = block.depthwise.shape[2] // 2
    coarse = scope.op("Conv", fine, merged, group=len(block.mixing) // dim, pads=[pad] * 4)
    scales = scope.op("Transpose", scope.op("Concat", fine, coarse, axis=1), perm=[0, 2, 3, 1])
    tokens = scope.reshape(scales, *at.shape(block.tokens, block.width // dim, 3 * dim))
    return scope.split(tokens, 3, dim, axis=at.axis(2))


def _token_weights(scope: Scope, block: AttentionBlock, k: str, at: _Axes) -> tuple[str, str]:
    """Weights over the tokens [N, heads, d], of sum LIFT, and LIFT times the means [1, heads, d] of k."""
    scale = TokenScale.of(block.tokens)
    k = scope.op("Mul", scope.op("Relu", k), scope.constant("lift", LIFT))
    mean = scope.reduce("ReduceMean", k, axis=at.axis(0))
    small = k if scale.shift == 1 else scope.op("Mul", k, scope.constant("shift", scale.shift))
    filled = mean if scale.filled == 1 else scope.op("Mul", mean, scope.constant("filled", scale.filled))
    ratio = scope.op("Div", small, _nonzero(scope, filled))
    return scope.op("Mul", ratio, scope.constant("weight", scale.weight)), mean


def _channel_weights(scope: Scope, block: AttentionBlock, q: str, mean: str, at: _Axes) -> str:
    """Weights over the channels of a head, [N, D], of sum 1 per head."""
    largest = _nonzero(scope, scope.reduce("ReduceMax", mean, axis=at.axis(2)))
    share = scope.op("Mul", scope.op("Div", mean, largest), scope.constant("share", LIFT / block.head_dim))
    mixed = scope.op("Mul", scope.op("Relu", q), share)
    mixed = scope.op("Div", mixed, _nonzero(scope, scope.reduce("ReduceSum", mixed, axis=at.axis(2))))
    return scope.reshape(mixed, *at.shape(block.tokens, block.width))


def _dense_values(scope: Scope, block: AttentionBlock, weights: str, v: str, at: _Axes) -> str:
    """Projected averages of the values [C, D], all heads at once."""
    dim, width = block.head_dim, block.width
    flat = [scope.reshape(x, *at.shape(block.tokens, width)) for x in (v, weights)]
    crossed = scope.op("MatMul", scope.op("Transpose", flat[0], perm=at.perm(1, 0)), flat[1])  # [D, D]
    own = np.kron(np.eye(width // dim, dtype=np.float32), np.full((dim, dim), 1 / LIFT, np.float32))
    averages = scope.op("Mul", crossed, scope.constant("own_head", own))
    return scope.op("MatMul", scope.constant("proj.weight", block.projection), averages)


def _headwise_values(scope: Scope, block: AttentionBlock, weights: str, v: str, at: _Axes) -> str:
    """Projected averages of the values [D, C], head by head."""
    dim, width, channels = block.head_dim, block.width, block.channels
    columns = scope.op("Transpose", weights, perm=at.perm(1, 2, 0))  # [heads, d, N]
    rows = scope.op("Transpose", v, perm=at.perm(1, 0, 2))  # [heads, N, d]
    averages = scope.op("Mul", scope.op("MatMul", columns, rows), scope.constant("unlift", 1 / LIFT))
    by_head = block.projection.T.reshape(width // dim, dim, channels)
    projected = scope.op("MatMul", averages, scope.constant("proj.weight", by_head))  # [heads, d, C]
    return scope.reshape(projected, *at.shape(width, channels))


def _product_as_conv(scope: Scope, block: AttentionBlock, mixed: str, kernel: str) -> None:
    """Output from the channel weights [N, D] and the values [C, D], for batch 1."""
    image = scope.op("Transpose", scope.reshape(mixed, 1, *block.size, block.width), perm=[0, 3, 1, 2])
    weight = scope.reshape(kernel, block.channels, block.width, 1, 1)
    out = scope.op("Conv", image, weight, scope.constant("proj.bias", block.bias))
    scope.op("Add", out, block.source, result=block.result)


def _product_as_matmul(scope: Scope, block: AttentionBlock, mixed: str, columns: str) -> None:
    """Output from the channel weights [B, N, D] and the values [B, D, C]."""
    out = scope.op("Add", scope.op("MatMul", mixed, columns), scope.constant("proj.bias", block.bias))
    image = scope.reshape(out, block.batch, *block.size, block.channels)
    scope.op("Add", scope.op("Transpose", image, perm=[0, 3, 1, 2]), block.source, result=block.result)


def _nonzero(scope: Scope, x: str) -> str:
    """x where it is positive, else 1, as `evit_deploy.export.rewrite.nonzero`."""
    positive = scope.op("Greater", x, scope.constant("zero", 0.0))
    return scope.op("Where", positive, x, scope.constant("one", 1.0))
