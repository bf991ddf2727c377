# SPDX-License-Identifier: Apache-2.0
"""What an assignment of INT8 to convolutions costs on a device where two engines were profiled: FP16, and all in INT8.

Layers between them are known from measurement; what is put together from both is an estimate. It is exact at both ends.
In between, a layer takes the time that it took in the engine of its type, and a map that passes from a convolution in
FP16 to one in INT8 is quantised by a kernel of its own, priced like those that were measured.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from evit_deploy.errors import UsageError, extra
from evit_deploy.manifest import content_key
from evit_deploy.precision.int8.oracle import Cost
from evit_deploy.profiles.compare.conditions import differences
from evit_deploy.profiles.int8_pieces import Piece, pieces_of, quantising
from evit_deploy.profiles.latency import Latency
from evit_deploy.profiles.layer_times.record import LayerTimes
from evit_deploy.profiles.reading import read_record
from evit_deploy.profiles.report import ProfileReport

if TYPE_CHECKING:
    import onnx

    from evit_deploy.precision.int8.layers import Layer

_FIX = "evit-deploy profile both engines on the same device: one of --fp16, one of --int8 --allow-slower --max-drop 100"


def timed_oracle(fp16: Path, int8: Path, graph: onnx.ModelProto, layers: Sequence[Layer]) -> TimedOracle:
    """An oracle from two profiles of one device.

    Args:
        fp16: Folder of the profile of the FP16 engine.
        int8: The same of the engine with all these layers in INT8.
        graph: What is quantised: typed FP16, of fixed sizes, without Q/DQ.
        layers: The convolutions that may be INT8.

    Raises:
        UsageError: Profiles that are not there, not of this network, or not of one device in one state.
        ArtifactError: A damaged profile.
        MissingExtraError: onnx is not installed.
    """
    reports = _report(fp16, "fp16"), _report(int8, "int8")
    decisive = [str(one) for one in differences(*reports) if one.decisive or one.name == "weights"]
    if decisive:
        raise UsageError("the two profiles do not compare", found="; ".join(decisive), fix=_FIX)
    names = [layer.name for layer in layers]
    _require_all(reports[1], int8, names)
    inputs = [
        (value.name, tuple(side.dim_value for side in value.type.tensor_type.shape.dim)) for value in graph.graph.input
    ]
    known = [(tensor.name, tensor.shape) for tensor in reports[0].manifest.graph.inputs]
    if inputs != known:
        raise UsageError(
            f"{fp16} is a profile of another graph", found=f"inputs {known}", expected=f"{inputs}", fix=_FIX
        )
    return TimedOracle(*reports, graph, layers)


class TimedOracle:
    """Costs from two profiles.

    Args:
        fp16: Profile of the FP16 engine.
        int8: Profile of the engine with all these layers in INT8.
        graph: The typed FP16 graph.
        layers: The convolutions that may be INT8.

    Attributes:
        words: Who says so.
        key: Hash of everything that costs depend on.

    Raises:
        UsageError: A layer that one of the profiles does not name.
        MissingExtraError: onnx is not installed.
    """

    def __init__(
        self, fp16: ProfileReport, int8: ProfileReport, graph: onnx.ModelProto, layers: Sequence[Layer]
    ) -> None:
        with extra("export", "Reading a graph"):
            from evit_deploy.profiles.predict.typed_graph import TypedGraph
        wide, narrow = _times(fp16), _times(int8)
        self._sources = {layer.name: layer.source for layer in layers}
        self._pieces = pieces_of(wide, narrow, self._sources)
        self._owner = {name: number for number, piece in enumerate(self._pieces) for name in piece.nodes}
        if strange := [name for name in self._sources if name not in self._owner]:
            raise UsageError("the profiles name no such layer", found=strange[0], fix=_FIX)
        self._alone = quantising(narrow)
        self._makers = _makers(graph, self._sources.values(), self._owner)
        self._graph = TypedGraph(graph)
        self._ends = fp16.engine_infer.p50, int8.engine_infer.p50
        self._noise = max(_spread(fp16.engine_infer), _spread(int8.engine_infer))
        self._rest = self._ends[1] - self._ends[0] - self._known(frozenset(self._sources))
        where = fp16.environment.get("gpu") or fp16.environment.get("processor", "an unknown device")
        self.words = f"timed layer by layer on {where} ({fp16.engine}, {int8.engine})"
        self.key = content_key(
            fp16=asdict(wide), int8=asdict(narrow), ends=self._ends, noise=self._noise, layers=self._sources
        )

    def cost(self, layers: Collection[str]) -> Cost:
        """What the graph costs with these layers in INT8; all others are FP16.

        The interval holds what no layer's time explains, all that was estimated, and how calls varied.

        Raises:
            UsageError: A layer that may not be INT8.
        """
        chosen = frozenset(layers)
        if strange := sorted(chosen - self._sources.keys()):
            raise UsageError("a layer may not be INT8", found=strange[0], expected="layers that find_layers found")
        if not chosen:
            return Cost(self._ends[0], 1.0, 1.0, 1.0)
        share, borders = len(chosen) / len(self._sources), self._borders(chosen)
        ms = self._ends[0] + self._known(chosen) + share * self._rest + borders
        unsure = abs(self._rest) * share * (1 - share) + borders + self._noise * share * ms
        low, high = (max(ms + sign * unsure, 0.0) / self._ends[0] for sign in (-1, 1))
        return Cost(ms, ms / self._ends[0], low, high)

    def _known(self, chosen: frozenset[str]) -> float:
        """Milliseconds that measured layers add: those in INT8, those that write it, those that only quantise."""
        changed = self._narrow(chosen)
        sources = {self._sources[name] for name in chosen}
        changed |= {
            number for name in sources if (number := self._makers[name]) is not None and not self._at(number).layers
        }
        gained = sum(self._at(number).int8_ms - self._at(number).fp16_ms for number in changed)
        return gained + sum(ms for name, ms in self._alone.items() if name in sources)

    def _narrow(self, chosen: frozenset[str]) -> set[int]:
        """Pieces all of whose layers are INT8; of one that is not, FP16's time is taken."""
        return {number for number, piece in enumerate(self._pieces) if piece.layers and piece.layers <= chosen}

    def _borders(self, chosen: frozenset[str]) -> float:
        """Milliseconds of quantising what FP16 convolutions give to INT8 ones, which neither engine did."""
        narrow, total = self._narrow(chosen), 0.0
        for name in {self._sources[layer] for layer in chosen} - self._alone.keys():
            number = self._makers[name]
            if number is not None and self._at(number).layers and number not in narrow:
                total += self._conversion(name, self._at(number))
        return total

    def _conversion(self, tensor: str, maker: Piece) -> float:
        """Like the measured ones, by size; without any, half of its maker's time, which writes all of it as well."""
        if self._rate is None:
            return maker.fp16_ms / 2
        return self._rate * self._graph.elements([tensor])

    @cached_property
    def _rate(self) -> float | None:
        """Milliseconds per element of layers that only quantise."""
        sizes = sum(self._graph.elements([name]) for name in self._alone if name in self._makers)
        return sum(ms for name, ms in self._alone.items() if name in self._makers) / sizes if sizes else None

    def _at(self, number: int) -> Piece:
        return self._pieces[number]


def _makers(graph: onnx.ModelProto, tensors: Collection[str], owner: dict[str, int]) -> dict[str, int | None]:
    """The piece that makes each tensor; of a node that no layer names, the piece before it."""
    nodes = {name: node for node in graph.graph.node for name in node.output}
    found: dict[str, int | None] = {}
    for tensor in tensors:
        node = nodes.get(tensor)
        while node is not None and node.name not in owner:
            node = nodes.get(node.input[0]) if node.input else None
        found[tensor] = None if node is None else owner[node.name]
    return found


def _report(folder: Path, precision: str) -> ProfileReport:
    """The profile of an engine of one graph, with times of its layers.

    Raises:
        UsageError: There is none.
    """
    report = read_record(folder).report
    expected = f"the profile of an engine of one graph in {precision}, with times of its layers"
    if not isinstance(report, ProfileReport):
        found = "no profile" if report is None else "an engine of several parts"
        raise UsageError(f"{folder} does not tell what INT8 costs", found=found, expected=expected, fix=_FIX)
    info = report.manifest.engine
    if info is None or info.precision != precision:
        found = f"precision {info.precision if info else 'unknown'}"
        raise UsageError(f"{folder} does not tell what INT8 costs", found=found, expected=expected, fix=_FIX)
    times = report.layer_times
    if times is None or not any(layer.layers for layer in times.layers):
        found = "no times of layers" if times is None else "layers that do not name their nodes"
        raise UsageError(f"{folder} does not tell what INT8 costs", found=found, expected=expected, fix=_FIX)
    return report


def _require_all(report: ProfileReport, folder: Path, layers: Collection[str]) -> None:
    """The INT8 engine has these very layers in INT8.

    Raises:
        UsageError: It has not.
    """
    info = report.manifest.engine
    there = frozenset(info.int8.layers) if info is not None and info.int8 is not None else frozenset()
    if there != frozenset(layers):
        raise UsageError(
            f"{folder} is not a profile with all layers in INT8", found=f"{len(there & set(layers))} of {len(layers)}",
            expected=f"all {len(layers)} that may be", fix=_FIX,
        )  # fmt: skip


def _times(report: ProfileReport) -> LayerTimes:
    assert report.layer_times is not None, "held to by _report"
    return report.layer_times


def _spread(latency: Latency) -> float:
    """Half the distance of the quartiles, relative to the median."""
    return (latency.percentile(75) - latency.percentile(25)) / 2 / latency.p50
