# SPDX-License-Identifier: Apache-2.0
"""The plan of a finished engine, read from the log of the TensorRT family at verbosity "detailed".

The log holds a section of one line per kernel, after a line ``Layers:`` and up to the next line of another form:

    Name: …, LayerType: gemm, Inputs: [ { Name: …, Dimensions: [1,64,32,32], …, Datatype: Half, … }, …],
    Constants: […], Outputs: […], TacticName: …, StreamId: 0, Metadata: [ONNX Layer: a][ONNX Layer: b]__mark

The format is not documented, so fields that are not needed here may be anything; those that are needed must be there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from evit_deploy.engines.plan import Kernel, PlanTensor, byte_size
from evit_deploy.errors import UnavailableError

_SECTION = "Layers:"
_FIELD = r", (?=[A-Z][\w ]*:)"
_ITEM = r",\s*(?=\{)"
_NODE = "[ONNX Layer: "


def parse_log(messages: Iterable[str]) -> tuple[Kernel, ...]:
    """Read the kernels of the finished engine; their operations are not in the log and stay 0.

    Args:
        messages: The log, message by message; a message may hold many lines.

    Raises:
        UnavailableError: There is no plan in the log, or not in the form known here.
    """
    lines = _section([line for message in messages for line in message.split("\n")])
    if not lines:
        raise _unreadable("no line 'Layers:' with kernels after it")
    return tuple(_kernel(line) for line in lines)


def _section(lines: list[str]) -> list[str]:
    """The lines of the last section: a compiler that starts over writes another one."""
    starts = [number for number, line in enumerate(lines) if line.strip() == _SECTION]
    found: list[str] = []
    for line in lines[starts[-1] + 1 :] if starts else []:
        if not line.startswith("Name: "):
            break
        found.append(line.strip())
    return found


def _kernel(line: str) -> Kernel:
    try:
        fields = _fields(line)
        return Kernel(
            name=fields["Name"],
            type=fields["LayerType"],
            inputs=tuple(_tensors(fields["Inputs"])),
            outputs=tuple(_tensors(fields["Outputs"])),
            constants=sum(tensor.bytes for tensor in _tensors(fields.get("Constants", "[]"))),
            layers=onnx_nodes(fields.get("Metadata", "")),
        )
    except KeyError as error:
        raise _unreadable(f"no field {error.args[0]} in: {line[:100]}") from error
    except ValueError as error:
        raise _unreadable(f"{error}, in: {line[:100]}") from error


def _tensors(text: str) -> Iterator[PlanTensor]:
    """Read ``[ { Name: …, Dimensions: [1,2], Datatype: Half, … }, …]``."""
    if not (text.startswith("[") and text.endswith("]")):
        raise ValueError(f"'{text[:20]}' where a list is expected")
    for item in _split(text[1:-1].strip(), _ITEM):
        fields = _fields(item.strip("{} "))
        shape = tuple(int(size) for size in fields["Dimensions"].strip("[] ").split(",") if size)
        yield PlanTensor(fields["Name"], shape, fields["Datatype"], byte_size(shape, fields["Datatype"]))


def onnx_nodes(metadata: str) -> tuple[str, ...]:
    """Names in ``[ONNX Layer: a][ONNX Layer: b]``; a mark such as "__gemm_from_conv1x1" may follow a bracket."""
    return tuple(dict.fromkeys(part.rpartition("]")[0] for part in metadata.split(_NODE)[1:]))


def _fields(text: str) -> dict[str, str]:
    """Read ``Key: value, Key: value``."""
    pairs = (part.partition(":") for part in _split(text, _FIELD))
    return {key: value.strip() for key, _, value in pairs}


def _split(text: str, separator: str) -> Iterator[str]:
    """Split where brackets do not enclose the separator; of an empty text nothing is left."""
    depth = start = 0
    for token in re.finditer(rf"[\[{{]|[\]}}]|{separator}", text):
        if token[0] in ("[", "{"):
            depth += 1
        elif token[0] in ("]", "}"):
            depth -= 1
        elif depth == 0:
            yield text[start : token.start()]
            start = token.end()
    if depth:
        raise ValueError("brackets that do not close")
    if text:
        yield text[start:]


def _unreadable(found: str) -> UnavailableError:
    return UnavailableError(
        "the compiler shows the finished engine in a form that this version cannot read",
        found=found,
        expected="what the release of TensorRT for RTX writes that evit-deploy[rtx] names",
        fix="pip install 'evit-deploy[rtx]'",
    )
