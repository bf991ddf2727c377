# SPDX-License-Identifier: Apache-2.0
"""Who may talk to the demo: its own page, and programs of this machine; no other web site.

The server listens on 127.0.0.1 alone, but a browser on this machine is also where foreign web sites run. Three things
keep them out. *Host*: a site whose name resolves to 127.0.0.1 (DNS rebinding) counts as this server's own page for the
browser, but its name stands in the Host header, and is refused. *Origin* and *Sec-Fetch-Site*: requests to the API that
a browser sends on behalf of another site, or of another port of this machine, say so, and are refused. No answer
allows cross-origin reading, and none may be framed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware that refuses foreign requests, and puts safe headers on every answer."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        names = [f"{host}:{port}" for host in ("127.0.0.1", "localhost")]
        self._hosts = {*names, "127.0.0.1", "localhost"} if port == 80 else set(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":  # web sockets are not answered at all
            reason = self._refusal(scope)
            await (self._app(scope, receive, _with_headers(send)) if reason is None else _refuse(reason, send))

    def _refusal(self, scope: Scope) -> str | None:
        """Why a request is refused; None if it is not."""
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return "this server answers to 127.0.0.1 and localhost only"
        if any(origin not in {f"http://{host}" for host in self._hosts} for origin in _values(scope, b"origin")):
            return "requests from other web sites are refused"
        site = _values(scope, b"sec-fetch-site")
        if scope["path"].startswith("/api/") and any(value not in ("same-origin", "none") for value in site):
            return "requests from other web sites are refused"
        return None


async def _refuse(reason: str, send: Send) -> None:
    body = json.dumps({"error": {"what": reason, "found": None, "expected": None, "fix": None}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    guarded = _with_headers(send)
    await guarded({"type": "http.response.start", "status": 403, "headers": headers})
    await guarded({"type": "http.response.body", "body": body})


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _with_headers(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message.get("headers", ())}
            added = [(name.encode(), text.encode()) for name, text in _HEADERS.items() if name.encode() not in given]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return guarded
