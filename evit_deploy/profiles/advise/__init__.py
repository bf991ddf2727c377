# SPDX-License-Identifier: Apache-2.0
"""Which model for a frame budget? Published or measured accuracy against predicted or measured latency."""

from evit_deploy.profiles.advise.advice import Advice, Wanted, advise
from evit_deploy.profiles.advise.choice import Choice, Timing
from evit_deploy.profiles.advise.plot import draw_frontier

__all__ = ["Advice", "Choice", "Timing", "Wanted", "advise", "draw_frontier"]
