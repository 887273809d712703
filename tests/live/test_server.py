"""The server of live streams: who may speak, what a client is told, and frames for audio."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from latentsync.errors import ConfigError
from latentsync.live.server.app import build_app, serving
from latentsync.live.server.studio import Studio, StudioLimits, people_in
from latentsync.web.origins import TrustedHosts
from tests.live.plain import OPTIONS, plain_person, plain_pipeline

LIVE = "ws://localhost/live"
RATE = 16_000
HELLO = {"person": "anna", "rate": RATE}


def client_of(**limits):
    pipeline = plain_pipeline()
    studio = Studio(pipeline, {"anna": plain_person(pipeline)}, OPTIONS, StudioLimits(**limits))
    return TestClient(build_app(studio, TrustedHosts("127.0.0.1")), base_url="http://localhost")


@pytest.fixture(scope="module")
def client():
    with client_of(sessions=1, idle_seconds=20) as client:
        yield client


def piece(first, n=RATE // 50):
    return first.to_bytes(8, "little") + np.zeros(n, "<i2").tobytes()


def spoken(socket, seconds=0.5):
    for number in range(int(seconds * 50)):
        socket.send_bytes(piece(number * (RATE // 50)))


def received(socket, frames):
    """The times and images of so many frames."""
    found = []
    while len(found) < frames:
        message = socket.receive()
        if message.get("bytes"):
            image = cv2.imdecode(np.frombuffer(message["bytes"][8:], np.uint8), cv2.IMREAD_COLOR)
            found.append((struct.unpack("<d", message["bytes"][:8])[0], image))
        else:
            assert json.loads(message["text"])["type"] == "statistics", message
    return found


def refusal(socket):
    while True:
        message = socket.receive()
        if message["type"] == "websocket.close":
            return message["code"], ""
        if message.get("text") and json.loads(message["text"])["type"] == "error":
            return socket.receive()["code"], json.loads(message["text"])["message"]


def test_the_page_and_the_people(client):
    assert "<canvas" in client.get("/").text and "registerProcessor" in client.get("/microphone.js").text
    facts = client.get("/people").json()
    assert facts["people"] == ["anna"] and facts["key"] is False
    assert client.get("/people/anna.jpg").content[:2] == b"\xff\xd8"
    assert client.get("/people/..%2Fcard.jpg").status_code == 404


def test_audio_becomes_frames_with_the_times_of_the_audio(client):
    with client.websocket_connect(LIVE) as socket:
        socket.send_text(json.dumps(HELLO))
        begin = json.loads(socket.receive_text())
        assert (begin["type"], begin["width"], begin["height"], begin["fps"]) == ("begin", 160, 160, 25)
        assert begin["delay"] == pytest.approx(3 / 25 + 0.14 + 0.3)
        spoken(socket)
        frames = received(socket, 8)
    numbers = [time * 25 for time, _ in frames]  # on a slow machine some are left out
    assert numbers == pytest.approx(np.round(numbers)) and np.all(np.diff(numbers) > 0.5)
    assert all(image.shape == (160, 160, 3) and image.max() > 100 for _, image in frames)


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"origin": "http://evil.example"}, False),
        ({"host": "evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://localhost"}, True),
        ({}, True),
    ],
)
def test_only_pages_of_this_server_may_connect(client, headers, allowed):
    if not allowed:
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(LIVE, headers=headers):
            pass
        return
    with client.websocket_connect(LIVE, headers=headers) as socket:
        socket.send_text(json.dumps(HELLO))
        assert json.loads(socket.receive_text())["type"] == "begin"


@pytest.mark.parametrize(
    ("hello", "said"),
    [
        ({"person": "bert", "rate": RATE}, "There is no person 'bert'"),
        ({"person": "anna", "rate": 7}, "samples a second"),
        ({"person": "anna"}, "none of ours"),
        ([1], "none of ours"),
    ],
)
def test_what_is_no_greeting_is_refused(client, hello, said):
    with client.websocket_connect(LIVE) as socket:
        socket.send_text(json.dumps(hello))
        code, message = refusal(socket)
        assert code == 1008 and said in message


@pytest.mark.parametrize("data", [b"", b"1234567", bytes(9), piece(2**60), piece(0, 10 * RATE)])
def test_what_is_no_audio_ends_the_session(client, data):
    with client.websocket_connect(LIVE) as socket:
        socket.send_text(json.dumps(HELLO))
        socket.receive_text()
        socket.send_bytes(data)
        assert refusal(socket)[0] == 1008


def test_as_many_as_there_is_room_for_and_the_next_one_when_one_has_gone(client):
    with client.websocket_connect(LIVE) as first:
        first.send_text(json.dumps(HELLO))
        first.receive_text()
        with client.websocket_connect(LIVE) as second:
            second.send_text(json.dumps(HELLO))
            assert refusal(second)[0] == 1013
        first.send_text("end")
        assert refusal(first)[0] == 1000
    with client.websocket_connect(LIVE) as third:
        third.send_text(json.dumps(HELLO))
        assert json.loads(third.receive_text())["type"] == "begin"


def test_others_are_served_while_a_session_ends(client, monkeypatch):
    """Its last window may take long. The end waits here until the server's loop has done something else."""
    went_on = []
    whole = Studio.session

    @contextmanager
    def slow_to_end(self, name, rate):
        loop = asyncio.get_running_loop()
        with whole(self, name, rate) as session:
            yield session
            reached = threading.Event()
            loop.call_soon_threadsafe(reached.set)
            went_on.append(reached.wait(60))

    monkeypatch.setattr(Studio, "session", slow_to_end)
    with client.websocket_connect(LIVE) as socket:
        socket.send_text(json.dumps(HELLO))
        socket.receive_text()
        socket.send_text("end")
        assert refusal(socket)[0] == 1000
    assert went_on == [True]


def test_a_key_and_a_client_that_says_nothing():
    with client_of(key="correct horse battery", idle_seconds=0.3) as client:
        for key, code in (("", 1008), ("correct horse", 1008), ("correct horse battery", 1008)):
            with client.websocket_connect(LIVE) as socket:
                socket.send_text(json.dumps({**HELLO, "key": key}))
                found, said = refusal(socket)
                assert found == code and ("key is wrong" in said) == (key != "correct horse battery")


def test_without_a_key_it_listens_on_this_machine_only():
    pipeline = plain_pipeline()
    studio = Studio(pipeline, {"anna": plain_person(pipeline)}, OPTIONS, StudioLimits())
    with pytest.raises(ConfigError, match="Everybody"), serving(studio, host="0.0.0.0"):
        pass


def test_no_sessions_at_once_are_refused():
    with pytest.raises(ConfigError, match="are none"):
        StudioLimits(sessions=0)


def test_a_folder_without_people(tmp_path):
    with pytest.raises(ConfigError, match="no prepared people"):
        people_in(tmp_path)
    (tmp_path / "anna.lsp").mkdir()
    with pytest.raises(ConfigError, match="is no prepared person"):
        people_in(tmp_path)
