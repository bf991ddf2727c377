# SPDX-License-Identifier: Apache-2.0
"""What the demo keeps in memory, and its calls of engines. Nothing of it is written to disk."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evit_deploy.cli.web.questions import Question, RefusedError, Request
from evit_deploy.data.coco import record_annotation
from evit_deploy.data.images import decode_image

if TYPE_CHECKING:
    from evit_deploy.runtime.sam import Embedding, SegmentAnything

UInt8 = npt.NDArray[np.uint8]

MOST_PIXELS = 64_000_000
PICTURES, EMBEDDINGS = 4, 8
_PAUSE = 0.05  # seconds between two words about progress


class StoppedError(Exception):
    """Nobody waits for the answer any more."""


class Desk:
    """Engines, pictures and embeddings.

    Pictures are touched by the event loop alone; `predict` and `everything` run on one thread, one after the other.

    Attributes:
        engines: By their names; the first is the page's default.
        example: Id of a picture that is always there, or None.
    """

    def __init__(self, engines: Mapping[str, SegmentAnything], example: UInt8 | None = None) -> None:
        self.engines = dict(engines)
        self.example = None if example is None else secrets.token_hex(16)
        self._example = example
        self._secret = secrets.token_bytes(32)
        self._pictures: OrderedDict[str, UInt8] = OrderedDict()
        self._embeddings: OrderedDict[tuple[str, str], Embedding] = OrderedDict()

    def read_picture(self, content: bytes) -> tuple[str, UInt8]:
        """Decode a picture, and give it an id: the same for the same bytes, and guessed by nobody.

        Raises:
            UsageError: Not an image, or too many pixels.
        """
        return self._id(content), decode_image(content, "the file", MOST_PIXELS)

    def _id(self, content: bytes) -> str:
        return hashlib.blake2b(content, key=self._secret, digest_size=16).hexdigest()

    def keep(self, picture: str, frame: UInt8) -> None:
        """Keep a picture; the one not used for longest goes."""
        self._pictures[picture] = frame
        self._pictures.move_to_end(picture)
        while len(self._pictures) > PICTURES:
            self._pictures.popitem(last=False)

    def picture(self, picture: str) -> UInt8:
        """A picture, uint8 [H, W, 3] RGB.

        Raises:
            RefusedError: It is unknown or gone.
        """
        if picture == self.example and self._example is not None:
            return self._example
        if picture not in self._pictures:
            raise RefusedError(404, "the picture is no longer in memory", fix="open it again")
        self._pictures.move_to_end(picture)
        return self._pictures[picture]

    def engine(self, name: str) -> SegmentAnything:
        """An engine by its name.

        Raises:
            RefusedError: There is none.
        """
        if name not in self.engines:
            raise RefusedError(404, f"there is no engine {name[:80]!a}", expected=", ".join(self.engines))
        return self.engines[name]

    def predict(self, question: Question, frame: UInt8) -> dict[str, Any]:
        """The masks of one object.

        Returns:
            As JSON can hold it: the masks, the index of the best, and milliseconds per step; "encoder" is None where
            the embedding was there.
        """
        sam, clock = self.engine(question.engine), _Clock()
        embedding, fresh = self._embedding(question, frame)
        encoder = clock.lap()
        answer = sam.predict(
            question.points, question.labels, question.box, multimask=question.multimask, embedding=embedding
        )
        scores = [float(score) for score in answer.iou]
        decoder = clock.lap()
        masks = answer.coco()
        times = {"encoder": encoder if fresh else None, "decoder": decoder, "masks": clock.lap()}
        return {"masks": masks, "best": int(np.argmax(scores)), "milliseconds": times}

    def _embedding(self, question: Question, frame: UInt8) -> tuple[Embedding, bool]:
        """The picture's embedding by the engine, and whether it was computed just now."""
        key = (question.engine, question.picture)
        fresh = key not in self._embeddings
        if fresh:
            self._embeddings[key] = self.engine(question.engine).embed(frame)
            while len(self._embeddings) > EMBEDDINGS:
                self._embeddings.popitem(last=False)
        self._embeddings.move_to_end(key)
        return self._embeddings[key], fresh

    def everything(
        self, request: Request, frame: UInt8, tell: Callable[[dict[str, Any]], None], stop: threading.Event
    ) -> dict[str, Any]:
        """The masks of all objects.

        Args:
            request: Engine and settings.
            frame: The picture.
            tell: Is told of progress, as JSON can hold it.
            stop: Ends the work at its next step.

        Raises:
            StoppedError: `stop` was set.
        """
        clock = _Clock()
        if stop.is_set():
            raise StoppedError
        records = self.engine(request.engine).everything(frame, request.options, progress=_reporter(tell, stop))
        masks = [record_annotation(one) for one in records]
        return {"masks": masks, "milliseconds": {"everything": clock.lap()}}


class _Clock:
    def __init__(self) -> None:
        self._start = time.perf_counter()

    def lap(self) -> float:
        """Milliseconds since the last lap."""
        now = time.perf_counter()
        passed, self._start = now - self._start, now
        return round(1000 * passed, 2)


def _reporter(tell: Callable[[dict[str, Any]], None], stop: threading.Event) -> Callable[..., Any]:
    """A progress that tells somebody else, and stops the work when it should."""

    @contextmanager
    def progress(name: str, total: int | None = None) -> Iterator[_Step]:
        tell({"step": name, "done": 0, "total": total})
        yield _Step(name, total, tell, stop)

    return progress


class _Step:
    def __init__(
        self, name: str, total: int | None, tell: Callable[[dict[str, Any]], None], stop: threading.Event
    ) -> None:
        self._name, self._total, self._tell, self._stop, self._done = name, total, tell, stop, 0
        self._told = time.perf_counter()

    def advance(self) -> None:
        """One more item is done."""
        if self._stop.is_set():
            raise StoppedError
        self._done += 1
        now = time.perf_counter()
        if now - self._told < _PAUSE and self._done != self._total:
            return
        self._told = now
        self._tell({"step": self._name, "done": self._done, "total": self._total})
