# SPDX-License-Identifier: Apache-2.0
"""Engines on a GPU for tests of measurements: the runtime's double with events that take the time, or a real GPU."""

from tests.runtime.cuda.conftest import make_double, no_warnings, real_machine

__all__ = ["make_double", "no_warnings", "real_machine"]
