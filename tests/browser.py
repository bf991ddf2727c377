# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium that tests steer by its own protocol, through a pipe: real clicks, drags, taps and keys.

Protocol: https://chromedevtools.github.io/devtools-protocol/. Messages are JSON, each ended by a zero byte, on file
descriptors 3 (to the browser) and 4 (from it).
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--remote-debugging-pipe",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
PATIENCE = 20.0  # seconds


def find_chromium() -> str:
    """Path of Chromium; without it the test is skipped, on a CI machine it fails."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None and os.environ.get("CI"):
        pytest.fail("CI needs Chromium: apt-get install chromium")
    if found is None:
        pytest.skip("Chromium is not installed")
    return found


class Browser:
    """One page. What the page logs, and what fails to load, is kept in `trouble`."""

    def __init__(self, chromium: str, folder: Path) -> None:
        to_browser, from_test = os.pipe()
        from_browser, to_test = os.pipe()
        self._write, self._read = from_test, from_browser
        # The shell puts the pipe's ends where the browser looks for them, whatever numbers they have here.
        shell = f'exec "$0" "$@" 3<&{to_browser} 4>&{to_test}'
        command = ["/bin/bash", "-c", shell, chromium, *FLAGS, f"--user-data-dir={folder / 'profile'}"]
        with (folder / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(command, pass_fds=(to_browser, to_test), stdout=log, stderr=log)
        os.close(to_browser)
        os.close(to_test)
        self._number, self._rest = 0, b""
        self.trouble: list[str] = []
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """End the browser."""
        self._session = None
        with contextlib.suppress(OSError, EOFError):
            self.call("Browser.close")
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the browser for something, and wait for its answer."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._receive(deadline)
            assert answer is not None, f"no answer to {method}"
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _receive(self, deadline: float) -> dict[str, Any] | None:
        while b"\0" not in self._rest:
            if not select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return None
            chunk = os.read(self._read, 1 << 20)
            if not chunk:
                raise EOFError("the browser ended")
            self._rest += chunk
        text, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(text)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, event: dict[str, Any]) -> None:
        if method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning", "assert"):
            self.trouble.append(" ".join(str(argument.get("value", argument)) for argument in event["args"]))
        elif method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.trouble.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.trouble.append(f"{event['entry']['text']} {event['entry'].get('url', '')}")

    def open(self, address: str) -> None:
        """Load a page."""
        self.call("Page.navigate", url=address)
        self.until(f"location.href === {address!r} && document.readyState === 'complete'")

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, condition: str | Callable[[], bool], what: str | None = None) -> None:
        """Wait until something is true: an expression in the page, or a function."""
        deadline = time.monotonic() + PATIENCE
        while not (condition() if callable(condition) else self.ask(condition)):
            if time.monotonic() > deadline:
                text = self.ask("document.body.innerText")
                pytest.fail(f"waited in vain for {what or condition}; trouble: {self.trouble}; the page says: {text}")
            self._receive(time.monotonic() + 0.02)

    def size(self, width: int, height: int, mobile: bool = False) -> None:
        """Make the window that large, in CSS pixels; a mobile one takes touches."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if mobile else 1, mobile=mobile,
        )  # fmt: skip
        self.call("Emulation.setTouchEmulationEnabled", enabled=mobile)

    def place(self, selector: str, x: float = 0.5, y: float = 0.5) -> tuple[float, float]:
        """A place in an element, as parts of its sides, in the window's pixels; the element is scrolled to first."""
        box = self.ask(
            f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'nearest'}});"
            "const r = e.getBoundingClientRect(); return [r.left, r.top, r.width, r.height]; })()"
        )
        return box[0] + x * box[2], box[1] + y * box[3]

    def _mouse(self, kind: str, at: tuple[float, float], **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], **more)

    def click(self, selector: str, x: float = 0.5, y: float = 0.5, button: str = "left", shift: bool = False) -> None:
        """Click a place in an element."""
        at = self.place(selector, x, y)
        self._mouse("mouseMoved", at)
        for kind in ("mousePressed", "mouseReleased"):
            self._mouse(kind, at, button=button, clickCount=1, modifiers=8 if shift else 0)

    def drag(self, selector: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag from one place in an element to another."""
        begin, stop = self.place(selector, *start), self.place(selector, *end)
        self._mouse("mousePressed", begin, button="left", clickCount=1)
        for step in (0.3, 0.7, 1.0):
            at = (begin[0] + step * (stop[0] - begin[0]), begin[1] + step * (stop[1] - begin[1]))
            self._mouse("mouseMoved", at, button="left", buttons=1)
        self._mouse("mouseReleased", stop, button="left", clickCount=1)

    def touch(self, selector: str, *places: tuple[float, float]) -> None:
        """Put a finger on a place in an element, move it over the others, and lift it."""
        for number, place in enumerate(places):
            x, y = self.place(selector, *place)
            kind = "touchMove" if number else "touchStart"
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def key(self, key: str, code: int = 0, control: bool = False, shift: bool = False) -> None:
        """Press a key: a letter, or a name such as "Enter"."""
        text = {"Enter": "\r", " ": " "}.get(key, key if len(key) == 1 and not control else "")
        more = {"key": key, "modifiers": 2 * control + 8 * shift, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **more)
        self.call("Input.dispatchKeyEvent", type="keyUp", **more)

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in an input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def screenshot(self) -> np.ndarray:
        """The window, uint8 [H, W, 3] RGB."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def download_to(self, folder: Path) -> None:
        """Where files that the page saves go."""
        session, self._session = self._session, None
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self._session = session
