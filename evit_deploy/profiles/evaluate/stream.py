# SPDX-License-Identifier: Apache-2.0
"""Items through an engine, so that the engine never waits: others are read and judged while it runs.

One thread, the caller's, runs the engine. A few others read ahead and compare afterwards; what they hold is bounded,
however long the data set is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from evit_deploy.errors import EvitError
from evit_deploy.profiles.evaluate.task import FAILURES, Item, Loaded, Outcome, Result, Task

_MOST_WORKERS = 16


def stream(
    task: Task[Loaded, Result], items: Sequence[Item], workers: int
) -> Generator[tuple[Item, Outcome | EvitError], None, None]:
    """Evaluate items. Close what it returns, if not all is taken: its threads end then.

    Args:
        task: The data set and the engine.
        items: What to evaluate, in this order.
        workers: Threads that read and judge.

    Yields:
        Every item once, with its outcome, or with the error that it failed with; nearly in the order of `items`.

    Raises:
        EvitError: Something else than one of the items failed.
    """
    workers = min(max(workers, 1), _MOST_WORKERS)
    ahead, waiting = workers + task.batch, iter(items)
    loading: deque[tuple[Item, Future[Loaded]]] = deque()
    judging: deque[tuple[Item, Future[Outcome]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="evaluate")

    def read_ahead() -> None:
        for item in islice(waiting, ahead - len(loading)):
            loading.append((item, pool.submit(task.load, item)))

    try:
        read_ahead()
        while loading:
            ready: list[tuple[Item, Loaded]] = []
            while loading and len(ready) < task.batch:
                item, reading = loading.popleft()
                read_ahead()
                try:
                    ready.append((item, reading.result()))
                except FAILURES as error:
                    yield item, error
            results = task.infer([loaded for _, loaded in ready]) if ready else ()
            for (item, loaded), result in zip(ready, results, strict=True):
                judging.append((item, pool.submit(task.judge, loaded, result)))
            yield from _finished(judging, most=ahead)
        yield from _finished(judging, most=0)
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(judging: deque[tuple[Item, Future[Outcome]]], most: int) -> Iterator[tuple[Item, Outcome | EvitError]]:
    """Take what is over, in order; wait until no more than `most` are under way."""
    while judging and (len(judging) > most or judging[0][1].done()):
        item, comparing = judging.popleft()
        try:
            yield item, comparing.result()
        except FAILURES as error:
            yield item, error
