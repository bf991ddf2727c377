# SPDX-License-Identifier: Apache-2.0
"""Power and energy of an engine that runs steadily.

A sensor is read every 100 ms and looks at some of that time only, while an inference may take one. So energy per
frame is no reading: it is the mean power of a long loop times the loop's time per frame. The beginning is left out
until power is steady: clocks rise, the board warms up, and some sensors average over a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from evit_deploy.errors import UnavailableError
from evit_deploy.profiles.power.record import PowerRecord, Rail
from evit_deploy.profiles.power.sampler import Sampler
from evit_deploy.profiles.power.source import Source
from evit_deploy.profiles.power.steady import Values
from evit_deploy.profiles.power.stretch import Stretch, stretch_of
from evit_deploy.profiles.power.survey import sources
from evit_deploy.progress import Progress, silent

SECONDS = 20.0
"""Long enough that an error of half a reading at either end is a fraction of a percent."""

_LONGEST = 3  # times the wanted length that a loop may take
_WELL = 0.01  # standard error, relative, that is good enough
_REST = 0.25  # of the loop's length: how long the machine rests before
_LEAST = 20  # readings that say anything
_GAP = 5  # intervals from one reading to the next that make a gap


def measure_power(
    call: Callable[[], object],
    *,
    seconds: float = SECONDS,
    frames: int = 1,
    source: Source | None = None,
    progress: Progress = silent,
) -> PowerRecord | None:
    """Run `call` in a loop and say what the machine draws meanwhile.

    The machine rests first, for a quarter of `seconds`. All that runs beside counts as well.

    Args:
        call: One inference; returns when its results are there.
        seconds: Length of the loop, at least; it goes on, up to three times as long, until power is steady and its mean
            known to 1 %.
        frames: Frames that one call processes.
        source: What to read, see `find_source`; None takes the first of `sources`.
        progress: Told about every step.

    Returns:
        The record; None where nothing can be read here (`obstacles` says why).

    Raises:
        UnavailableError: The source gave too few readings.
    """
    source = source or next(iter(sources()), None)
    if source is None:
        return None
    with Sampler(source) as sampler:
        with progress("power at rest"):
            time.sleep(seconds * _REST)
        with progress("power of a steady loop"):
            times = _run(call, seconds, sampler, source)
    rest = stretch_of(sampler.between(0, times[0]))
    loop = stretch_of(sampler.between(times[0], times[-1]))
    if loop is None or loop.samples < _LEAST:
        found = f"{loop.samples if loop else 0} readings of {source.name}"
        raise UnavailableError(
            "power could not be measured",
            found=f"{found}: {sampler.failure}" if sampler.failure else found,
            expected=f"{_LEAST} at least",
            fix="--no-power",
        )
    record = _record(source, rest, loop, times, frames)
    if sampler.failure:
        return replace(record, notes=(*record.notes, f"The source stopped before the loop did: {sampler.failure}."))
    return record


def _run(call: Callable[[], object], seconds: float, sampler: Sampler, source: Source) -> Values:
    """Call for a while, and until power is known; when it began, and when every call ended, in seconds."""
    times = [time.perf_counter()]
    check, end = times[0] + seconds, times[0] + _LONGEST * seconds
    while times[-1] < end and not sampler.failure:
        call()
        times.append(time.perf_counter())
        if times[-1] >= check:
            check = times[-1] + seconds / 4
            if _is_known(stretch_of(sampler.between(times[0], times[-1])), source):
                break
    return np.array(times)


def _is_known(loop: Stretch | None, source: Source) -> bool:
    """Whether power is steady by now, and its mean known well."""
    rails = source.total(loop.rails).rails if loop else ()
    steady = loop and loop.steady(rails)
    if not steady:
        return False
    mean, sigma = steady.mean(rails)
    return sigma <= _WELL * abs(mean)


def _record(source: Source, rest: Stretch | None, loop: Stretch, times: Values, frames: int) -> PowerRecord:
    """Add everything up; `times` are those of `_run`."""
    total = source.total(loop.rails)
    steady = loop.steady(total.rails)
    part = steady or loop.second_half()
    watts, sigma = part.mean(total.rails)
    # Calls begun and not ended count in part, so that a loop of few long calls is not off by one of them.
    first, last = np.interp(part.edges, times, np.arange(len(times)) * frames)
    frame_seconds = part.seconds / float(last - first)
    return PowerRecord(
        source=source.name,
        rails=tuple(Rail(name, *part.mean([name])) for name in part.rails),
        total_of=total.rails,
        total_is=total.words,
        total_w=watts,
        total_sigma_w=sigma,
        idle_w=_idle(rest, total.rails),
        seconds=part.seconds,
        samples=part.samples,
        interval_ms=part.interval * 1e3,
        frames=round(last - first),
        energy_mj=1e3 * watts * frame_seconds,
        energy_sigma_mj=1e3 * float(np.hypot(sigma, watts * _edge_error(part))) * frame_seconds,
        temperatures=loop.hottest(),
        notes=(*source.notes, *total.notes, *_notes(loop, part, steady is not None, total.rails)),
    )


def _edge_error(part: Stretch) -> float:
    """Relative error of energy because either end of the stretch is known to half a reading: two uniform errors."""
    return part.interval / 6**0.5 / part.seconds


def _idle(rest: Stretch | None, rails: tuple[str, ...]) -> float | None:
    """Power at rest, once what ran before has died away."""
    if rest is None or not {*rails} <= {*rest.rails}:
        return None
    return (rest.steady(rails) or rest.second_half()).mean(rails)[0]


def _notes(loop: Stretch, part: Stretch, steady: bool, rails: tuple[str, ...]) -> Iterator[str]:
    if not steady:
        before, after = loop.watts(rails)[: loop.samples // 2].mean(), part.mean(rails)[0]
        yield (
            f"Power did not become steady within {loop.seconds:.0f} s: {before:.2f} W in the first half, {after:.2f} W "
            "in the second, which is what counts here. Its uncertainty is larger than said."
        )
    longest = float(part.durations.max())
    if longest > _GAP * part.interval:
        yield f"The source was silent for {longest:.1f} s, {longest / part.interval:.0f} times its usual interval."
