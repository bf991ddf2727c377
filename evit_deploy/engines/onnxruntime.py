# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime as a compiler: its graph optimisations done once, ahead of time.

Only the memory layout is left for the moment of loading: its block size belongs to one kind of CPU, and an engine is
copied to others.
"""

from __future__ import annotations

from evit_deploy.engines.compiler import Job, imported_version
from evit_deploy.progress import Progress
from evit_deploy.runtime.backends.onnxruntime import session_options
from evit_deploy.runtime.engine import available_cores
from evit_deploy.targets import TargetSpec
from evit_deploy.targets.packages import pip_command

ENTRY = "model.optimised.onnx"


class OnnxRuntimeCompiler:
    """Saves the graph as ONNX Runtime would run it."""

    name = "onnxruntime"
    backend = "onnxruntime"
    extra = "onnxruntime"
    keeps_plan = False

    def version(self) -> str | None:
        """Version of ONNX Runtime, or None."""
        return imported_version("onnxruntime")

    def install_command(self) -> str:
        """It comes with an extra."""
        return pip_command(self.extra)

    def archs(self) -> tuple[str, ...]:
        """None: it builds for the CPU at hand."""
        return ()

    def obstacle(self, precision: str, target: TargetSpec) -> str | None:
        """FP32 only: its CPU provider has next to no kernels for other floats."""
        return None if precision == "fp32" else f"its CPU provider computes in FP32, not in {precision.upper()}"

    def compile(self, job: Job, progress: Progress) -> str:
        """Optimise the graph for this CPU and save it."""
        import onnxruntime as ort

        options = session_options(available_cores())
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(job.folder / ENTRY)
        with progress(f"compile with {self.name}"):
            ort.InferenceSession(str(job.graph), options, providers=["CPUExecutionProvider"])
        return ENTRY


COMPILER = OnnxRuntimeCompiler()
