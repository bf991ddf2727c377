# SPDX-License-Identifier: Apache-2.0
"""Compare ways to turn an FP32 graph into an FP16 one, and print the tables of docs/precision.md.

``python tools/compare_lowerings.py [MODEL ...] [--graph KIND] [--only CONTENDER] [--case CASE] [--no-compile]``
converts each model's graphs with every library that is installed, and looks at the result: is it valid ONNX, does
TensorRT for RTX compile it for sm80, how large is the plan, what was left in FP32, and what does it compute on a photo
when every FP16 tensor is really rounded? Rows are added to ``--rows FILE`` as JSON lines; ``--table FILE ...`` measures
nothing and prints the tables from such files. ``--out-of-range`` shows what each does with weights that do not fit.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import contextlib
import hashlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from gpu_cost import compiled_plan
from lowerings import CONTENDERS, GRAPHS, Contender, listening, make_graph
from onnx import TensorProto, helper, numpy_helper

from evit_deploy.data.images import installed_photos, read_image
from evit_deploy.engines.tensorrt_rtx import COMPILER
from evit_deploy.export.exporter import preprocess_rules
from evit_deploy.models import list_models
from evit_deploy.models.zoo import find_model
from evit_deploy.precision.attention import SCOPE
from evit_deploy.precision.emulate import tensor_types
from evit_deploy.precision.faithful import LOGITS, FaithfulGraph, with_logits
from evit_deploy.precision.ranges import measure_ranges
from evit_deploy.runtime.backends.onnxruntime import session_options
from evit_deploy.runtime.engine import available_cores
from evit_deploy.runtime.preprocess import fit_frame, normalise

Array = npt.NDArray[Any]
CASES = {"as they are": 1.0, "× 200": 200.0}
"""What q, k and v are multiplied by, which the projection takes back: the function stays the same."""

SEGMENTATION_SIZE = (256, 512)


@dataclass(frozen=True)
class Row:
    """One graph of one model, converted in one way.

    Attributes:
        model: The model.
        graph: One of `lowerings.GRAPHS`.
        contender: Who converted it.
        case: One of `CASES`.
        tokens: Largest |q|, |k| or |v| in FP32.
        seconds: Time the conversion took.
        valid: "yes", or what ONNX's full check says.
        nodes: Number of nodes.
        casts: Nodes that are Casts.
        pairs: Casts that read a Cast.
        fp32: Other nodes that make an FP32 tensor, by operator.
        epsilon: What the attention's epsilon became; "" where there is none.
        compiled: "yes", "repaired" if only after sorting nodes and correcting recorded types, what the compiler says,
            or "" if it was not asked.
        kernels: Kernels of the plan.
        megabytes: What they read and write.
        error: Relative L2 of the logits against the FP32 graph, NaN where they are not finite; or why there are none.
        said: What it printed, logged or warned about.
    """

    model: str
    graph: str
    contender: str
    case: str
    tokens: float = 0.0
    seconds: float = 0.0
    valid: str = ""
    nodes: int = 0
    casts: int = 0
    pairs: int = 0
    fp32: dict[str, int] | None = None
    epsilon: str = ""
    compiled: str = ""
    kernels: int = 0
    megabytes: float = 0.0
    error: float | str = ""
    said: tuple[str, ...] = ()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=[*list_models("cls"), *list_models("seg")])
    parser.add_argument("--graph", choices=tuple(GRAPHS), action="append")
    parser.add_argument("--only", choices=[contender.name for contender in CONTENDERS], action="append")
    parser.add_argument("--case", choices=tuple(CASES), action="append")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--resolution", type=lambda text: tuple(map(int, text.split("x"))), help="HxW")
    parser.add_argument("--rows", type=Path, default=Path("lowerings.jsonl"))
    parser.add_argument("--table", type=Path, nargs="+")
    parser.add_argument("--out-of-range", action="store_true")
    options = parser.parse_args(arguments)
    contenders = [c for c in present() if options.only is None or c.name in options.only]
    if options.table:
        rows = [Row(**json.loads(line)) for path in options.table for line in path.read_text("utf-8").splitlines()]
        print("\n".join([*summary(rows), "", *details(row for row in rows if row.contender == "ours")]))
    elif options.out_of_range:
        print("\n".join(out_of_range(contenders)))
    else:
        for name in options.models:
            for kind in options.graph or GRAPHS:
                for row in compare(
                    name, kind, contenders, options.resolution, not options.no_compile, options.case or CASES
                ):
                    print(*details([row])[2:], flush=True)
                    with options.rows.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(row)) + "\n")


def present() -> list[Contender]:
    """The contenders that are installed; the others are named."""
    for contender in CONTENDERS:
        if contender.version is None:
            print(f"{contender.name}: skipped, {contender.package} is not installed")
    return [contender for contender in CONTENDERS if contender.version is not None]


def compare(
    name: str,
    kind: str,
    contenders: Sequence[Contender],
    resolution: tuple[int, int] | None = None,
    compiles: bool = True,
    cases: Iterable[str] = tuple(CASES),
) -> Iterator[Row]:
    """Convert one graph of one model in every way."""
    spec = find_model(name)
    size = resolution or (SEGMENTATION_SIZE if spec.task == "seg" else spec.resolution)
    image = frame(name, kind, size)
    compiled: dict[str, dict[str, Any]] = {}
    for case in cases:
        graph = make_graph(kind, name, size, CASES[case])
        expected, largest = _run(graph, image), largest_token(graph, image)
        for contender in contenders:
            row = Row(name, kind, contender.name, case, largest)
            try:
                start = time.perf_counter()
                with listening() as said:
                    typed = contender.convert(_copy(graph), image)
                row = replace(row, seconds=time.perf_counter() - start, valid=_check(typed))
                row = replace(row, said=tuple(dict.fromkeys(said)))
                key = _structure(typed)
                if compiles and key not in compiled:
                    compiled[key] = _compile(typed)
                row = replace(row, **compiled.get(key, {}))
                repaired = _repaired(typed, graph)
                if row.compiled not in ("", "yes", "repaired") and (again := _compile(repaired))["compiled"] == "yes":
                    compiled[key] = {**again, "compiled": "repaired"}
                    row = replace(row, **compiled[key])
                row = count(row, repaired)
                onnx.checker.check_model(repaired, full_check=True)
                yield replace(row, error=_error(repaired, image, expected))
            except Exception as error:  # whatever a library does is a result here
                yield replace(row, valid=row.valid or _brief(error), error=_brief(error))


def largest_token(graph: onnx.ModelProto, image: Array) -> float:
    """Largest |q|, |k| or |v| of any attention."""
    ranges = measure_ranges(graph, [{graph.graph.input[0].name: image}])
    return max(found.largest for found in ranges if found.op == "Concat" and SCOPE in found.name)


def frame(name: str, kind: str, size: tuple[int, int]) -> Array:
    """A photo that an installed package ships, as the graph takes it."""
    rules = preprocess_rules(find_model(name))
    fitted = fit_frame(read_image(installed_photos()[0]), rules, *size)[None]
    return fitted if kind == "arranged images" else normalise(fitted, rules)


def count(row: Row, typed: onnx.ModelProto) -> Row:
    """Count what a library put into a graph and what it left."""
    types = tensor_types(typed)
    made_by = {name: node for node in typed.graph.node for name in node.output}
    casts = [node for node in typed.graph.node if node.op_type == "Cast"]
    pairs = [node for node in casts if node.input[0] in made_by and made_by[node.input[0]].op_type == "Cast"]
    wide = Counter(
        node.op_type
        for node in typed.graph.node
        if node.op_type not in ("Cast", "Constant") and any(types[name] == TensorProto.FLOAT for name in node.output)
    )
    return replace(
        row, nodes=len(typed.graph.node), casts=len(casts), pairs=len(pairs), fp32=dict(wide), epsilon=epsilon(typed)
    )


def epsilon(model: onnx.ModelProto) -> str:
    """Values and types of constants that are added to a divisor."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"}
    made_by = {name: node for node in model.graph.node for name in node.output}

    def source(name: str) -> str:
        while name in made_by and made_by[name].op_type == "Cast":
            name = made_by[name].input[0]
        return name

    found = set()
    for divisor in [source(node.input[1]) for node in model.graph.node if node.op_type == "Div"]:
        if divisor in made_by and made_by[divisor].op_type == "Add":
            for name in map(source, made_by[divisor].input):
                if name in constants:
                    value = numpy_helper.to_array(constants[name])
                    found.add(f"{float(value.ravel()[0]):.1e} {value.dtype}")
    return ", ".join(sorted(found))


def _check(model: onnx.ModelProto) -> str:
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # several kinds
        return _brief(error)
    return "yes"


def _structure(model: onnx.ModelProto) -> str:
    """What decides about kernels: nodes and types, without the values of weights."""
    result = _copy(model)
    kinds = [f"{tensor.name} {tensor.data_type} {tensor.dims}" for tensor in result.graph.initializer]
    del result.graph.initializer[:]
    return hashlib.sha256(result.SerializeToString(deterministic=True) + repr(kinds).encode()).hexdigest()


def _compile(model: onnx.ModelProto) -> dict[str, Any]:
    """What the compiler makes of a graph, as fields of a row."""
    if COMPILER.version() is None:
        return {}
    with tempfile.TemporaryDirectory() as name:
        try:
            plan = compiled_plan(model, Path(name))
        except Exception as error:  # the compiler's refusals, and graphs that cannot be read at all
            return {"compiled": _brief(error)}
    return {"compiled": "yes", "kernels": len(plan.working), "megabytes": plan.traffic / 1e6}


def _error(model: onnx.ModelProto, image: Array, expected: Array) -> float:
    """Relative L2 of the logits, computed faithfully."""
    given = model.graph.input[0]
    dtype = helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type)
    found = FaithfulGraph(model).infer({given.name: image.astype(dtype)})[LOGITS].astype(np.float64)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _run(graph: onnx.ModelProto, image: Array) -> Array:
    """Logits of an FP32 graph, in FP64."""
    data = with_logits(graph).SerializeToString()
    session = ort.InferenceSession(data, session_options(available_cores()), providers=["CPUExecutionProvider"])
    result: Array = session.run([LOGITS], {graph.graph.input[0].name: image})[0].astype(np.float64)
    return result


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result


def _repaired(model: onnx.ModelProto, source: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with sorted nodes and true types of inner tensors: graphs that are wrong only in that can be used."""
    result = _copy(model)
    graph = result.graph
    del graph.value_info[:]
    known = {"", *(value.name for value in graph.input), *(tensor.name for tensor in graph.initializer)}
    waiting = list(model.graph.node)
    del graph.node[:]
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        if not ready:
            raise ValueError(f"nobody makes the inputs of {waiting[0].name}")
        graph.node.extend(ready)
        known.update(name for node in ready for name in node.output)
        waiting = [node for node in waiting if not known.issuperset(node.output)]
    types = tensor_types(result)
    for value in onnx.shape_inference.infer_shapes(source, data_prop=True).graph.value_info:
        if value.name in types:
            added = graph.value_info.add()
            added.CopyFrom(value)
            added.type.tensor_type.elem_type = types[value.name]
    return result


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def out_of_range(contenders: Iterable[Contender], name: str = "b0-cls") -> list[str]:
    """Lines on what becomes of a weight of 1e5 and one of 1e-8, the largest and smallest of one convolution."""
    lines = []
    for contender in contenders:
        graph = make_graph("plain", name, (64, 64))
        node = next(node for node in graph.graph.node if node.op_type == "Conv")
        tensor = next(tensor for tensor in graph.graph.initializer if tensor.name == node.input[1])
        values = numpy_helper.to_array(tensor).copy()
        values.flat[:2] = 1e5, 1e-8
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        image = frame(name, "plain", (64, 64))
        expected = _run(graph, image)
        try:
            with listening() as said:
                typed = contender.convert(_copy(graph), image)
            node = next(node for node in typed.graph.node if node.op_type == "Conv")
            found = [
                numpy_helper.to_array(t)
                for t in typed.graph.initializer
                if tuple(t.dims) == values.shape and t.name.startswith(node.input[1].split("_cast")[0])
            ] or [np.zeros(2, np.float32)]
            kept = ", ".join(f"{float(value):.3g}" for value in found[0].flat[:2])
            lines.append(
                f"{contender.name}: {kept} in {found[0].dtype};"
                f" relative L2 {_error(_repaired(typed, graph), image, expected):.1e};"
                f" said: {' / '.join(dict.fromkeys(said))[:400] or 'nothing'}"
            )
        except Exception as error:  # whatever a library does is a result here
            lines.append(f"{contender.name}: {_brief(error)}")
    return lines


DETAIL = ("model", "graph", "by", "q, k, v", "largest", "s", "valid", "compiles", "kernels", "MB", "nodes", "Casts",
          "pairs", "FP32 nodes", "epsilon", "rel. L2")  # fmt: skip
SUMMARY = ("graph", "q, k, v", "by", "family", "models", "valid", "compile", "kernels", "MB", "Casts", "pairs",
           "FP32 nodes", "rel. L2, worst", "s")  # fmt: skip


def details(rows: Iterable[Row]) -> list[str]:
    """A Markdown table of single rows."""
    lines = _head(DETAIL)
    for row in rows:
        cells = (
            row.model, row.graph, row.contender, row.case, f"{row.tokens:.0f}", f"{row.seconds:.1f}",
            row.valid[:60], row.compiled[:60], row.kernels, f"{row.megabytes:.0f}", row.nodes, row.casts, row.pairs,
            sum((row.fp32 or {}).values()), row.epsilon, _number(row.error),
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def summary(rows: Sequence[Row]) -> list[str]:
    """A Markdown table of families, with the range over their models and the worst error."""
    lines = _head(SUMMARY)
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.graph, row.case, row.contender, family(row.model)), []).append(row)
    for (graph, case, contender, kind), group in groups.items():
        compiled = [row for row in group if row.compiled in ("yes", "repaired")]
        asked = [row for row in group if row.compiled]
        cells = (
            graph, case, contender, kind, len(group), f"{sum(row.valid == 'yes' for row in group)}",
            len(compiled) if asked else "-", _range([row.kernels for row in compiled]),
            _range([round(row.megabytes) for row in compiled]), _range([row.casts for row in group]),
            _range([row.pairs for row in group]), _range([sum((row.fp32 or {}).values()) for row in group]),
            _worst([row.error for row in group]), f"{max(row.seconds for row in group):.1f}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def family(model: str) -> str:
    """B or L, and the task: "B-seg"."""
    return f"{model[0].upper()}-{model.partition('-')[2].partition('-')[0]}"


def _head(names: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


def _range(values: Sequence[int]) -> str:
    if not values:
        return "-"
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"


def _worst(errors: Sequence[float | str]) -> str:
    """The largest error, and how many are not finite or never came about."""
    numbers = [error for error in errors if isinstance(error, float)]
    finite = [error for error in numbers if np.isfinite(error)]
    parts = [f"{max(finite):.1e}"] if finite else []
    if len(numbers) > len(finite):
        parts.append(f"{len(numbers) - len(finite)} NaN")
    if len(errors) > len(numbers):
        parts.append(f"{len(errors) - len(numbers)} cannot run")
    return ", ".join(parts)


def _number(value: float | str) -> str:
    return value[:60] if isinstance(value, str) else f"{value:.1e}"


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
