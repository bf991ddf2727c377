# SPDX-License-Identifier: Apache-2.0
"""Numbers as a reader wants to see them."""

from __future__ import annotations

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def milliseconds(value: float) -> str:
    """Milliseconds with three figures or so."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:,.1f}"


def scientific(value: float) -> str:
    """A small number: 2.1e-05 as "2.1 × 10⁻⁵"."""
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    if not exponent:  # inf and nan
        return mantissa
    raised = str(int(exponent)).translate(_RAISED)
    return f"{mantissa} × 10{raised}"


def interval(value: float, sigma: float) -> str:
    """A measured value and its standard error, rounded where the error says so: 12.34 and 0.21 as "12.3 ± 0.2"."""
    digits = 0
    while sigma > 0 and digits < 4 and sigma * 10**digits < 1:
        digits += 1
    return f"{value:,.{digits}f} ± {sigma:.{digits}f}"
