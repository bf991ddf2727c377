# SPDX-License-Identifier: Apache-2.0
"""Reading the plan from a build log: what is in a real one, what may be added, and what must be there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.engines.build_log import parse_log
from evit_deploy.engines.plan import Kernel, PlanTensor
from evit_deploy.errors import UnavailableError

CONVOLUTION = (
    "Name: first_myl0_1, LayerType: correlation, Inputs: [ { Name: b.1_2_myl0, Dimensions: [1,8,32,64], "
    "Strides: [16384,1,512,8], StrideOrder: [3,0,2,1], Datatype: Half, Format: (NHWC) Channel major format }], "
    "Constants: [ { Name: w, Dimensions: [16,8,3,3], Strides: [72,1,24,8], StrideOrder: [3,0,2,1], Datatype: Half, "
    "Format: (NHWC) Channel major format }, { Name: c, Dimensions: [1], Strides: [1], StrideOrder: [0], "
    "Datatype: Float, Format: (Linear) Row major linear format }], Outputs: [ { Name: y, Dimensions: [1,16,32,64], "
    "Strides: [32768,1,1024,16], StrideOrder: [3,0,2,1], Datatype: Half, Format: (NHWC) Channel major format }], "
    "TacticName: __myelin_CASK_STUB, StreamId: 0, "
    "Metadata: [ONNX Layer: first]\x1f[ONNX Layer: /net/relu[0]]__gemm_from_conv1x1"
)
WAIT = "Name: wait_1, LayerType: wait, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 1, Metadata: "
AFTER = "\nI/O Tensors:\n Name: x, IOMode: Input, DataType: Half, Dimensions: [1,8,32,64]\n\nEngine Metadata:\n None"
NAMES = st.text("abcXYZ019_./", min_size=1, max_size=10)
SHAPES = st.lists(st.integers(0, 300), max_size=4).map(tuple)
TENSORS = st.builds(lambda name, shape: PlanTensor(name, shape, "Float", 4 * _product(shape)), NAMES, SHAPES)
KERNELS = st.builds(
    Kernel,
    name=NAMES,
    type=st.sampled_from(["gemm", "kgen", "wait"]),
    inputs=st.lists(TENSORS, max_size=3).map(tuple),
    outputs=st.lists(TENSORS, max_size=3).map(tuple),
    constants=st.just(0),
    layers=st.lists(NAMES, max_size=3, unique=True).map(tuple),
)
EXTRAS = st.dictionaries(
    st.sampled_from(["Alpha", "BetaGamma", "Tile Size"]),
    st.sampled_from(["", "3", "[1,2]", "[ { Name: q, Dimensions: [9] }, { Depth: [ { A: 1 }] }]", "a, b", "(x) y"]),
)


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _list(tensors: tuple[PlanTensor, ...], extras: str) -> str:
    items = (
        f"{{ Name: {tensor.name}{extras}, Dimensions: [{','.join(map(str, tensor.shape))}], Datatype: {tensor.dtype} }}"
        for tensor in tensors
    )
    return f"[ {', '.join(items)}]" if tensors else "[]"


def _line(kernel: Kernel, extras: dict[str, str]) -> str:
    more = "".join(f", {key}: {value}" for key, value in extras.items())
    nodes = "\x1f".join(f"[ONNX Layer: {layer}]" for layer in kernel.layers)
    return (
        f"Name: {kernel.name}{more}, LayerType: {kernel.type}, Inputs: {_list(kernel.inputs, more)}{more}, "
        f"Outputs: {_list(kernel.outputs, more)}, TacticName: , Metadata: {nodes}"
    )


def test_a_line_of_a_real_log() -> None:
    (kernel,) = parse_log(["something before", f"Layers:\n{CONVOLUTION}\n{AFTER}"])
    assert kernel == Kernel(
        name="first_myl0_1",
        type="correlation",
        inputs=(PlanTensor("b.1_2_myl0", (1, 8, 32, 64), "Half", 32768),),
        outputs=(PlanTensor("y", (1, 16, 32, 64), "Half", 65536),),
        constants=16 * 8 * 9 * 2 + 4,
        layers=("first", "/net/relu[0]"),
    )


def test_waits_are_read_and_do_not_work() -> None:
    kernels = parse_log([f"Layers:\n{WAIT}\n{CONVOLUTION}"])
    assert [kernel.works for kernel in kernels] == [False, True]


@pytest.mark.parametrize(
    "messages", [["Layers:", CONVOLUTION, WAIT, AFTER], [f"Layers:\n{CONVOLUTION}", f"{WAIT}\n{AFTER}"]]
)
def test_the_section_may_come_in_several_messages(messages: list[str]) -> None:
    assert len(parse_log(messages)) == 2


def test_the_last_section_counts() -> None:
    kernels = parse_log([f"Layers:\n{WAIT}\n{WAIT}\n", f"Layers:\n{CONVOLUTION}\n{AFTER}"])
    assert [kernel.name for kernel in kernels] == ["first_myl0_1"]


@given(st.lists(st.tuples(KERNELS, EXTRAS), min_size=1, max_size=4))
def test_fields_that_are_not_known_are_skipped(rows: list[tuple[Kernel, dict[str, str]]]) -> None:
    text = "\n".join(_line(kernel, extras) for kernel, extras in rows)
    assert parse_log(["Layers:\n" + text + "\n" + AFTER]) == tuple(kernel for kernel, _ in rows)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "no line 'Layers:'"),
        (CONVOLUTION.replace("LayerType", "Sort"), "no field LayerType"),
        (CONVOLUTION.replace("Outputs", "Results"), "no field Outputs"),
        (CONVOLUTION.replace("Datatype: Float", "Datatype: Triple"), "tensors of type 'Triple'"),
        (CONVOLUTION.replace("Datatype", "Type"), "no field Datatype"),
        (CONVOLUTION.replace("[1,16,32,64]", "[-1,16,32,64]"), "without a fixed size"),
        (CONVOLUTION.replace("[1,16,32,64]", "[N,16,32,64]"), "invalid literal"),
        (CONVOLUTION.replace("Inputs: [", "Inputs: "), "brackets"),
        (CONVOLUTION[:300], "brackets that do not close"),
        (CONVOLUTION.partition("Inputs")[0] + "Inputs: none, Outputs: []", "where a list is expected"),
    ],
)  # fmt: skip
def test_a_section_of_another_form_is_put_into_words(line: str, words: str) -> None:
    with pytest.raises(UnavailableError, match="cannot read") as caught:
        parse_log([f"Layers:\n{line}\n{AFTER}"])
    assert words in str(caught.value.found)


def test_a_log_without_a_plan() -> None:
    with pytest.raises(UnavailableError, match="cannot read"):
        parse_log(["Engine generation completed.", CONVOLUTION])


@given(st.text(alphabet="[]{}:, \x1fabNDI1", max_size=80))
def test_any_other_line_is_an_error_in_words(text: str) -> None:
    with pytest.raises(UnavailableError):
        parse_log([f"Layers:\nName: {text}"])
