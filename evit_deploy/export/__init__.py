# SPDX-License-Identifier: Apache-2.0
"""PyTorch to clean ONNX: the rewrites, the trace, and the check against PyTorch before anything is written.

from evit_deploy.export import ExportOptions, export_model

export_model("b1-seg", Path("export/b1-seg"), ExportOptions(opset=17, weights="demo"))
"""

from evit_deploy.export.exporter import ExportOptions, export_model

__all__ = ["ExportOptions", "export_model"]
