# SPDX-License-Identifier: Apache-2.0
"""Reading the plan from the engine inspector, in the forms of TensorRT 10 and 11."""

from __future__ import annotations

import json
from typing import Any

import pytest

from evit_deploy.engines.inspector import UnreadableError, parse_inspector
from evit_deploy.engines.plan import with_flops

SHAPE = [1, 16, 32, 64]
PIXELS = 32 * 64


def tensor(name: str, channels: int, **fields: str) -> dict[str, Any]:
    """A tensor as the inspector lists it."""
    return {"Name": name, "Location": "Device", "Dimensions": [1, channels, 32, 64], **fields}


def layers(half: dict[str, str], linear: dict[str, str], wide: dict[str, str]) -> list[dict[str, Any]]:
    """A reformat, a classic convolution, two kernels of the graph compiler, and entries that run nothing."""
    return [
        {
            "Name": "Reformatting CopyNode for Input Tensor 0 to first + relu",
            "LayerType": "Reformat",
            "Inputs": [tensor("x", 8, **linear)],
            "Outputs": [tensor("Reformatted Input Tensor 0 to first + relu", 8, **wide)],
            "ParameterType": "Reformat",
            "Origin": "REFORMAT",
            "TacticValue": "0x00000000000003e8",
            "StreamId": 0,
            "Metadata": "[ONNX Layer: first]",
        },
        {
            "Name": "first + relu",
            "LayerType": "CaskConvolution",
            "Inputs": [tensor("Reformatted Input Tensor 0 to first + relu", 8, **wide)],
            "Outputs": [tensor("b", 16, **wide)],
            "ParameterType": "Convolution",
            "Kernel": [3, 3],
            "Weights": {"Type": "Half", "Count": 1152},
            "Bias": {"Type": "Float", "Count": 16},
            "Activation": "RELU",
            "TacticName": "sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16",
            "StreamId": 0,
            "Metadata": "[ONNX Layer: first]\x1f[ONNX Layer: relu]",
        },
        {"Name": "wait_0", "LayerType": "wait", "Inputs": [], "Outputs": [], "TacticName": "", "Metadata": ""},
        {
            "Name": "second_myl0_1",
            "LayerType": "gemm",
            "Inputs": [tensor("b", 16, **half)],
            "Outputs": [tensor("c", 32, **half)],
            "Constants": [{"Name": "w", "Dimensions": [32, 16], **half}, {"Name": "one", "Dimensions": [], **half}],
            "TacticName": "sm80_xmma_gemm_f16f16_f16f32_f32_tn",
            "StreamId": 0,
            "Metadata": "[ONNX Layer: second]",
        },
        {
            "Name": "__myl_CastMove_myl0_2",
            "LayerType": "kgen",
            "Inputs": [tensor("c", 32, **half)],
            "Outputs": [{"Name": "y", "Dimensions": [1, 32, 32, 64], **_typed(half, "UInt8")}],
            "TacticName": "__myl_CastMove_0x1",
            "Metadata": "",
        },
        {
            "Name": "shuffle",
            "LayerType": "NoOp",
            "Inputs": [tensor("y", 32, **linear)],
            "Outputs": [tensor("z", 32, **linear)],
            "TacticValue": "0x0000000000000000",
            "Metadata": "",
        },
    ]


def _typed(fields: dict[str, str], dtype: str) -> dict[str, str]:
    return {**fields, next(iter(fields)): dtype}


TEN = {
    "Layers": layers(
        {"Format/Datatype": "Half"},
        {"Format/Datatype": "Row major linear FP32"},
        {"Format/Datatype": "Channel major FP16 format where channel % 8 == 0"},
    ),
    "Bindings": ["x", "y"],
}
ELEVEN = {
    "Layers": layers(
        {"Datatype": "Half", "Format": "(NHWC) Channel major format"},
        {"Datatype": "Float", "Format": "Row major linear FP32 format (kLINEAR)"},
        {"Datatype": "Half", "Format": "Channel major FP16 format where channel % 8 == 0 (kHWC8)"},
    ),
    "I/O Tensors": [
        {
            "Name": "x",
            "IOMode": "Input",
            "DataType": "Float",
            "Dimensions": [1, 8, 32, 64],
            "Location": "Device",
            "IsShapeInferenceIO": False,
            "ProfileInfo": [{"MinShape": [1, 8, 32, 64], "OptShape": [1, 8, 32, 64], "MaxShape": [1, 8, 32, 64]}],
        }
    ],
    "Engine Metadata": {"Multi-Device": "Disabled"},
}


@pytest.mark.parametrize("answer", [TEN, ELEVEN], ids=["10", "11"])
def test_both_forms_give_one_plan(answer: dict[str, Any]) -> None:
    kernels = parse_inspector(json.dumps(answer))
    reformat, first, wait, second, cast, shuffle = kernels
    assert [kernel.type for kernel in kernels] == ["Reformat", "CaskConvolution", "wait", "gemm", "kgen", "NoOp"]
    assert (reformat.bytes_read, reformat.bytes_written) == (8 * PIXELS * 4, 8 * PIXELS * 2)
    assert (first.bytes_read, first.bytes_written, first.constants) == (8 * PIXELS * 2, 16 * PIXELS * 2, 1152 * 2 + 64)
    assert (second.layers, second.constants) == (("second",), (32 * 16 + 1) * 2)
    assert [tensor.dtype for tensor in (*cast.inputs, *cast.outputs)] == ["Half", "UInt8"]
    assert (cast.bytes_read, cast.bytes_written) == (32 * PIXELS * 2, 32 * PIXELS)
    assert first.layers == ("first", "relu")
    assert [kernel.works for kernel in kernels] == [True, True, False, True, True, False]
    assert (wait.traffic, shuffle.traffic) == (0, 2 * 32 * PIXELS * 4)
    counted = with_flops(kernels, {"first": 100, "second": 10})
    assert [kernel.flops for kernel in counted] == [0, 100, 0, 10, 0, 0]


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("Row major linear FP32", "Float"),
        ("Row major linear FP16 format", "Half"),
        ("Two wide channel vectorized row major FP16 format", "Half"),
        ("Channel major FP16 format where channel == 4 and column stride % 32 == 0", "Half"),
        ("Thirty-two wide channel vectorized row major Int8 format.", "Int8"),
        ("Row major INT8 format where column stride % 64 == 0", "Int8"),
        ("Row major linear BOOL", "Bool"),
        ("Row major linear Int32", "Int32"),
        ("Row major linear INT32", "Int32"),
        ("Row major linear Int64 format", "Int64"),
        ("Channel major UInt8 format", "UInt8"),
        ("Row major linear BFloat16 format", "BFloat16"),
        ("Row major linear FP8 format", "FP8"),
        ("Float", "Float"),
        ("Half", "Half"),
    ],
)
def test_words_for_types(text: str, dtype: str) -> None:
    layer = {**TEN["Layers"][3], "Inputs": [tensor("b", 16, **{"Format/Datatype": text})]}  # type: ignore[index]
    (kernel,) = parse_inspector(json.dumps({"Layers": [layer], "Bindings": []}))
    assert kernel.inputs[0].dtype == dtype


def _changed(**fields: Any) -> dict[str, Any]:
    return {"Layers": [{**TEN["Layers"][3], **fields}], "Bindings": []}  # type: ignore[index]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "no list 'Layers'"),
        ('{"Layers": {}}', "no list 'Layers'"),
        ('{"Layers": []}', "neither 'Bindings' .* nor 'I/O Tensors'"),
        ('{"Layers": ["first + relu"], "Bindings": []}', r"a layer without details: first \+ relu"),
        ('{"Layers": [{}], "Bindings": []}', "no field Name in layer 'None'"),
        (_changed(Inputs=[{"Name": "b", "Dimensions": [1]}]), "no field Format/Datatype in layer 'second_myl0_1'"),
        (_changed(Inputs=[tensor("b", -1, **{"Format/Datatype": "Half"})]), "a tensor without a fixed size"),
        (_changed(Inputs=[tensor("b", 1, **{"Format/Datatype": "N/A due to dynamic shapes"})]), "unknown type 'N/A"),
        (_changed(Inputs=[tensor("b", 1, **{"Format/Datatype": "Unknown format"})]), "of unknown type"),
        (_changed(Inputs=5), "in layer 'second_myl0_1'"),
        (_changed(Inputs=["b"]), "in layer 'second_myl0_1'"),
        (_changed(Metadata=None), "in layer 'second_myl0_1'"),
        (_changed(Weights={"Type": "Half"}), "no field Count"),
    ],
)
def test_what_cannot_be_read(answer: str | dict[str, Any], words: str) -> None:
    with pytest.raises(UnreadableError, match=words):
        parse_inspector(answer if isinstance(answer, str) else json.dumps(answer))
