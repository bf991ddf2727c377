# SPDX-License-Identifier: Apache-2.0
"""One attention module whose q, k and v are its input, as a graph in each arrangement, and its exact answer.

The input is [1, 4·heads·d, H, W]: per head q, k, v (d channels each), then heads·d channels of zeros that take the
output; so the shortcut adds nothing to it. The second scale equals the first.
"""

from __future__ import annotations

import io
import warnings
from types import SimpleNamespace

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from evit_deploy.export.rewrite import StaticAttention, TokenScale
from evit_deploy.export.trace import lift_constants
from evit_deploy.precision.attention import FORMS, AttentionBlock, write_block
from evit_deploy.precision.fp16 import lower_fp16
from evit_deploy.precision.graph import GraphView, Scope


def attention_graph(form: str, heads: int, dim: int, size: tuple[int, int]) -> onnx.ModelProto:
    """The module in FP32, arranged."""
    return _portable(heads, dim, size) if FORMS[form] is None else _arranged(form, heads, dim, size)


def typed_attention(form: str, heads: int, dim: int, size: tuple[int, int]) -> onnx.ModelProto:
    """The module, typed in FP16."""
    model, notes = lower_fp16(attention_graph(form, heads, dim, size))
    assert not notes
    return model


def as_input(q: np.ndarray, k: np.ndarray, v: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pack q, k and v [N, heads, d] into the module's input, float32."""
    tokens, heads, dim = q.shape
    channels = np.concatenate([q, k, v], axis=2).reshape(tokens, 3 * heads * dim)
    image = np.concatenate([channels, np.zeros((tokens, heads * dim))], axis=1)
    return np.ascontiguousarray(image.T.reshape(1, -1, *size)).astype(np.float32)


def unpack(out: np.ndarray, heads: int, dim: int) -> np.ndarray:
    """The module's output as [N, heads, d]."""
    channels = out.reshape(out.shape[1], -1)[3 * heads * dim :]
    return channels.reshape(heads, dim, -1).transpose(2, 0, 1)


def exact_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """ReLU linear attention in FP64; zero where a token attends to nothing."""
    q, k, v = np.maximum(q, 0).astype(np.float64), np.maximum(k, 0).astype(np.float64), v.astype(np.float64)
    above = np.einsum("nhc,hce->nhe", q, np.einsum("nhc,nhe->hce", k, v))
    below = np.einsum("nhc,hc->nh", q, k.sum(0))[..., None]
    return np.where(below > 0, above / np.where(below > 0, below, 1), 0)


def _weights(heads: int, dim: int) -> dict[str, np.ndarray]:
    width = heads * dim
    qkv = np.eye(3 * width, 4 * width, dtype=np.float32)[:, :, None, None]
    depthwise = np.ones((3 * width, 1, 1, 1), np.float32)
    mixing = np.tile(np.eye(dim, dtype=np.float32), (3 * heads, 1))[:, :, None, None]
    projection = np.zeros((4 * width, 2 * width), np.float32)
    projection[3 * width :, :width] = np.eye(width)
    return {"qkv": qkv, "depthwise": depthwise, "mixing": mixing, "projection": projection}


def _arranged(form: str, heads: int, dim: int, size: tuple[int, int]) -> onnx.ModelProto:
    channels, tokens = 4 * heads * dim, size[0] * size[1]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, *size])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, channels, *size])
    graph = helper.make_graph([], "attention", [image], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    view = GraphView.__new__(GraphView)  # an empty graph has no shapes to infer
    view.model, view.graph, view.opset = model, model.graph, 17
    scope = Scope(view, "attention")
    arrays = _weights(heads, dim)
    arrays["projection"] = arrays["projection"] * np.float32(TokenScale.of(tokens).correction)
    block = AttentionBlock(
        scope="attention", nodes=(), source="x", result="y", bias=np.zeros(channels, np.float32), batch=1, size=size,
        **arrays,
    )  # fmt: skip
    write_block(scope, block, FORMS[form])
    model.graph.node.extend(scope.nodes)
    onnx.checker.check_model(model, full_check=True)
    return model


def _portable(heads: int, dim: int, size: tuple[int, int]) -> onnx.ModelProto:
    width = heads * dim
    arrays = {name: torch.from_numpy(array) for name, array in _weights(heads, dim).items()}
    qkv = nn.Conv2d(4 * width, 3 * width, 1, bias=False)
    depthwise = nn.Conv2d(3 * width, 3 * width, 1, groups=3 * width, bias=False)
    mixing = nn.Conv2d(3 * width, 3 * width, 1, groups=3 * heads, bias=False)
    projection = nn.Conv2d(2 * width, 4 * width, 1)
    for conv, name in ((qkv, "qkv"), (depthwise, "depthwise"), (mixing, "mixing")):
        conv.weight.data = arrays[name]
    projection.weight.data, projection.bias.data = arrays["projection"][:, :, None, None], torch.zeros(4 * width)
    for conv in (qkv, depthwise, mixing, projection):
        conv.requires_grad_(False)
    reference = SimpleNamespace(
        head_dim=dim, qkv=qkv, aggreg=nn.ModuleList([nn.Sequential(depthwise, mixing)]),
        proj=SimpleNamespace(conv=projection),
    )  # fmt: skip
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            StaticAttention(reference), (torch.zeros(1, 4 * width, *size),), buffer, dynamo=False, opset_version=17,
            input_names=["x"], output_names=["y"],
        )  # fmt: skip
    model = onnx.load_from_string(buffer.getvalue())
    lift_constants(model)
    return model
