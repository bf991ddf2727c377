# SPDX-License-Identifier: Apache-2.0
"""What an engine draws while it runs: Jetson rails, NVML, RAPL."""

from evit_deploy.profiles.power.meter import measure_power
from evit_deploy.profiles.power.record import PowerRecord, Rail
from evit_deploy.profiles.power.source import Obstacle, Source
from evit_deploy.profiles.power.survey import find_source, obstacles, sources

__all__ = ["Obstacle", "PowerRecord", "Rail", "Source", "find_source", "measure_power", "obstacles", "sources"]
