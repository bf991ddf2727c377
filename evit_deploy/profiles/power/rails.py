# SPDX-License-Identifier: Apache-2.0
"""Which rails of a Jetson make its total power.

A rail that feeds others must not be added to them. So an input rail, where the board has one, is the total:

* ``VDD_IN`` (Orin NX, Orin Nano, Xavier NX): "the total power of module",
  https://forums.developer.nvidia.com/t/interpretation-of-jetson-nx-power-rail/200883
* ``POM_5V_IN`` (first Jetson Nano): "the overall 5V input to the board",
  https://forums.developer.nvidia.com/t/power-consumption-monitoring/73608/8
* ``VIN`` (Thor): an INA238 in front of module and carrier board,
  https://forums.developer.nvidia.com/t/question-about-power-monitor-with-additional-load-on-jetson-thor/366461

An AGX Orin has none: its rails side by side, added up, are an estimate. ``VDDQ_VDD2_1V8AO``, the memory's rail, is left
out of the sum: it is measured at 5 V and taken to be fed from ``VIN_SYS_5V0``, which no document at hand confirms.
"""

from __future__ import annotations

from collections.abc import Collection

from evit_deploy.profiles.power.source import Total

UNCONNECTED = "NC"
"""Label of a channel that measures nothing."""

_INPUTS = {
    "VDD_IN": "module input",
    "POM_5V_IN": "board input, 5 V",
    "VIN": "input of module and carrier board",
}
_FED = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}


def jetson_total(names: Collection[str], missing: Collection[str] = ()) -> Total:
    """What the rails of a Jetson add up to.

    Args:
        names: Rails that were read.
        missing: Rails that are there and could not be read.
    """
    for name, words in _INPUTS.items():
        if name in names:
            return Total((name,), words)
    rails = tuple(name for name in names if _FED.get(name) not in names)
    fed = tuple(f"{name} is left out of the total: {_FED[name]} feeds it." for name in names if name not in rails)
    if missing:
        lost = ", ".join(missing)
        notes = (f"The total is too low: {lost} could not be read.", *fed)
        return Total(rails, f"sum of the rails that could be read, without {lost}", notes)
    return Total(rails, "sum of rails, an estimate", fed)
