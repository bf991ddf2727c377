# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy demo-sam``."""

from __future__ import annotations

import contextlib
import socket
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evit_deploy.cli.common import HERE, Workspace, artifact_folder, warn
from evit_deploy.cli.sign import TrustedKeys
from evit_deploy.errors import UsageError, extra, first_line

if TYPE_CHECKING:
    import numpy as np

    from evit_deploy.runtime.sam import SegmentAnything

HOST = "127.0.0.1"


def command(
    engines: Annotated[
        list[str], typer.Argument(help="Folders of engines, or their names in engines/.", metavar="ENGINE")
    ],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.", min=0, max=65535)] = 8765,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    image: Annotated[Path | None, typer.Option(help="Picture that the page begins with.")] = None,
    trusted_keys: TrustedKeys = None,
    workspace: Workspace = HERE,
) -> None:
    """Segment Anything in the browser: click points, drag boxes, see masks. Serves this machine only, until Ctrl+C."""
    with extra("web", "The demo page"):
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401

    folders = [artifact_folder(workspace, "engines", name) for name in engines]
    example = _example(image)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listen(port))
        loaded = {}
        for name, folder in _names(folders).items():
            loaded[name] = stack.enter_context(_load(folder, trusted_keys))
            warn(loaded[name].bundle)
        address = f"http://{HOST}:{listener.getsockname()[1]}/"
        typer.echo(f"Segment Anything at {address}  (Ctrl+C ends it)")
        if browser:
            threading.Timer(0.5, webbrowser.open, [address]).start()
        _serve(loaded, listener, example)


def _example(image: Path | None) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The picture on offer: as asked, or a photo of an installed package, or a drawn street."""
    from evit_deploy.data.images import installed_photos, read_image, scene_frame

    photos = [image] if image is not None else installed_photos()
    return read_image(photos[0]) if photos else scene_frame(7, (512, 1024)).image


def _listen(port: int) -> socket.socket:
    """A socket on this machine's own address.

    Raises:
        UsageError: The port is taken.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise UsageError(
            f"port {port} cannot be used", found=first_line(error), fix="--port 0 takes a free one"
        ) from error
    return listener


def _names(folders: list[Path]) -> dict[str, Path]:
    """A name for each engine: its folder's, or its path where two folders have the same."""
    names = [folder.resolve().name for folder in folders]
    return {
        name if names.count(name) == 1 else str(folder): folder for name, folder in zip(names, folders, strict=True)
    }


def _load(folder: Path, trusted_keys: str | None) -> SegmentAnything:
    """An engine that takes prompts.

    Raises:
        UsageError: Another kind of engine.
    """
    import evit_deploy
    from evit_deploy.runtime.sam import SegmentAnything

    task = evit_deploy.load(folder, trusted_keys=trusted_keys)
    if isinstance(task, SegmentAnything):
        return task
    task.close()
    raise UsageError(
        f"{task.manifest.model.name} takes no prompts",
        found=str(folder),
        expected="an engine of a Segment Anything model, such as l0-sam",
        fix=f"evit-deploy run {folder} shows what it does",
    )


def _serve(engines: dict[str, Any], listener: socket.socket, example: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    """Serve until somebody ends it."""
    import uvicorn

    from evit_deploy.cli.web.server import make_app

    app = make_app(engines, listener.getsockname()[1], example)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, ws="none", lifespan="off", server_header=False,
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listener])
