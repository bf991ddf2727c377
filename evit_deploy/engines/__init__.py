# SPDX-License-Identifier: Apache-2.0
"""Typed ONNX to engine: one small file per compiler, and the build that verifies what they make.

from evit_deploy.engines import build_engine

build_engine(Path("export/b1-seg"), Path("engines/b1-seg.cpu.fp32"), target="cpu", precision="fp32")
"""

from evit_deploy.engines.build import build_engine
from evit_deploy.engines.compiler import COMPILERS, Compiler, choose_arch, choose_compiler, get_compiler

__all__ = ["COMPILERS", "Compiler", "build_engine", "choose_arch", "choose_compiler", "get_compiler"]
