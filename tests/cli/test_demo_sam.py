# SPDX-License-Identifier: Apache-2.0
"""The demo's server: what it answers, what it refuses, and that no other web site may use it."""

from __future__ import annotations

import io
import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import evit_deploy
from evit_deploy.cli.web import desk as desk_module
from evit_deploy.cli.web import server
from evit_deploy.cli.web.desk import EMBEDDINGS, PICTURES, Desk
from evit_deploy.cli.web.questions import MOST_POINTS, read_question
from evit_deploy.data.rle import from_dict
from tests.cli.conftest import Program
from tests.cli.fake_sam import SCORES, FakeSam

testclient = pytest.importorskip("starlette.testclient")
PORT = 8765
BASE = f"http://127.0.0.1:{PORT}"


def as_png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def sam() -> FakeSam:
    return FakeSam()


@pytest.fixture
def client(sam: FakeSam, frame: np.ndarray) -> Iterator:
    app = server.make_app({"fast": sam, "sure": FakeSam()}, PORT, frame)
    with testclient.TestClient(app, base_url=BASE, raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def example(client) -> str:
    return client.get("/api/state").json()["example"]


def put(client, content: bytes, kind: str = "application/octet-stream"):
    return client.post("/api/pictures", content=content, headers={"content-type": kind})


def ask(client, example: str, **more):
    question = {"engine": "fast", "picture": example, "points": [[70, 45, 1]], **more}
    return client.post("/api/predict", json=question)


def refused(answer, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"what", "found", "expected", "fix"}
    text = " ".join(part or "" for part in error.values())
    for word in words:
        assert word in text


# What it answers


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("/", "text/html", "<title>Segment Anything"),
        ("/page.css", "text/css", ":root"),
        *((f"/{name}.js", "text/javascript", "// SPDX") for name in ("page", "masks", "prompts", "talk", "keep")),
    ],
)
def test_the_pages_files(client, path: str, kind: str, words: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert words in answer.text
    assert "http://" not in answer.text.replace("http://127.0.0.1", "")
    assert "https://" not in answer.text


def test_the_state(client) -> None:
    state = client.get("/api/state").json()
    assert state["engines"] == [
        {"name": name, "model": "l0-sam", "warnings": ["random weights"]} for name in ("fast", "sure")
    ]
    assert state["example_size"] == [90, 140]
    assert len(state["colours"]) == 48
    assert all(colour[0] == "#" and len(colour) == 7 for colour in state["colours"])
    assert state["limits"] == {"bytes": 64 << 20, "pixels": 64_000_000, "points": MOST_POINTS}


def test_a_picture_goes_in_and_comes_back_upright(client) -> None:
    image = Image.new("RGB", (60, 40), (10, 200, 30))
    exif = image.getexif()
    exif[0x0112] = 6  # a camera turned on its side
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    answer = put(client, buffer.getvalue(), "image/jpeg").json()
    assert (answer["height"], answer["width"]) == (60, 40)
    shown = client.get(f"/api/pictures/{answer['picture']}")
    assert shown.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(shown.content)).size == (40, 60)


def test_a_picture_too_wide_for_jpeg_comes_as_png(client) -> None:
    answer = put(client, as_png(np.zeros((1, 65530, 3), np.uint8))).json()
    assert client.get(f"/api/pictures/{answer['picture']}").headers["content-type"] == "image/png"


def test_ids_are_the_same_for_the_same_bytes_and_cannot_be_guessed(client, sam: FakeSam) -> None:
    content = as_png(np.zeros((5, 6, 3), np.uint8))
    first, second = put(client, content).json()["picture"], put(client, content).json()["picture"]
    assert first == second
    assert len(first) == 32
    assert Desk({"other": sam}).read_picture(content)[0] != first


def test_masks_of_a_point(client, sam: FakeSam, example: str, frame: np.ndarray) -> None:
    answer = ask(client, example).json()
    expected = sam.predict([[70, 45]], embedding=sam.embed(frame))
    assert answer["best"] == 1
    assert [one["predicted_iou"] for one in answer["masks"]] == pytest.approx(SCORES)
    for one, mask in zip(answer["masks"], expected.masks, strict=True):
        assert np.array_equal(from_dict(one["segmentation"]).decode(), mask)
    assert all(answer["milliseconds"][name] >= 0 for name in ("encoder", "decoder", "masks"))


def test_masks_of_points_and_a_box(client, sam: FakeSam, example: str) -> None:
    answer = ask(client, example, points=[[20, 30, 1], [25, 35.5, 0]], box=[10, 10, 60, 50], multimask=False)
    assert len(answer.json()["masks"]) == 1
    (asked,) = sam.asked
    assert asked["points"].tolist() == [[20, 30], [25, 35.5]]
    assert asked["labels"].tolist() == [1, 0]
    assert asked["box"].tolist() == [10, 10, 60, 50]
    assert asked["multimask"] is False


def test_pictures_are_embedded_once_for_each_engine(client, sam: FakeSam, example: str) -> None:
    times = [ask(client, example).json()["milliseconds"]["encoder"] for _ in range(3)]
    assert times[0] is not None
    assert times[1:] == [None, None]
    assert len(sam.embedded) == 1
    assert ask(client, example, engine="sure").json()["milliseconds"]["encoder"] is not None
    assert len(sam.embedded) == 1


def test_engines_run_on_one_thread_that_is_not_the_servers(client, sam: FakeSam, example: str) -> None:
    for _ in range(3):
        ask(client, example)
    client.post("/api/everything", json={"engine": "fast", "picture": example, "points_per_side": 2})
    assert len(sam.threads) == 1
    assert next(iter(sam.threads)).startswith("engines")


def lines_of(answer) -> list[dict]:
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_everything_tells_of_its_progress(client, example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "_PAUSE", 0.0)
    wanted = {"engine": "fast", "picture": example, "points_per_side": 6}
    *progress, last = lines_of(client.post("/api/everything", json=wanted))
    done = [line["progress"]["done"] for line in progress]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 36)
    assert {line["progress"]["total"] for line in progress} == {36}
    assert len(last["result"]["masks"]) > 10
    assert last["result"]["milliseconds"]["everything"] > 0
    assert all("stability_score" in one for one in last["result"]["masks"])


def test_settings_of_everything_arrive(client, example: str) -> None:
    wanted = {"engine": "fast", "picture": example, "points_per_side": 4, "pred_iou_thresh": 0.95}
    *_, last = lines_of(client.post("/api/everything", json=wanted))
    assert {round(one["predicted_iou"], 2) for one in last["result"]["masks"]} == {0.97}


# What it refuses


@pytest.mark.parametrize(
    ("content", "kind", "status", "words"),
    [
        (b"this is no image", "application/octet-stream", 400, ["not an image"]),
        (b"", "image/png", 400, ["not an image"]),
        (as_png(np.zeros((9, 9, 3), np.uint8))[:45], "image/png", 400, ["not an image"]),
        (b"<svg/>", "image/svg+xml", 400, ["not an image"]),
        (b"x", "text/plain", 415, ["text/plain", "image/"]),
        (b"x", "multipart/form-data; boundary=y", 415, ["wrong type"]),
        (b"x", "application/x-www-form-urlencoded", 415, ["wrong type"]),
    ],
    ids=["text", "empty", "cut off", "drawing", "as text", "as form", "as fields"],
)
def test_wrong_pictures(client, content: bytes, kind: str, status: int, words: list[str]) -> None:
    refused(put(client, content, kind), status, *words)


def test_depth_images_are_refused(client) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(buffer, "PNG")
    refused(put(client, buffer.getvalue()), 400, "more than 8 bits")


def test_too_large_a_file(client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_BYTES", 1000)
    refused(put(client, bytes(1001)), 413, "too large")
    streamed = client.post(
        "/api/pictures",
        content=iter([bytes(600), bytes(600)]),
        headers={"content-type": "application/octet-stream"},
    )
    refused(streamed, 413, "too large")


def test_too_many_pixels(client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "MOST_PIXELS", 99)
    refused(put(client, as_png(np.zeros((10, 10, 3), np.uint8))), 400, "10x10", "more than")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"points": []}, ["'points'", "at least one point or a box"]),
        ({"points": None}, ["'points'", "a list"]),
        ({"points": [[1, 2]]}, ["'points[0]'", "3 finite numbers"]),
        ({"points": [[1, 2, 2]]}, ["'points[0]'", "label 2"]),
        ({"points": [["1", 2, 1]]}, ["'points[0]'"]),
        ({"points": [[1, 2, True]]}, ["'points[0]'"]),
        ({"points": [[1, 1e300, 1]]}, ["'points[0]'"]),
        ({"points": [[1, 2, 1]] * (MOST_POINTS + 1)}, [f"{MOST_POINTS + 1} of them"]),
        ({"points": [[1000, 2, 1]]}, ["outside of the frame", "140"]),
        ({"points": [[-1, 2, 1]]}, ["outside of the frame"]),
        ({"box": [1, 2, 3]}, ["'box'", "4 finite numbers"]),
        ({"box": [30, 2, 3, 40]}, ["has no area"]),
        ({"box": [300, 2, 400, 40]}, ["outside of the frame"]),
        ({"multimask": 1}, ["'multimask'", "true or false"]),
        ({"engine": 3}, ["'engine'"]),
        ({"picture": None}, ["'picture'"]),
        ({"boxes": []}, ["boxes", "unknown field"]),
    ],
)
def test_wrong_questions(client, sam: FakeSam, example: str, wrong: dict, words: list[str]) -> None:
    refused(ask(client, example, **wrong), 400, *words)
    assert sam.asked == []


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 60_000, b'{"points": NaN}', b"1e999"])
@pytest.mark.parametrize("path", ["/api/predict", "/api/everything"])
def test_requests_that_are_no_json(client, content: bytes, path: str) -> None:
    answer = client.post(path, content=content, headers={"content-type": "application/json"})
    refused(answer, 400, "request")


def test_nan_in_json_is_refused() -> None:
    with pytest.raises(evit_deploy.errors.UsageError, match="3 finite numbers"):
        read_question(b'{"engine": "a", "picture": "b", "points": [[NaN, 1, 1]]}')


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"points_per_side": 0}, ["points_per_side", "1 to 64"]),
        ({"points_per_side": 6.5}, ["points_per_side", "a whole number"]),
        ({"stability_score_thresh": 2}, ["stability_score_thresh", "0 to 1"]),
        ({"pred_iou_thresh": "0"}, ["pred_iou_thresh", "a number"]),
        ({"crop_n_layers": 9}, ["crop_n_layers"]),
        ({"min_mask_region_area": -1}, ["min_mask_region_area"]),
        ({"points": []}, ["unknown field"]),
    ],
)
def test_wrong_settings(client, example: str, wrong: dict, words: list[str]) -> None:
    refused(client.post("/api/everything", json={"engine": "fast", "picture": example, **wrong}), 400, *words)


@pytest.mark.parametrize("path", ["/api/predict", "/api/everything"])
def test_unknown_engines_and_pictures(client, example: str, path: str) -> None:
    prompt = {"points": [[1, 2, 1]]} if path == "/api/predict" else {}
    for wrong, words in (({"engine": "none"}, ["'none'", "fast, sure"]), ({"picture": "ab"}, ["no longer", "open it"])):
        refused(client.post(path, json={"engine": "fast", "picture": example, **prompt, **wrong}), 404, *words)
    refused(client.get("/api/pictures/ab"), 404, "no longer")


@pytest.mark.parametrize("path", ["/api/predict", "/api/everything"])
def test_requests_that_are_too_long_or_of_another_type(client, path: str) -> None:
    refused(client.post(path, content=b" " * 70_000, headers={"content-type": "application/json"}), 413, "too large")
    refused(client.post(path, content=b"{}", headers={"content-type": "text/plain"}), 415, "application/json")


def test_unknown_paths_and_methods(client) -> None:
    refused(client.get("/nothing"), 404, "/nothing")
    refused(client.get("/../pyproject.toml"), 404)
    refused(client.get("/server.py"), 404)
    refused(client.get("/api/predict"), 405, "GET")
    refused(client.delete("/api/pictures"), 405)


def test_an_engine_that_fails(client, sam: FakeSam, example: str) -> None:
    sam.broken = True
    refused(ask(client, example), 500, "the engine failed", "nothing helps")
    assert ask(client, example).status_code == 200


def test_a_bug_is_told(client, sam: FakeSam, example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam, "embed", lambda frame: 1 / 0)
    refused(ask(client, example), 500, "this is a bug: ZeroDivisionError")
    wanted = {"engine": "fast", "picture": example, "points_per_side": 2}
    last = lines_of(client.post("/api/everything", json=wanted))[-1]
    assert "this is a bug: ZeroDivisionError" in last["error"]["what"]


# What it keeps


def test_only_the_last_pictures_are_kept(client, example: str) -> None:
    ids = [put(client, as_png(np.full((8, 8, 3), i, np.uint8))).json()["picture"] for i in range(PICTURES + 1)]
    assert client.get(f"/api/pictures/{ids[0]}").status_code == 404
    assert all(client.get(f"/api/pictures/{one}").status_code == 200 for one in [*ids[1:], example])


def test_only_the_last_embeddings_are_kept(sam: FakeSam) -> None:
    desk = Desk({"one": sam})
    frames = [np.full((8, 8, 3), i, np.uint8) for i in range(EMBEDDINGS + 1)]
    questions = [
        read_question(json.dumps({"engine": "one", "picture": str(i), "points": [[1, 1, 1]]}).encode())
        for i in range(len(frames))
    ]
    for question, picture in zip(questions, frames, strict=True):
        desk.predict(question, picture)
    desk.predict(questions[-1], frames[-1])
    assert len(sam.embedded) == EMBEDDINGS + 1
    desk.predict(questions[0], frames[0])
    assert len(sam.embedded) == EMBEDDINGS + 2


def test_work_that_nobody_waits_for_stops(sam: FakeSam, frame: np.ndarray) -> None:
    desk, stop, told = Desk({"one": sam}), threading.Event(), []
    wanted = desk_module.Request("one", "x", evit_deploy.runtime.sam.EverythingOptions(points_per_side=8))

    def tell(line: dict) -> None:
        told.append(line)
        stop.set()

    with pytest.raises(desk_module.StoppedError):
        desk.everything(wanted, frame, tell, stop)
    assert len(told) == 1
    with pytest.raises(desk_module.StoppedError):
        desk.everything(wanted, frame, tell, stop)
    assert len(sam.embedded) == 1


# Other web sites


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        f"evil.example:{PORT}",
        "127.0.0.1",
        "127.0.0.1:1",
        f"127.0.0.1.evil.example:{PORT}",
        "",
        "localhost",
    ],
)
@pytest.mark.parametrize("path", ["/", "/page.js", "/api/state"])
def test_other_names_are_refused(client, host: str, path: str) -> None:
    refused(client.get(path, headers={"host": host}), 403, "127.0.0.1 and localhost only")


def test_localhost_is_this_machine_too(client) -> None:
    assert client.get("/api/state", headers={"host": f"localhost:{PORT}"}).status_code == 200
    app = server.make_app({"one": FakeSam()}, 80)
    assert testclient.TestClient(app, base_url="http://127.0.0.1").get("/").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8000"},
        {"origin": f"https://127.0.0.1:{PORT}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_sites_are_refused(client, sam: FakeSam, example: str, headers: dict[str, str]) -> None:
    question = {"engine": "fast", "picture": example, "points": [[1, 1, 1]]}
    refused(client.post("/api/predict", json=question, headers=headers), 403, "other web sites")
    refused(client.get("/api/state", headers=headers), 403, "other web sites")
    refused(client.options("/api/predict", headers=headers), 403, "other web sites")
    assert sam.asked == []


def test_a_link_from_another_site_opens_the_page(client) -> None:
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200


def test_every_answer_has_safe_headers(client, example: str) -> None:
    answers = [
        client.get("/"), client.get("/nothing"), client.get("/api/state", headers={"host": "evil"}),
        client.get(f"/api/pictures/{example}"), ask(client, example, points=[]),
    ]  # fmt: skip
    for answer in answers:
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert not [name for name in answer.headers if name.startswith("access-control")]


# The command


def test_the_command_refuses_other_engines(small_workspace: Path, evit: Program) -> None:
    answer = evit(
        "demo-sam", small_workspace / "engines" / "b0-seg.cpu.fp32.onnxruntime", "--no-browser", "--port", "0"
    )
    assert answer.code == 2
    assert "b0-seg takes no prompts" in answer.message
    assert "l0-sam" in answer.message


def test_the_command_refuses_a_taken_port(small_workspace: Path, evit: Program) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = evit("demo-sam", small_workspace / "engines" / "b0-seg.cpu.fp32.onnxruntime", "--port", port)
    assert answer.code == 2
    assert f"port {port} cannot be used" in answer.message
    assert "--port 0" in answer.message


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_the_command_names_its_extra(evit: Program, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    answer = evit("demo-sam", "some")
    assert answer.code == 3
    assert f"'{package}', which is not installed" in answer.message
    assert "evit-deploy[web]" in answer.message


def test_the_command_refuses_a_wrong_image(small_workspace: Path, evit: Program) -> None:
    engine = small_workspace / "engines" / "b0-seg.cpu.fp32.onnxruntime"
    answer = evit("demo-sam", engine, "--image", "nowhere.png")
    assert answer.code == 2
    assert "no image nowhere.png" in answer.message


def test_engines_of_one_name_keep_their_paths(tmp_path: Path) -> None:
    from evit_deploy.cli.demo_sam import _names

    folders = [tmp_path / "a" / "l0", tmp_path / "b" / "l0", tmp_path / "b" / "l1"]
    assert list(_names(folders)) == [str(folders[0]), str(folders[1]), "l1"]
