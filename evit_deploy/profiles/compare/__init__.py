# SPDX-License-Identifier: Apache-2.0
"""Profiles side by side: which differences are real, and whether the conditions allow to compare at all."""

from evit_deploy.profiles.compare.comparison import Comparison, compare
from evit_deploy.profiles.compare.finding import find_profiles
from evit_deploy.profiles.compare.gate import require_not_slower
from evit_deploy.profiles.compare.rows import Row
from evit_deploy.profiles.compare.significance import Ratio

__all__ = ["Comparison", "Ratio", "Row", "compare", "find_profiles", "require_not_slower"]
