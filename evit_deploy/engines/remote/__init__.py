# SPDX-License-Identifier: Apache-2.0
"""Engines compiled and verified on the device that runs them, over SSH.

from evit_deploy.engines.remote import build_remote

build_remote(Path("engines/b1-seg.orin.fp16"), Path("engines/b1-seg.orin.fp16"), "nvidia@orin.local")
"""

from evit_deploy.engines.remote.build import build_remote
from evit_deploy.engines.remote.fleet import Outcome, build_on_all
from evit_deploy.engines.remote.ssh import LinkLostError

__all__ = ["LinkLostError", "Outcome", "build_on_all", "build_remote"]
