# SPDX-License-Identifier: Apache-2.0
"""ReLU linear attention written in many ways, each as nodes that take an exported attention module's place.

Two families. The *plain* forms divide two sums over all tokens, as the reference does, and differ in layout. The
*convex* forms only ever form averages, as the export does, and differ from `evit_deploy.precision.attention` in one
thing each; what they do not change is that module's own code. docs/attention.md explains all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx

from evit_deploy.export.rewrite import LIFT, TokenScale
from evit_deploy.models.attention import EPSILON
from evit_deploy.precision import attention as ours
from evit_deploy.precision.attention import AttentionBlock, AttentionForm, arrange_attention, find_blocks
from evit_deploy.precision.fp16 import SMALLEST_NORMAL
from evit_deploy.precision.graph import Array, GraphView, Scope
from evit_deploy.precision.merging import merge_aggregation

_TOKENS_PER_BLOCK = 64
_ONE = ours._Axes(1)
"""Shapes without a batch axis: every form here is for batch 1."""

_TRACED = ours._Axes(1)
_TRACED.lead = (1,)
"""Shapes with it, as tracing the reference gives them."""

Change = Callable[[GraphView], None]
Qkv = tuple[str, str, str]


@dataclass(frozen=True)
class Form:
    """One formulation; the defaults are what is exported for a GPU, head by head.

    Attributes:
        sums: "ones": a row of ones under V makes the normaliser; "sum": it is a sum of its own; "blocks": means over
            blocks of tokens, averaged; "convex": K divided by its mean first.
        batch_axis: Of plain forms with channels first: tensors keep their first axis of size 1.
        layout: Of the plain forms: "channels" first, "tokens" first, or "mixed" (K and V tokens first, Q not).
        contiguous: Channels of all q, all k, all v in a row, instead of q, k, v of each head.
        joined: Both scales concatenated and computed at once.
        merged: Depthwise and grouped 1×1 convolution of the second scale as one.
        pivot: The means of k are divided by the largest of the head before they meet q.
        fold: The projection is folded into the averages of the values.
        dense: All heads multiplied at once.
    """

    sums: str = "convex"
    layout: str = "tokens"
    batch_axis: bool = False
    contiguous: bool = False
    joined: bool = True
    merged: bool = True
    pivot: bool = True
    fold: bool = True
    dense: bool = False


REFERENCE = "reference (ones row)"
_PLAIN = Form("ones", "channels", merged=False)

FORMS: dict[str, Form] = {
    REFERENCE: replace(_PLAIN, batch_axis=True),
    "no batch axis": _PLAIN,
    "separate sum": replace(_PLAIN, sums="sum"),
    "contiguous q, k, v": replace(_PLAIN, contiguous=True),
    "scales apart": replace(_PLAIN, joined=False),
    "merged aggregation": replace(_PLAIN, merged=True),
    "K, V tokens first": replace(_PLAIN, layout="mixed"),
    "all tokens first": replace(_PLAIN, layout="tokens"),
    "all tokens first, separate sum": replace(_PLAIN, layout="tokens", sums="sum"),
    "blocked means": Form("blocks"),
    "convex, separate aggregation": Form(merged=False),
    "convex, contiguous q, k, v": Form(contiguous=True),
    "convex, scales apart": Form(joined=False),
    "convex, projection apart": Form(fold=False),
    "convex, no maximum (fast)": Form(pivot=False),
    "convex, no maximum, dense": Form(pivot=False, dense=True),
}
"""Formulations written here. `changes` adds those of the package."""


def changes() -> dict[str, Change]:
    """All formulations by name, each as a change of an exported graph."""
    named = {name: _change(form) for name, form in FORMS.items()}
    named["portable (as exported)"] = lambda view: None
    for product in ("matmul", "conv"):
        for dense in (False, True):
            heads = "dense" if dense else "by head"
            form = AttentionForm(product, dense)
            named[f"ours, {product}, {heads}"] = lambda view, form=form: arrange_attention(view, form)  # type: ignore[misc]
    return named


def _change(form: Form) -> Change:
    def change(view: GraphView) -> None:
        for block in find_blocks(view):
            scope = Scope(view, f"{block.scope}.main")
            (_write_plain if form.sums in ("ones", "sum") else _write_convex)(scope, _prepared(block, form), form)
            view.replace(block.nodes, scope.nodes)

    return change


def _prepared(block: AttentionBlock, form: Form) -> AttentionBlock:
    """The block with its channels in the order of the form; plain forms need no correction in the projection."""
    if form.sums in ("ones", "sum", "blocks"):
        block = replace(block, projection=block.projection / TokenScale.of(block.tokens).correction)
    if not form.contiguous:
        return block
    order = np.arange(3 * block.channels).reshape(-1, 3, block.head_dim).swapaxes(0, 1).reshape(-1)
    return replace(block, qkv=block.qkv[order], depthwise=block.depthwise[order], mixing=block.mixing[order])


def _halves(block: AttentionBlock) -> list[AttentionBlock]:
    """The block as two, one for each scale."""
    first, second = np.split(block.projection, 2, axis=1)
    return [replace(block, projection=first), replace(block, projection=second, bias=np.zeros_like(block.bias))]


# q, k and v


def _scales(scope: Scope, block: AttentionBlock, form: Form) -> list[str]:
    """Both scales as images [1, 3C, H, W]."""
    fine = scope.op("Conv", block.source, scope.constant("qkv.weight", block.qkv))
    pads, groups = [block.depthwise.shape[2] // 2] * 4, len(block.mixing) // block.head_dim
    if form.merged:
        weight = merge_aggregation(block.depthwise, block.mixing)
        return [fine, scope.op("Conv", fine, scope.constant("aggreg.weight", weight), group=groups, pads=pads)]
    depthwise = scope.constant("depthwise.weight", block.depthwise)
    each = scope.op("Conv", fine, depthwise, group=len(block.depthwise), pads=pads)
    return [fine, scope.op("Conv", each, scope.constant("mixing.weight", block.mixing), group=groups)]


def _groups(scope: Scope, block: AttentionBlock, form: Form, layout: str) -> list[Qkv]:
    """q, k and v of both scales together, or of each: [N, heads, d] tokens first, [heads, d, N] channels first."""
    images = _scales(scope, block, form)
    if not form.contiguous:
        images = [scope.op("Concat", *images, axis=1)] if form.joined else images
        return [_split_heads(scope, block, image, layout, _axes(form)) for image in images]
    scales = [_split_contiguous(scope, block, image, layout) for image in images]
    if not form.joined:
        return scales
    axis = 1 if layout == "tokens" else 0
    q, k, v = (scope.op("Concat", *parts, axis=axis) for parts in zip(*scales, strict=True))
    return [(q, k, v)]


def _axes(form: Form) -> ours._Axes:
    return _TRACED if form.batch_axis else _ONE


def _split_heads(scope: Scope, block: AttentionBlock, image: str, layout: str, at: ours._Axes) -> Qkv:
    dim, tokens = block.head_dim, block.tokens
    if layout == "tokens":
        last = scope.op("Transpose", image, perm=[0, 2, 3, 1])
        q, k, v = scope.split(scope.reshape(last, tokens, -1, 3 * dim), 3, dim, axis=2)
    else:
        heads = scope.reshape(image, *at.shape(-1, 3 * dim, tokens))
        q, k, v = scope.split(heads, 3, dim, axis=at.axis(1))
    return q, k, v


def _split_contiguous(scope: Scope, block: AttentionBlock, image: str, layout: str) -> Qkv:
    dim, tokens, channels = block.head_dim, block.tokens, block.channels
    if layout == "tokens":
        last = scope.reshape(scope.op("Transpose", image, perm=[0, 2, 3, 1]), tokens, 3 * channels)
        parts = [scope.reshape(part, tokens, -1, dim) for part in scope.split(last, 3, channels, axis=1)]
    else:
        first = scope.reshape(image, 3 * channels, tokens)
        parts = [scope.reshape(part, -1, dim, tokens) for part in scope.split(first, 3, channels, axis=0)]
    q, k, v = parts
    return q, k, v


# Plain forms


def _write_plain(scope: Scope, block: AttentionBlock, form: Form) -> None:
    first = "channels" if form.layout == "mixed" else form.layout
    groups = _groups(scope, block, form, first)
    outs = []
    for part, (q, k, v) in zip([block] if form.joined else _halves(block), groups, strict=True):
        image = _plain(scope, part, form, scope.op("Relu", q), scope.op("Relu", k), v)
        weight = scope.constant("proj.weight", part.projection[:, :, None, None])
        outs.append(scope.op("Conv", image, weight, scope.constant("proj.bias", part.bias)))
    out = outs[0] if form.joined else scope.op("Add", *outs)
    scope.op("Add", out, block.source, result=block.result)


def _plain(scope: Scope, block: AttentionBlock, form: Form, q: str, k: str, v: str) -> str:
    """Head outputs [1, D, H, W]: K meets V over the tokens, the result meets Q, and the normaliser divides."""
    if form.layout == "tokens":
        return _plain_rows(scope, block, form, q, k, v)
    at = _axes(form)
    if form.layout == "channels":
        columns, rows = scope.op("Transpose", k, perm=at.perm(0, 2, 1)), v
    else:
        k, v = (scope.op("Transpose", x, perm=[2, 0, 1]) for x in (k, v))
        columns, rows = scope.op("Transpose", k, perm=[1, 0, 2]), scope.op("Transpose", v, perm=[1, 2, 0])
    if form.sums == "ones":
        pads = [0] * len(at.lead)
        rows = _padded(scope, rows, [*pads, 0, 0, 0, *pads, 0, 1, 0])
    product = scope.op("MatMul", scope.op("MatMul", rows, columns), q)  # [heads, d + 1, N]
    if form.sums == "ones":
        product, total = _split_last(scope, block, product, at.axis(1))
    else:
        total = scope.op("MatMul", scope.reduce("ReduceSum", columns, axis=at.axis(1)), q)
    return scope.reshape(_divided(scope, product, total), 1, block.width, *block.size)


def _plain_rows(scope: Scope, block: AttentionBlock, form: Form, q: str, k: str, v: str) -> str:
    """The same with one row for each token: q, k and v are [N, heads, d]."""
    q, v = (scope.op("Transpose", x, perm=[1, 0, 2]) for x in (q, v))
    k = scope.op("Transpose", k, perm=[1, 2, 0])
    if form.sums == "ones":
        v = _padded(scope, v, [0, 0, 0, 0, 0, 1])
    product = scope.op("MatMul", q, scope.op("MatMul", k, v))  # [heads, N, d + 1]
    if form.sums == "ones":
        product, total = _split_last(scope, block, product, 2)
    else:
        total = scope.op("MatMul", q, scope.reduce("ReduceSum", k, axis=2))
    return _image(scope, block, scope.op("Transpose", _divided(scope, product, total), perm=[1, 0, 2]))


def _divided(scope: Scope, product: str, total: str) -> str:
    return scope.op("Div", product, scope.op("Add", total, scope.constant("epsilon", EPSILON)))


def _padded(scope: Scope, x: str, pads: list[int]) -> str:
    return scope.op("Pad", x, scope.constant("pads", np.array(pads, np.int64)), scope.constant("one", 1.0))


def _split_last(scope: Scope, block: AttentionBlock, x: str, axis: int) -> tuple[str, str]:
    """The head outputs and, behind them, the normaliser."""
    sizes = scope.constant("sizes", np.array([block.head_dim, 1], np.int64))
    name = f"{x}.parts"
    parts = [f"{name}.{index}" for index in range(2)]
    scope.nodes.append(onnx.helper.make_node("Split", [x, sizes], parts, name=name, axis=axis))
    return parts[0], parts[1]


def _image(scope: Scope, block: AttentionBlock, tokens: str) -> str:
    """Map [N, heads, d] to [1, D, H, W]."""
    return scope.op("Transpose", scope.reshape(tokens, 1, *block.size, block.width), perm=[0, 3, 1, 2])


# Convex forms


def _write_convex(scope: Scope, block: AttentionBlock, form: Form) -> None:
    outs = []
    groups = _groups(scope, block, form, "tokens")
    for part, (q, k, v) in zip([block] if form.joined else _halves(block), groups, strict=True):
        if form.sums == "blocks":
            mean, kernel = _blocked(scope, part, k, v)
        else:
            weights, mean = ours._token_weights(scope, part, k, _ONE)
            kernel = _kernel(scope, part, form, weights, v)
        share = ours._channel_weights if form.pivot else _unscaled
        image = _image(scope, part, share(scope, part, q, mean, _ONE))
        outs.append(_product(scope, part, form, image, kernel))
    out = outs[0] if form.joined else scope.op("Add", *outs)
    scope.op("Add", out, block.source, result=block.result)


def _kernel(scope: Scope, block: AttentionBlock, form: Form, weights: str, v: str) -> str:
    """Projected averages [C, D], or averages [D, d] where the projection stays apart."""
    if not form.fold:
        columns = scope.op("Transpose", weights, perm=[1, 2, 0])
        product = scope.op("MatMul", columns, scope.op("Transpose", v, perm=[1, 0, 2]))
        return scope.op("Mul", product, scope.constant("unlift", 1 / LIFT))  # [heads, d, d]
    if form.dense:
        return ours._dense_values(scope, block, weights, v, _ONE)
    return scope.op("Transpose", ours._headwise_values(scope, block, weights, v, _ONE), perm=[1, 0])


def _product(scope: Scope, block: AttentionBlock, form: Form, image: str, kernel: str) -> str:
    """Output [1, C, H, W] from the channel weights [1, D, H, W]."""
    bias = scope.constant("proj.bias", block.bias)
    if form.fold:
        return scope.op("Conv", image, scope.reshape(kernel, block.channels, block.width, 1, 1), bias)
    last = scope.op("Transpose", image, perm=[0, 2, 3, 1])
    mixed = scope.reshape(last, block.tokens, -1, block.head_dim)
    heads = scope.op("MatMul", scope.op("Transpose", mixed, perm=[1, 0, 2]), kernel)  # [heads, N, d]
    out = _image(scope, block, scope.op("Transpose", heads, perm=[1, 0, 2]))
    return scope.op("Conv", out, scope.constant("proj.weight", block.projection[:, :, None, None]), bias)


def _unscaled(scope: Scope, block: AttentionBlock, q: str, mean: str, at: ours._Axes) -> str:
    """`_channel_weights` without the largest mean of the head."""
    mixed = scope.op("Mul", scope.op("Relu", q), mean)
    total = scope.reduce("ReduceSum", mixed, axis=at.axis(2))
    return scope.reshape(scope.op("Div", mixed, ours._nonzero(scope, total)), block.tokens, block.width)


def _blocked(scope: Scope, block: AttentionBlock, k: str, v: str) -> tuple[str, str]:
    """Means of k [1, heads, d] and projected averages [C, D], from sums over few tokens each."""
    dim, size = block.head_dim, min(_TOKENS_PER_BLOCK, block.tokens)
    heads, channels = block.width // dim, block.channels
    k, v = (scope.reshape(x, -1, size, heads, dim) for x in (scope.op("Relu", k), v))
    columns = scope.op("Transpose", k, perm=[0, 2, 3, 1])  # [blocks, heads, d, size]
    sums = scope.op("MatMul", columns, scope.op("Transpose", v, perm=[0, 2, 1, 3]))
    sums = scope.reshape(scope.reduce("ReduceMean", sums, axis=0), heads, dim, dim)
    means = scope.reduce("ReduceMean", scope.reduce("ReduceMean", columns, axis=3), axis=0)  # [1, heads, d, 1]
    total = scope.op("Mul", scope.reshape(means, heads, dim, 1), scope.constant("size", float(size)))
    averages = scope.op("Div", sums, scope.op("Max", total, scope.constant("floor", SMALLEST_NORMAL)))
    by_head: Array = block.projection.T.reshape(heads, dim, channels)
    values = scope.op("MatMul", averages, scope.constant("proj.weight", by_head))
    kernel = scope.op("Transpose", scope.reshape(values, block.width, channels), perm=[1, 0])
    return scope.reshape(means, 1, heads, dim), kernel
