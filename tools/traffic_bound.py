# SPDX-License-Identifier: Apache-2.0
"""The least traffic a graph could have, and what a plan has, by kind of layer.

The bound: every convolution reads its input once and writes its output once; a residual sum is made inside a
convolution and reads its other operand once; an upsampled operand is read at its small size; the attention reads q, k
and v once and writes its output once; the engine's input and output pass once as they are. All else is in FP16.
"""

from __future__ import annotations

import math
from collections import Counter

from onnx import ModelProto

from evit_deploy.engines.plan import Plan
from evit_deploy.precision.graph import GraphView

GROUPS = {
    "attention": (".context_module.",),
    "expansions": (".inverted_conv.",),
    "depthwise": (".depth_conv.",),
    "projections": (".point_conv.",),
    "head, the rest": ("head.",),
    "stem and input": ("input_stem.op_list.0.conv.", "stages.0.op_list.0.conv."),
}
"""Kinds of layers by what is in a node's name; the first that fits. What fits none is the output."""

OTHER = "output"
_HALF, _FULL = 2, 4


def group(name: str) -> str:
    """The kind of a node."""
    return next((kind for kind, parts in GROUPS.items() if any(part in name for part in parts)), OTHER)


def least_traffic(model: ModelProto) -> Counter[str]:
    """Bytes of the bound by kind of layer, of an arranged FP32 graph with tensors for input and output."""
    view = GraphView(model)
    image, logits = model.graph.input[0].name, model.graph.output[0].name
    found = Counter({"stem and input": _FULL * _size(view, image), OTHER: _FULL * _size(view, logits)})
    for node in model.graph.node:
        if node.op_type == "Conv":
            sizes = [_size(view, name) for name in (node.input[0], node.output[0]) if name not in (image, logits)]
            found[group(node.name)] += _HALF * sum(sizes)
            if node.input[1] not in view.initializers:  # the attention's last product: q, k, v in, its input out
                found[group(node.name)] += _HALF * 4 * _size(view, node.input[0])
        elif node.op_type == "Add" and not set(node.input) & set(view.initializers):
            makers = [view.producers[name] for name in node.input if name in view.producers]
            owner = next((maker for maker in makers if maker.op_type == "Conv"), node)
            found[group(owner.name)] += _HALF * min(_size(view, _small(view, name)) for name in node.input)
    return found


def plan_traffic(plan: Plan) -> Counter[str]:
    """Bytes of a plan by kind of layer; a tensor that a kernel lists many times counts once."""
    found: Counter[str] = Counter()
    for kernel in plan.working:
        names = [name for name in kernel.layers if group(name) != OTHER]
        found[group(names[0]) if names else OTHER] += kernel.distinct_traffic
    return found


def _small(view: GraphView, name: str) -> str:
    """The tensor before upsampling."""
    maker = view.producers.get(name)
    return maker.input[0] if maker is not None and maker.op_type == "Resize" else name


def _size(view: GraphView, name: str) -> int:
    return math.prod(view.shapes[name])
