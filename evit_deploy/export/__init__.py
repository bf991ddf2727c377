# SPDX-License-Identifier: Apache-2.0
"""PyTorch to clean ONNX: the rewrites, the trace, and the check against PyTorch before anything is written.

from evit_deploy.export import ExportOptions, export_model

export_model("b1-seg", Path("export/b1-seg"), ExportOptions(opset=17, weights="demo"))

PyTorch is imported with these names and not before: options and forms are read where nothing is exported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evit_deploy.export.exporter import ExportOptions, export_model

__all__ = ["ExportOptions", "export_model"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from evit_deploy.export import exporter

    return getattr(exporter, name)
