# SPDX-License-Identifier: Apache-2.0
"""How long every layer takes, from each library's own profiler: one small file per library."""

from evit_deploy.profiles.layer_times.measure import measure_layers
from evit_deploy.profiles.layer_times.record import LayerTime, LayerTimes

__all__ = ["LayerTime", "LayerTimes", "measure_layers"]
