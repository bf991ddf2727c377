# SPDX-License-Identifier: Apache-2.0
"""Measured records of an engine: does it agree with PyTorch, how fast is it, what does it cost.

from evit_deploy.profiles import profile_engine, verify_engine

report, page = profile_engine(Path("engines/b1-seg.cpu.fp32"), Path("profiles"))
"""

from evit_deploy.profiles.profile import profile_engine
from evit_deploy.profiles.report import ProfileReport
from evit_deploy.profiles.verify import verify_engine

__all__ = ["ProfileReport", "profile_engine", "verify_engine"]
