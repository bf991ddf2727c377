# SPDX-License-Identifier: Apache-2.0
"""A check for CI: is an engine slower than it was?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from evit_deploy.errors import CheckFailedError, UsageError
from evit_deploy.profiles.compare.comparison import Comparison
from evit_deploy.profiles.compare.remarks import letter
from evit_deploy.profiles.compare.significance import Ratio


def parse_share(text: str) -> float:
    """Read "5%" or "0.05".

    Raises:
        UsageError: Something else, or a fraction of 1 or more: whoever writes 5 means 5 %.
    """
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)(%?)", text.replace(" ", ""))
    if not match:
        raise UsageError(f"'{text}' is no share", expected="a percentage such as 5%, or a fraction such as 0.05")
    share = float(match[1]) / (100 if match[2] else 1)
    if share >= 1 and not match[2]:
        raise UsageError(
            f"'{text}' is a fraction above 1", expected=f"{text}% for a percentage, or a fraction such as 0.05"
        )
    return share


def require_not_slower(comparison: Comparison, share: float) -> None:
    """Hold every later profile against the first.

    Slower is what is slower beyond chance, and by more than a share. PyTorch does not count: it is no part of the
    engine.

    Args:
        comparison: The profiles.
        share: How much slower is still accepted; 0.05 is 5 %.

    Raises:
        CheckFailedError: A latency is slower.
        UsageError: The profiles do not share a latency with enough runs, or their conditions forbid a verdict.
    """
    _require_same_conditions(comparison)
    others = range(1, len(comparison.reports))
    slower = [words for index in others for words in _slower(_judged(comparison, index), index, share)]
    if slower:
        raise CheckFailedError(
            f"slower than accepted: {'; '.join(slower)}",
            expected=f"at most {1 + share:g} times as long",
            found="; ".join(comparison.warnings) or None,
        )


def _slower(judged: Iterable[tuple[str, Ratio]], index: int, share: float) -> Iterator[str]:
    for name, ratio in judged:
        if ratio.is_more and ratio.value > 1 + share:
            yield (
                f"{name} of {letter(index)} takes {ratio.value:.3f} times as long as that of A "
                f"({ratio.low:.3f} to {ratio.high:.3f})"
            )


def _judged(comparison: Comparison, index: int) -> list[tuple[str, Ratio]]:
    """Latencies of the engine that were timed often enough in both profiles; all of the first's must be there."""
    rows = [row for row in comparison.latencies if not row.control and row.values[0] is not None]
    missing = [row.name for row in rows if row.ratios[index] is None]
    if missing:
        raise UsageError(
            f"{letter(index)} cannot be judged against A: it lacks {', '.join(missing)}",
            fix="evit-deploy profile both of them again",
        )
    ratios = ((row.name, row.ratios[index]) for row in rows)
    judged = [(name, ratio) for name, ratio in ratios if ratio is not None and ratio.low is not None]
    if not judged:
        raise UsageError(
            f"{letter(index)} cannot be judged against A: no latency of both was timed often enough",
            fix="evit-deploy profile both of them again",
        )
    return judged


def _require_same_conditions(comparison: Comparison) -> None:
    nameless = [letter(index) for index, one in enumerate(comparison.reports) if "processor" not in one.environment]
    if nameless:
        raise UsageError(
            f"{', '.join(nameless)} cannot be judged: no machine is recorded there",
            fix="evit-deploy profile both of them again, or leave --fail-if-slower out",
        )
    for index, items in enumerate(comparison.differences):
        decisive = [str(item) for item in items if item.decisive]
        if decisive:
            raise UsageError(
                f"{letter(index)} cannot be judged against A: they were measured under different conditions",
                found="; ".join(decisive),
                fix="profile both under the same conditions, or leave --fail-if-slower out",
            )
