# SPDX-License-Identifier: Apache-2.0
"""Numbers as a reader wants to see them."""

from __future__ import annotations

import string

_PLAIN = frozenset(string.ascii_letters + string.digits + "-")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def milliseconds(value: float) -> str:
    """Milliseconds with three figures or so."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:,.1f}"


def three_figures(value: float) -> str:
    """Three figures, or all of a larger whole number: 19.2 and 1,979."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def energy(millijoules: float, sigma: float | None = None) -> str:
    """Energy with its unit, and its standard error where there is one; from 1000 mJ on in joules."""
    scale, unit = (1.0, "mJ") if millijoules < 1000 else (1000.0, "J")
    value = millijoules / scale
    return f"{milliseconds(value) if sigma is None else interval(value, sigma / scale)} {unit}"


def identifier(name: str) -> str:
    """What stands for any text in the ids of a page: letters, digits and hyphens stay, all else becomes its number."""
    return "".join(sign if sign in _PLAIN else f"_{ord(sign):x}_" for sign in name)


def scientific(value: float) -> str:
    """A small number: 2.1e-05 as "2.1 × 10⁻⁵"."""
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    if not exponent:  # inf and nan
        return mantissa
    raised = str(int(exponent)).translate(_RAISED)
    return f"{mantissa} × 10{raised}"


def points(drop: float, spread: float = 0.0) -> str:
    """Points lost or, where the change was for the better, gained; with their standard error where there is one."""
    doubt = f" ± {spread:.2f}" if spread else ""
    return f"{abs(drop):.2f}{doubt} points {'gained' if drop < 0 else 'lost'}"


def interval(value: float, sigma: float) -> str:
    """A measured value and its standard error, rounded where the error says so: 12.34 and 0.21 as "12.3 ± 0.2"."""
    digits = 0
    while sigma > 0 and digits < 4 and sigma * 10**digits < 1:
        digits += 1
    return f"{value:,.{digits}f} ± {sigma:.{digits}f}"
