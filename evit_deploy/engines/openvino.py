# SPDX-License-Identifier: Apache-2.0
"""OpenVINO as a compiler: the graph in its own format, run at exactly the precision asked for."""

from __future__ import annotations

from evit_deploy.engines.compiler import Job, imported_version
from evit_deploy.engines.winograd import use_winograd
from evit_deploy.progress import Progress
from evit_deploy.runtime.backends.openvino import PRECISION_HINTS, core
from evit_deploy.targets import TargetSpec
from evit_deploy.targets.packages import pip_command

ENTRY = "model.xml"


class OpenVinoCompiler:
    """Converts to OpenVINO's intermediate representation, weights kept in FP32."""

    name = "openvino"
    backend = "openvino"
    extra = "openvino"
    keeps_plan = False

    def version(self) -> str | None:
        """Version of OpenVINO, or None."""
        return imported_version("openvino")

    def install_command(self) -> str:
        """It comes with an extra."""
        return pip_command(self.extra)

    def archs(self) -> tuple[str, ...]:
        """None: it builds for the CPU at hand."""
        return ()

    def obstacle(self, precision: str, target: TargetSpec) -> str | None:
        """BF16 needs a CPU with the instructions; FP16 would be emulated."""
        if precision not in PRECISION_HINTS:
            return f"on CPUs it computes in FP32 or BF16, not in {precision.upper()}"
        if precision == "bf16" and "BF16" not in _capabilities():
            return "this CPU has no BF16 instructions (avx512_bf16 or amx_bf16)"
        return None

    def compile(self, job: Job, progress: Progress) -> str:
        """Convert the graph; the precision is a setting at load time, checked there."""
        import openvino as ov

        with progress(f"compile with {self.name}"):
            model = core().read_model(str(job.graph))
            if job.precision == "fp32":
                use_winograd(model)
            ov.save_model(model, str(job.folder / ENTRY), compress_to_fp16=False)
        return ENTRY


def _capabilities() -> list[str]:
    return list(core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


COMPILER = OpenVinoCompiler()
