# SPDX-License-Identifier: Apache-2.0
"""The half of an INT8 build that decides: calibrate, search, judge; and INT8 only where it is worth having.

A typed FP16 graph comes in. Which convolutions become INT8 is searched for, with an oracle that tells what an
assignment costs on the target, and with held-out frames that tell what it loses. If nothing beats FP16 within the
budget there is no INT8 engine, unless it was asked for by --allow-slower. What was calibrated and judged is kept in the
user's cache, so that a search that was interrupted goes on where it stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evit_deploy.engines.int8_options import Int8Options
from evit_deploy.errors import CheckFailedError, extra
from evit_deploy.manifest import GraphInfo, Int8Info, Int8Point, Manifest, content_key
from evit_deploy.progress import Progress
from evit_deploy.runtime.verify import load_reference
from evit_deploy.targets import TargetSpec
from evit_deploy.targets.machine import cache_folder

if TYPE_CHECKING:
    import onnx

    from evit_deploy.precision.int8.calibrate import Calibration
    from evit_deploy.precision.int8.curve import Outcome, Point
    from evit_deploy.precision.int8.oracle import Oracle

QUANTISATION = 1
"""Raised whenever an INT8 graph of the same options changes, so that earlier engines and caches are made again."""

LEAST_GAIN = 0.02
"""Share of FP16's time that INT8 must save at least: less says nothing, measured or predicted, and INT8 is not free."""


class Quantisation:
    """INT8 for one export on one target.

    Args:
        export: Folder of the export.
        source: Its manifest.
        spec: The machine.
        form: Arrangement of the attention.
        options: What was asked for.

    Raises:
        UsageError: Frames that cannot be calibrated with.
        MissingExtraError: Without onnx, ONNX Runtime or what reads the frames.
    """

    def __init__(self, export: Path, source: Manifest, spec: TargetSpec, form: str, options: Int8Options) -> None:
        with extra("export", "Calibrating INT8"):
            from evit_deploy.precision.int8.samples import open_samples
        self.export, self.source, self.spec, self.form, self.options = export, source, spec, form, options
        self.frames, self.held_out = open_samples(
            options.source, source, options.images, held_out=options.judged(source.model.task)
        )

    def identity(self) -> dict[str, Any]:
        """What the quantised graph depends on, beside the export and the lowering."""
        frames = {"calibrated": self.frames.key, "judged": self.held_out.key}
        return {"form": QUANTISATION, **frames, **self.options.identity()}

    def apply(self, path: Path, info: GraphInfo, progress: Progress) -> tuple[GraphInfo, Int8Info]:
        """Replace a typed FP16 graph by the INT8 one that was found best.

        Args:
            path: The typed graph, which is overwritten.
            info: What the manifest says about it.
            progress: Told about every step.

        Returns:
            What the manifest says about the new graph, and how it came about.

        Raises:
            CheckFailedError: No assignment is worth having; the message has the numbers.
            UsageError: Activations that cannot be calibrated.
        """
        import onnx

        from evit_deploy.precision.arrange import arrange
        from evit_deploy.precision.graph import load_graph
        from evit_deploy.precision.int8.layers import find_layers
        from evit_deploy.precision.int8.place import place

        typed, exported = load_graph(path), load_graph(self.export / self.source.graph.file)
        arranged = arrange(exported, self.form)
        layers = find_layers(typed)
        oracle = self.options.oracle(self.export, typed, layers, self.spec.name)  # refuses before anything takes long
        calibration = self._calibrate(arranged, [layer.source for layer in layers], progress)
        outcome = self._search(arranged, layers, calibration, oracle, progress)
        chosen = _worth_having(outcome, self.options, self.spec)
        quantised = place(typed, chosen.layers, calibration.scales)
        onnx.save(quantised, path)
        opset = next(entry.version for entry in quantised.opset_import if entry.domain in ("", "ai.onnx"))
        report = _Report(exported, arranged, outcome, chosen, calibration, oracle)
        return replace(info, precision="int8", opset=opset), report.info(self)

    def _calibrate(self, arranged: onnx.ModelProto, tensors: list[str], progress: Progress) -> Calibration:
        from evit_deploy.precision.artifact import reference_feeds
        from evit_deploy.precision.int8.calibrate import calibrate
        from evit_deploy.precision.int8.suspect import excess_error, suspicion

        key = content_key(**self._graph_key(), frames=self.frames.key, method=self.options.method)
        found = calibrate(
            arranged, list(dict.fromkeys(tensors)), self.frames, method=self.options.method, total=len(self.frames),
            store=self._place(key, "npz"), key=key, progress=progress,
        )  # fmt: skip
        with progress("compare with the verified frames"):
            feeds = reference_feeds(load_reference(self.export, self.source), self.source)
            unlike = suspicion(excess_error(arranged, found.scales, feeds))
        return replace(found, warnings=(*self.frames.warnings, *found.warnings, *filter(None, [unlike])))

    def _search(
        self, arranged: onnx.ModelProto, layers: Any, calibration: Calibration, oracle: Oracle, progress: Progress
    ) -> Outcome:
        from evit_deploy.precision.int8.answers import Judge
        from evit_deploy.precision.int8.curve import Goal
        from evit_deploy.precision.int8.journal import Journal
        from evit_deploy.precision.int8.search import search

        key = content_key(**self._graph_key(), scales=calibration.scales, judged=self.held_out.key)
        masks = None
        if self.source.model.task == "sam":
            from evit_deploy.engines.int8_masks import masks_of

            masks = masks_of(self.export)
        judge = Judge(arranged, calibration.scales, self.held_out, self.source.model.task, masks=masks)
        return search(
            layers, oracle, judge, Goal(self.options.max_drop, self.options.max_error),
            journal=Journal(self._place(key, "jsonl"), key), minutes=self.options.minutes,
            allow_slower=self.options.allow_slower, progress=progress,
        )  # fmt: skip

    def _graph_key(self) -> dict[str, Any]:
        from evit_deploy.engines.lowering import lowering_key

        graph = self.source.files[self.source.graph.file].sha256
        return {"graph": graph, "attention": self.form, "lowering": lowering_key(), "form": QUANTISATION}

    def _place(self, key: str, suffix: str) -> Path:
        return cache_folder() / "int8" / f"{key}.{suffix}"


class _Report:
    """What a manifest says of an INT8 graph."""

    def __init__(
        self,
        exported: onnx.ModelProto,
        arranged: onnx.ModelProto,
        outcome: Outcome,
        chosen: Point,
        calibration: Calibration,
        oracle: Oracle,
    ) -> None:
        self.exported, self.arranged, self.outcome, self.chosen = exported, arranged, outcome, chosen
        self.calibration, self.oracle = calibration, oracle

    def info(self, done: Quantisation) -> Int8Info:
        """All of it.

        Args:
            done: Frames and options.
        """
        chosen, outcome, options = self.chosen, self.outcome, done.options
        used = [self.calibration.methods[name] for name in self.calibration.methods]
        return Int8Info(
            calibration=done.frames.source, images=self.calibration.images, method=options.method,
            methods=dict(sorted(Counter(used).items())), judged=done.held_out.source,
            judged_frames=chosen.score.frames, metric=metric(done), max_drop=options.max_drop,
            drop=chosen.score.drop, agreement=chosen.score.agreement, error=chosen.score.error,
            oracle=self.oracle.words, fp16_ms=self.oracle.cost(()).ms, ms=chosen.cost.ms, ratio=chosen.cost.ratio,
            ratio_low=chosen.cost.low, ratio_high=chosen.cost.high, mac_share=self._share(chosen.layers),
            layers=tuple(chosen.layers), eligible=len(outcome.full.layers), complete=outcome.complete,
            full=self._point(outcome.full), curve=tuple(self._point(point) for point in outcome.curve),
            sensitivity={one.name: one.score.drop for one in outcome.sensitivity},
            warnings=self.calibration.warnings, source=options.source, max_error=options.max_error,
            spread=chosen.score.spread,
        )  # fmt: skip

    def _point(self, point: Point) -> Int8Point:
        return Int8Point(
            len(point.layers), self._share(point.layers), point.cost.ms, point.cost.ratio, point.score.drop,
            point.score.error,
        )  # fmt: skip

    def _share(self, layers: Collection[str]) -> float:
        from evit_deploy.precision.int8.layers import mac_share

        return mac_share(self.exported, self.arranged, layers)


def metric(done: Quantisation) -> str:
    """What a drop is of: against labels where frames have them, else against what FP32 itself expects."""
    task = done.source.model.task
    if task == "seg":
        return "mIoU" if done.held_out.labelled else "expected mIoU"
    return {"cls": "expected top-1", "sam": "mask IoU"}[task]


def _worth_having(outcome: Outcome, options: Int8Options, spec: TargetSpec) -> Point:
    """The assignment that was chosen.

    Raises:
        CheckFailedError: There is none, or none that is faster by `LEAST_GAIN`.
    """
    chosen, full, reason = outcome.chosen, outcome.full, outcome.reason
    if chosen is not None and chosen.layers:
        if options.allow_slower or chosen.cost.ratio <= 1 - LEAST_GAIN:
            return chosen
        reason = f"the fastest found within the budget takes {chosen.cost.ratio:.3f} × the time of FP16"
    raise CheckFailedError(
        f"INT8 is not worth having for {spec.title}: nothing was written",
        found=f"{reason}; all {len(full.layers)} layers in INT8: {full.cost.ratio:.2f} × the time of FP16, "
        f"{full.score.drop:.2f} points lost",
        expected=f"at least {LEAST_GAIN:.0%} faster than FP16 with at most {options.max_drop:g} points lost",
        fix="build with --fp16"
        + ("" if options.allow_slower else ", or take a slower engine with --allow-slower")
        + ", or more loss with --max-drop",
    )
