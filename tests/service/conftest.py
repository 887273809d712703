"""A service in this process: its application, and workers that stand in for the networks."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from latentsync.errors import NoFaceError
from latentsync.inference.weights import WeightPaths
from latentsync.service import runner
from latentsync.service.dubs import Models
from latentsync.service.http.access import Service
from latentsync.service.http.app import build_app
from latentsync.service.job import ServiceSettings
from latentsync.service.keys import Keys, add_key
from latentsync.service.store import open_store
from latentsync.service.uploads import Uploads
from latentsync.service.worker import Worker

BUILTIN = "latentsync-builtin"


@pytest.fixture
def dubbed(monkeypatch):
    """What a stand-in for the dub was asked for, and a hook that may raise."""
    made = SimpleNamespace(requests=[], before=lambda request, control: None)

    def dub(request, control, networks):
        made.requests.append(request)
        control.expect(10, 10)
        control.enter("dubbing")
        made.before(request, control)
        if b"faceless" in request.video.read_bytes():
            raise NoFaceError(f"{request.video}: no usable face in any frame.", remedy="Take another.")
        control.written(10)
        request.output.write_bytes(b"dubbed " + request.video.read_bytes() + b" with " + request.audio.read_bytes())
        report = {"output_seconds": 0.4, "notes": ["a note"], "seconds_by_stage": {"detect": 0.1}}
        return SimpleNamespace(to_json=lambda: json.dumps(report))

    monkeypatch.setattr(runner, "dub", dub)
    return made


class Stage:
    """The parts of a service without its processes; ``client`` speaks with its application."""

    def __init__(self, folder, *, keys=None, **values):
        self.settings = replace(ServiceSettings(folder / "data", reserve=0), **values)
        self.store = open_store(self.settings.folder)
        self.models = Models({BUILTIN: WeightPaths.builtin()}, BUILTIN)
        self.woken = threading.Event()
        self.service = Service(
            self.settings,
            self.store,
            Keys(keys),
            self.models,
            Uploads(self.settings),
            b"secret",
            self.woken.set,
            lambda: "",
        )
        self.app = build_app(self.service)
        self.client = TestClient(self.app, base_url="http://service.example", raise_server_exceptions=False)

    def worker(self, name="worker-0"):
        return Worker(self.store, self.settings, self.models, name, "cpu", make_networks=lambda: None)

    def upload(self, content=b"a video", name="a.mp4", **headers):
        metadata = "filename " + base64.b64encode(name.encode()).decode()
        about = {"Upload-Length": str(len(content)), "Upload-Metadata": metadata} | headers
        made = self.client.post("/v2/uploads", headers=about)
        assert made.status_code == 201, made.text
        piece = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"} | headers
        assert self.client.patch(made.headers["location"], content=content, headers=piece).status_code == 204
        return made.json()["id"]

    def wanted(self, video=b"a video", audio=b"speech", **more):
        inputs = [
            {"type": "video", "assetId": self.upload(video)},
            {"type": "audio", "assetId": self.upload(audio, "a.wav")},
        ]
        return {"model": BUILTIN, "input": inputs} | more

    def send(self, **more):
        answer = self.client.post("/v2/generate", json=self.wanted(**more))
        assert answer.status_code == 201, answer.text
        return answer.json()

    def get(self, job):
        return self.client.get(f"/v2/generate/{job['id']}").json()


@pytest.fixture
def make_stage(tmp_path):
    """Makes services, and closes their stores."""
    made = []

    def make(**values):
        made.append(Stage(tmp_path, **values))
        return made[-1]

    yield make
    for stage in made:
        stage.store.close()


@pytest.fixture
def stage(make_stage, dubbed):
    """A service for everybody."""
    return make_stage()


@pytest.fixture
def keys(tmp_path):
    """A file with the keys of alice and bob, and what they send."""
    path = tmp_path / "keys.toml"
    return SimpleNamespace(path=path, alice=add_key(path, "alice"), bob=add_key(path, "bob"))


@pytest.fixture
def served(dubbed, tmp_path):
    """A service at an address of this machine, with one worker in a thread."""
    from contextlib import ExitStack

    from latentsync.web.listener import bind, listening

    with ExitStack() as stack:
        stage = Stage(tmp_path, private_addresses=True, url_inputs=True)
        worker = stage.worker()
        thread = threading.Thread(target=worker.work)
        service = replace(stage.service, wake=worker.wake)
        sock = stack.enter_context(bind("127.0.0.1", None))
        stage.address = f"http://127.0.0.1:{sock.getsockname()[1]}"
        stack.enter_context(listening(build_app(service), sock))
        thread.start()
        stack.callback(stage.store.close)
        stack.callback(thread.join)
        stack.callback(worker.end)
        yield stage


@pytest.fixture
def other_side():
    """A server of somebody else: answers to GET and POST by ``answers``, and keeps what it got."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            self.server.got.append((self.path, dict(self.headers), body))
            status, headers, content = self.server.answers(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.answers = [], lambda path: (200, {}, b"")
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
