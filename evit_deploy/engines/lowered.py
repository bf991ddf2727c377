# SPDX-License-Identifier: Apache-2.0
"""A lowered engine for a GPU: what it depends on, how it is written, and how it is proven before anything compiles it.

The typed graph is rearranged and typed from the export. An INT8 one goes on from FP16: calibrated, searched and judged
(`evit_deploy.engines.quantise`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import evit_deploy
from evit_deploy.agreement import budget_for, require
from evit_deploy.engines.flops import write_math
from evit_deploy.engines.int8_options import UNLIKE, Int8Options, require_options
from evit_deploy.engines.lowering import Fixed, emulated, lower_graph, lowering_key
from evit_deploy.engines.quantise import Quantisation
from evit_deploy.manifest import EngineInfo, Manifest, content_key, utc_now
from evit_deploy.progress import Progress
from evit_deploy.runtime.reference import FIXED_POINT, REFERENCE
from evit_deploy.runtime.verify import load_reference, verify
from evit_deploy.targets import TargetSpec
from evit_deploy.targets.machine import describe


class Lowering:
    """A graph about to be lowered: what it depends on, and how it is written.

    Args:
        export: Folder of the export.
        source: Its manifest.
        spec: The machine to lower for.
        precision: "fp32", "fp16" or "int8".
        form: Arrangement of the attention.
        asked: Whether that was asked for by name.
        fixed: Sizes of a mask decoder; None for any other graph.
        int8: What INT8 was asked for; None for another precision.
    """

    def __init__(
        self,
        export: Path,
        source: Manifest,
        spec: TargetSpec,
        precision: str,
        form: str,
        asked: bool,
        fixed: Fixed | None = None,
        int8: Int8Options | None = None,
    ) -> None:
        require_options(precision, int8)
        self.export, self.source, self.spec, self.precision, self.fixed = export, source, spec, precision, fixed
        reason = "as asked for" if asked else f"the choice for {spec.name}"
        if form == "conv" and source.graph.batch != (1, 1):
            form = "matmul"  # a convolution has one set of weights for the whole batch
            reason = "because 'conv' is for batch 1"
        # A mask decoder has another attention, which stays as exported.
        self.form = "portable" if fixed else form
        self.notes = () if fixed else (f"attention arranged as '{form}', {reason}",)
        self.quantisation = Quantisation(export, source, spec, self.form, int8) if int8 else None
        more: dict[str, Any] = {"fixed": [fixed.prompts, fixed.points]} if fixed else {}
        if self.quantisation:
            more["int8"] = self.quantisation.identity()
        self.key = content_key(
            **inputs_key(source), target=spec.name, precision=precision, attention=self.form, lowering=lowering_key(),
            **more,
        )  # fmt: skip

    def write(self, folder: Path, progress: Progress) -> Manifest:
        """Write graph, reference and what the graph computes into a folder; prove the graph.

        Raises:
            CheckFailedError: The typed graph does not agree with PyTorch, or INT8 is not worth having.
        """
        load_reference(self.export, self.source).save(folder, FIXED_POINT.get(self.precision))
        info = self.source.graph
        typed = "fp16" if self.quantisation else self.precision
        with progress(f"lower to {typed}"):
            path = self.export / info.file
            graph, notes = lower_graph(path, folder / info.file, info, typed, self.form, self.fixed)
        int8 = None
        if self.quantisation:
            graph, int8 = self.quantisation.apply(folder / graph.file, graph, progress)
        write_math(folder / graph.file, graph.batch[0])
        engine = EngineInfo(
            self.spec.name, self.precision, "lowered", "", "", "", graph.file, describe(), self.form,
            (*self.notes, *notes), int8=int8,
        )  # fmt: skip
        manifest = engine_manifest(replace(self.source, graph=graph), self.key, engine)
        return _emulated(folder, manifest, self.precision, progress)


def inputs_key(source: Manifest) -> dict[str, str]:
    """What every engine of an export depends on."""
    return {
        "export": source.key,
        "graph": source.files[source.graph.file].sha256,
        "reference": source.files[REFERENCE].sha256,
        "tool": evit_deploy.__version__,
    }


def engine_manifest(source: Manifest, key: str, engine: EngineInfo) -> Manifest:
    """The manifest of an engine of an export, with that one's agreement and no files yet."""
    tool = evit_deploy.__version__
    return replace(source, kind="engine", key=key, created=utc_now(), tool=tool, engine=engine, files={})


def _emulated(folder: Path, manifest: Manifest, precision: str, progress: Progress) -> Manifest:
    """Run the reference frames through the typed graph's emulation, and keep the comparison.

    Raises:
        CheckFailedError: It does not agree with PyTorch.
    """
    reference = load_reference(folder, manifest)
    with progress("prepare the emulation"):
        infer, method = emulated(folder, manifest)
    with progress("verify against PyTorch", len(reference.names)) as step:
        agreement = verify(infer, manifest, reference, budget_for(precision, manifest.model.task), step.advance)
    fix = "evit-deploy export … --check-range shows which tensors are large"
    if precision == "int8":
        fix = UNLIKE
    require(agreement, f"the typed {precision} graph", fix)
    return replace(manifest, agreement=replace(agreement, method=method))
