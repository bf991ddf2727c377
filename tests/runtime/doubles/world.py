# SPDX-License-Identifier: Apache-2.0
"""A machine with one GPU, in Python.

What goes unpunished on a GPU on most days is punished here on every day: work on a stream is done only when somebody
waits for it, so a missing wait shows as wrong numbers; memory that was freed is gone; a stream of another context is
refused; scratch memory that two runs use at once is spoilt.
"""

from __future__ import annotations

import ctypes
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

DEVICE_BASE = 1 << 52  # no address of this process
PRIMARY, FOREIGN = 0xC0, 0xF0
LEGACY = 1


class DeviceFault(Exception):  # noqa: N818
    """What ends every use of a GPU: carries the name of the error."""


@dataclass
class Block:
    """A piece of memory. `host` is its address on the host, for page-locked memory."""

    start: int
    data: np.ndarray
    kind: str  # "device", "host", "mapped"
    context: int
    host: int | None = None


@dataclass
class Wait:
    """Stands in a stream's queue until another stream has come as far as `ticket`."""

    stream: Stream
    ticket: int


@dataclass
class Stream:
    """A queue of work."""

    handle: int
    context: int
    blocking: bool
    queue: deque = field(default_factory=deque)
    enqueued: int = 0
    executed: int = 0
    capture: list | None = None
    broken: bool = False
    thread: int = 0


@dataclass
class Event:
    """The end of a stream as it was when the event was recorded; `passed` is when the stream came there, in seconds."""

    context: int
    stream: Stream | None = None
    ticket: int = 0
    timed: bool = False
    passed: float | None = None


class World:
    """The machine.

    Args:
        integrated: Whether the GPU shares the host's memory.
        interleaved: Whether streams advance in turns when one is waited for; else only that one and what it waits for.
        total: Device memory in bytes.
        timed: Whether events may take the time, which measurements want and which makes streams wait.
    """

    def __init__(
        self, *, integrated: bool = False, interleaved: bool = False, total: int = 1 << 30, timed: bool = False
    ) -> None:
        self.integrated, self.interleaved, self.total, self.timed = integrated, interleaved, total, timed
        self.lock = threading.RLock()
        self.blocks: dict[int, Block] = {}
        self.mapped: dict[int, Block] = {}
        self.legacy = Stream(LEGACY, PRIMARY, blocking=True)
        self.streams: dict[int, Stream] = {}
        self.events: dict[int, Event] = {}
        self.graphs: dict[int, list] = {}
        self.execs: dict[int, list] = {}
        self.trt_objects: Counter[str] = Counter()
        self.scratch: dict[int, object] = {}
        self.used = 0
        self.sticky: str | None = None
        self.last_error: str | None = None
        self.calls: Counter[str] = Counter()
        self.faults: dict[str, tuple[int, str]] = {}
        self.refuse_enqueue: Callable[[bool], bool] = lambda capturing: False
        self.spoil_capture: str | None = None  # "nothing", "half", "invalid"
        self.kernel_fault: str | None = None
        self._next = 0x1000
        self._local = threading.local()

    # Faults

    def fail(self, name: str, error: str, nth: int = 1) -> None:
        """Make the nth call of a function from now on return an error."""
        self.faults[name] = (self.calls[name] + nth, error)

    def alive(self) -> dict[str, int]:
        """What was made and not freed."""
        found = {
            "device memory": sum(block.kind == "device" for block in self.blocks.values()),
            "host memory": sum(block.kind != "device" for block in self.blocks.values()),
            "streams": len(self.streams),
            "events": len(self.events),
            "graphs": len(self.graphs),
            "executable graphs": len(self.execs),
        }
        return {name: count for name, count in {**found, **self.trt_objects}.items() if count}

    # Contexts

    @property
    def context(self) -> int:
        """The thread's current context; 0 for none."""
        return getattr(self._local, "context", 0)

    @context.setter
    def context(self, value: int) -> None:
        self._local.context = value

    def need_context(self) -> int:
        """As the CUDA runtime does: without a context, the primary one becomes current."""
        if not self.context:
            self.context = PRIMARY
        return self.context

    # Memory

    def allocate(self, nbytes: int, kind: str) -> Block | None:
        """A block, or None if the memory does not suffice."""
        context = self.need_context()
        counted = nbytes if kind == "device" or self.integrated else 0
        if self.used + counted > self.total:
            return None
        data = np.full(nbytes, 0xCD, np.uint8)
        start = self._new_address(nbytes)
        host = data.ctypes.data if kind != "device" else None
        block = Block(start, data, kind, context, host)
        self.blocks[start if host is None else host] = block
        if kind == "mapped":
            self.mapped[start] = block
        self.used += counted
        return block

    def free(self, pointer: int) -> bool:
        """Free a block by its address; False if there is none."""
        block = self.blocks.pop(pointer, None)
        if block is None:
            return False
        self.mapped.pop(block.start, None)
        self.used -= block.data.nbytes if block.kind == "device" or self.integrated else 0
        return True

    def find(self, pointer: int) -> Block | None:
        """The block that a device address lies in."""
        for block in [*self.mapped.values(), *(b for b in self.blocks.values() if b.kind == "device")]:
            if block.start <= pointer < block.start + block.data.nbytes:
                return block
        return None

    def view(self, pointer: int, nbytes: int) -> np.ndarray:
        """Device memory as a kernel sees it."""
        block = self.find(pointer)
        if block is None or pointer + nbytes > block.start + block.data.nbytes:
            raise DeviceFault("cudaErrorIllegalAddress")
        offset = pointer - block.start
        return block.data[offset : offset + nbytes]

    def pinned(self, address: int) -> bool:
        """Whether a host address lies in page-locked memory."""
        return any(b.host is not None and b.host <= address < b.host + b.data.nbytes for b in self.blocks.values())

    # Streams

    def new_handle(self) -> int:
        """A number for a new object."""
        self._next += 0x10
        return self._next

    def enqueue(self, stream: Stream, work: Callable[[], None] | Wait | None) -> None:
        """Put work at the end of a stream, or into what is being recorded of it."""
        if stream.capture is not None:
            if work is not None:
                stream.capture.append(work)
            return
        if stream is self.legacy:
            for other in self.streams.values():
                if other.blocking:
                    self._append(stream, Wait(other, other.enqueued))
        elif stream.blocking:
            self._append(stream, Wait(self.legacy, self.legacy.enqueued))
        self._append(stream, work)

    def _append(self, stream: Stream, work: object) -> None:
        stream.queue.append(work)
        stream.enqueued += 1

    def advance(self, stream: Stream, ticket: int) -> None:
        """Do a stream's work until it has come as far as `ticket`."""
        while stream.executed < ticket:
            if self.interleaved:
                others = [other for other in [self.legacy, *self.streams.values()] if other is not stream]
                moved = [self.step(other) for other in [*others, stream]]  # each of them, not up to the first
                if not any(moved):
                    raise AssertionError("streams wait for one another")
            elif not self.step(stream):
                wait = stream.queue[0]
                self.advance(wait.stream, wait.ticket)

    def step(self, stream: Stream) -> bool:
        """Do one piece of a stream's work; False if there is none that can be done."""
        if not stream.queue:
            return False
        work = stream.queue[0]
        if isinstance(work, Wait) and work.stream.executed < work.ticket:
            return False
        stream.queue.popleft()
        stream.executed += 1
        if callable(work):
            work()
        return True

    def copy(self, target: int, source: int, nbytes: int, kind: str) -> Callable[[], None]:
        """A copy to be done later."""
        into_host, from_host = kind.endswith("Host"), "HostTo" in kind

        def run() -> None:
            data = np.frombuffer(ctypes.string_at(source, nbytes), np.uint8) if from_host else self.view(source, nbytes)
            if into_host:
                ctypes.memmove(target, np.ascontiguousarray(data).ctypes.data, nbytes)
            else:
                self.view(target, nbytes)[...] = data

        return run

    def _new_address(self, nbytes: int) -> int:
        start = getattr(self, "_break", DEVICE_BASE)
        self._break = start + (nbytes + 1023) // 512 * 512  # never used twice, and never next to one another
        return start
