# SPDX-License-Identifier: Apache-2.0
"""Official weights over the Hugging Face Hub's own protocol, against a small local server that speaks it."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from evit_deploy.models import create_model

PATH = "/han-cai/efficientvit-seg/resolve/main/efficientvit_seg_b0_cityscapes.pt"
PROGRAM = """
import sys
from evit_deploy.errors import EvitError
from evit_deploy.models import find_model
from evit_deploy.models.weights import resolve_weights
try:
    weights = resolve_weights(find_model(sys.argv[1]), *sys.argv[2:])
    print(weights.source, weights.sha256)
except EvitError as error:
    print(error)
    sys.exit(error.exit_code)
"""


class Hub(ThreadingHTTPServer):
    """Serves one file as the Hub does: redirect-free, with ETag and commit."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.requests = content, []
        self.address = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(send_body=False)

    def do_GET(self):
        self.answer(send_body=True)

    def answer(self, send_body):
        self.server.requests.append(f"{self.command} {self.path}")
        known = self.path == PATH
        body = self.server.content if known else b"not here"
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", "0123456789abcdef0123456789abcdef01234567")
        if known:
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if send_body:
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def hub():
    buffer = io.BytesIO()
    torch.save({"state_dict": create_model("b0-seg", weights="random", seed=7).state_dict()}, buffer)
    server = Hub(buffer.getvalue())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def resolve(hub_address, home, *arguments, offline=False):
    """Run the resolver in a process of its own: the Hub's client reads its environment when imported."""
    environment = {
        **os.environ,
        "HF_HOME": str(home),
        "HF_ENDPOINT": hub_address,
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
    }
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_downloads_once_then_works_offline(hub, tmp_path):
    digest = hashlib.sha256(hub.content).hexdigest()
    first = resolve(hub.address, tmp_path, "b0-seg", "official")
    assert first.stdout.split() == ["official", digest], first.stderr
    assert f"GET {PATH}" in hub.requests
    downloads = hub.requests.count(f"GET {PATH}")
    again = resolve(hub.address, tmp_path, "b0-seg")
    assert again.stdout.split() == ["official", digest]
    assert hub.requests.count(f"GET {PATH}") == downloads
    offline = resolve("http://127.0.0.1:9", tmp_path, "b0-seg", "official", offline=True)
    assert offline.stdout.split() == ["official", digest]


def test_the_downloaded_weights_are_used(hub, tmp_path, monkeypatch):
    assert resolve(hub.address, tmp_path, "b0-seg", "official").returncode == 0
    path = next(tmp_path.rglob("efficientvit_seg_b0_cityscapes.pt"))
    loaded = create_model("b0-seg", weights=str(path)).state_dict()
    expected = create_model("b0-seg", weights="random", seed=7).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.items())


@pytest.mark.parametrize("offline", [True, False])
def test_official_never_falls_back(tmp_path, offline):
    result = resolve("http://127.0.0.1:9", tmp_path, "b0-seg", "official", offline=offline)
    assert result.returncode == 3, result.stdout + result.stderr
    assert "not in the Hugging Face cache" in result.stdout
    assert "HF_ENDPOINT" in result.stdout


def test_file_missing_on_the_hub(hub, tmp_path):
    result = resolve(hub.address, tmp_path, "b3-seg", "official")
    assert result.returncode == 3
    assert "efficientvit_seg_b3_cityscapes.pt" in result.stdout


def test_default_takes_demo_weights_when_the_hub_is_out_of_reach(tmp_path):
    result = resolve("http://127.0.0.1:9", tmp_path, "b0-seg", offline=True)
    assert result.stdout.startswith("demo "), result.stdout + result.stderr


def test_default_without_demo_weights_names_the_choices(tmp_path):
    result = resolve("http://127.0.0.1:9", tmp_path, "b2-seg", offline=True)
    assert result.returncode == 3
    assert "--weights random, or --weights PATH" in result.stdout
