# SPDX-License-Identifier: Apache-2.0
"""The demo's HTTP: the page's files, pictures in, masks out. Who may ask is `guard`'s affair.

| request | answer |
|---|---|
| GET / and its files | the page |
| GET /api/state | engines, the example's id, limits, colours |
| POST /api/pictures, the file as body | id and size |
| GET /api/pictures/ID | the picture as it was understood: upright, RGB |
| POST /api/predict, JSON | masks of one object |
| POST /api/everything, JSON | lines of JSON: progress, then the masks of all objects |

Bodies must not be of a type that a foreign page may send unasked (a form's, or text).
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import evit_deploy
from evit_deploy.cli.web.desk import MOST_PIXELS, Desk, StoppedError
from evit_deploy.cli.web.guard import Guard
from evit_deploy.cli.web.questions import MOST_POINTS, RefusedError, read_question, read_request
from evit_deploy.data.colours import COUNT, distinct_colours
from evit_deploy.errors import EvitError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from starlette.types import ASGIApp

    from evit_deploy.runtime.sam import SegmentAnything

MOST_BYTES = 64 << 20
_MOST_WORDS = 64 << 10
_SCRIPTS = ("page", "masks", "prompts", "talk", "keep")
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in _SCRIPTS},
}
_log = logging.getLogger(__name__)


def make_app(
    engines: Mapping[str, SegmentAnything], port: int, example: npt.NDArray[np.uint8] | None = None
) -> ASGIApp:
    """The demo as an ASGI application.

    Args:
        engines: Engines to choose from, by their names.
        port: The port it will listen on, which the Host header must name.
        example: A picture that is there from the beginning, uint8 [H, W, 3] RGB.
    """
    handlers = _Handlers(Desk(engines, example))
    routes = [Route(path, partial(_file, *what)) for path, what in _FILES.items()]
    routes += [
        Route("/api/state", handlers.state),
        Route("/api/pictures", handlers.add_picture, methods=["POST"]),
        Route("/api/pictures/{picture}", handlers.picture),
        Route("/api/predict", handlers.predict, methods=["POST"]),
        Route("/api/everything", handlers.everything, methods=["POST"]),
    ]
    shown: dict[Any, Callable[..., Any]] = {EvitError: _show_error, HTTPException: _show_http, Exception: _show_bug}
    return Guard(Starlette(routes=routes, exception_handlers=shown), port)


async def _file(name: str, media_type: str, request: Request) -> Response:
    return Response(files(__package__).joinpath(name).read_bytes(), media_type=media_type)


class _Handlers:
    """The API. Engines run on a thread of their own, one call after the other, and never on the event loop."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._worker = ThreadPoolExecutor(1, "engines")

    async def state(self, request: Request) -> Response:
        """What there is."""
        engines = [_describe(name, sam) for name, sam in self._desk.engines.items()]
        colours = ["#" + bytes(colour).hex() for colour in distinct_colours(COUNT)]
        limits = {"bytes": MOST_BYTES, "pixels": MOST_PIXELS, "points": MOST_POINTS}
        answer: dict[str, Any] = {"engines": engines, "colours": colours, "limits": limits}
        answer["example"] = self._desk.example
        if self._desk.example is not None:
            answer["example_size"] = self._desk.picture(self._desk.example).shape[:2]
        return JSONResponse({**answer, "version": evit_deploy.__version__})

    async def add_picture(self, request: Request) -> Response:
        """Take a picture."""
        _require_type(request, "application/octet-stream", "image/")
        content = await _body(request, MOST_BYTES, "the file")
        picture, frame = await run_in_threadpool(self._desk.read_picture, content)
        self._desk.keep(picture, frame)
        return JSONResponse({"picture": picture, "height": frame.shape[0], "width": frame.shape[1]})

    async def picture(self, request: Request) -> Response:
        """Give a picture back."""
        frame = self._desk.picture(request.path_params["picture"])
        return Response(await run_in_threadpool(_as_file, frame), media_type=f"image/{_format(frame)}")

    async def predict(self, request: Request) -> Response:
        """Masks of one object."""
        _require_type(request, "application/json")
        question = read_question(await _body(request, _MOST_WORDS, "the request"))
        self._desk.engine(question.engine)
        frame = self._desk.picture(question.picture)
        loop = asyncio.get_running_loop()
        return JSONResponse(await loop.run_in_executor(self._worker, self._desk.predict, question, frame))

    async def everything(self, request: Request) -> Response:
        """Masks of all objects; ends when the page goes away."""
        _require_type(request, "application/json")
        wanted = read_request(await _body(request, _MOST_WORDS, "the request"))
        self._desk.engine(wanted.engine)
        frame = self._desk.picture(wanted.picture)
        return StreamingResponse(
            self._follow(partial(self._desk.everything, wanted, frame)), media_type="application/x-ndjson"
        )

    async def _follow(self, work: Callable[..., dict[str, Any]]) -> AsyncIterator[bytes]:
        """What work on the engines' thread tells, and then its result or error, as lines of JSON."""
        loop, lines = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any]]()
        stop = threading.Event()

        def tell(line: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(lines.put_nowait, line)

        def run() -> None:
            try:
                tell({"result": work(lambda step: tell({"progress": step}), stop)})
            except StoppedError:
                pass
            except EvitError as error:
                tell({"error": _as_json(error)})
            except Exception as error:
                _log.exception("everything")
                tell({"error": _bug(error)})

        try:
            self._worker.submit(run)
            line: dict[str, Any] = {}
            while "result" not in line and "error" not in line:
                line = await lines.get()
                yield json.dumps(line).encode() + b"\n"
        finally:
            stop.set()


def _describe(name: str, sam: SegmentAnything) -> dict[str, Any]:
    return {"name": name, "model": sam.bundle.model.name, "warnings": list(sam.bundle.warnings)}


def _require_type(request: Request, *types: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not given.startswith(types):
        raise RefusedError(
            415, "the request's content has the wrong type", found=given or "none", expected=" or ".join(types)
        )


async def _body(request: Request, most: int, what: str) -> bytes:
    """The request's body, refused as soon as it is known to be too long."""
    declared = request.headers.get("content-length", "0")
    content = bytearray()
    if not declared.isdigit() or int(declared) <= most:
        async for chunk in request.stream():
            content += chunk
            if len(content) > most:
                break
        else:
            return bytes(content)
    raise RefusedError(413, f"{what} is too large", expected=f"at most {most >> 10} KiB")


def _format(frame: npt.NDArray[np.uint8]) -> str:
    return "jpeg" if max(frame.shape) < 65500 else "png"


def _as_file(frame: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, _format(frame), quality=92)
    return buffer.getvalue()


def _as_json(error: EvitError) -> dict[str, Any]:
    return {"what": error.what, "found": error.found, "expected": error.expected, "fix": error.fix}


def _bug(error: Exception) -> dict[str, Any]:
    what = f"this is a bug: {type(error).__name__}: {error}"
    return {"what": what, "found": None, "expected": None, "fix": "the traceback is in the terminal of demo-sam"}


async def _show_error(request: Request, error: Exception) -> Response:
    """400 for a wrong question, 500 for an engine that failed."""
    assert isinstance(error, EvitError)
    status = error.status if isinstance(error, RefusedError) else 400 if isinstance(error, UsageError) else 500
    return JSONResponse({"error": _as_json(error)}, status)


async def _show_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = {"what": str(error.detail), "found": f"{request.method} {request.url.path}", "expected": None, "fix": None}
    return JSONResponse({"error": answer}, error.status_code, headers=error.headers)


async def _show_bug(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": _bug(error)}, 500)
