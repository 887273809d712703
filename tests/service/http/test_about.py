"""What a service says of itself: its interface as OpenAPI has it, models, costs, health, figures."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from openapi_spec_validator import validate
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from latentsync.errors import NoFaceError, WeightsMissingError
from latentsync.inference.job import preflight
from latentsync.service.http.app import Beside, build_app
from latentsync.service.http.server import why_unready
from latentsync.web.origins import TrustedHosts


def test_the_document_of_the_interface_and_its_examples(stage):
    document = stage.client.get("/openapi.json").json()
    validate(document)
    body = document["paths"]["/v2/generate"]["post"]["requestBody"]["content"]["application/json"]
    (example,) = [each["value"] for each in body["examples"].values()]
    for each, content in zip(example["input"], (b"a video", b"speech"), strict=True):
        each["assetId"] = stage.upload(content)
    answer = stage.client.post("/v2/generate", json=example)
    assert answer.status_code == 201, answer.text
    assert stage.worker().work_on_one()
    done = stage.get(answer.json())
    stated = document["components"]["schemas"]["Generation"]["properties"]
    assert done.keys() <= stated.keys() and done["status"] == "COMPLETED" and "error_code" in stated
    secured = [route for path, route in document["paths"].items() if path.startswith("/v2/")]
    assert all(operation["security"] for route in secured for operation in route.values())
    assert stage.client.get("/docs").status_code == 200


def test_what_a_job_will_take(stage, monkeypatch):
    asked = []

    def check(request):
        asked.append(request)
        if b"faceless" in request.video.read_bytes():
            raise NoFaceError(f"{request.video}: no usable face.")
        cost = SimpleNamespace(frames=25, seconds=3.21, denoising_steps=40, disk_bytes=1000)
        return SimpleNamespace(cost=cost, notes=(f"{request.video} is short",))

    monkeypatch.setattr(preflight, "preflight", check)
    for path in ("/v2/generate/estimate-cost", "/v2/analyze/cost"):
        (cost,) = stage.client.post(path, json=stage.wanted()).json()
        assert cost["estimatedFrameCount"] == 25 and cost["estimatedGenerationCost"] == 0
        assert cost["notes"] == ["video.mp4 is short"]
        assert cost["estimatedWaitSeconds"] == 0 and cost["deadlineKept"] is None
    stage.send(priority=1)
    for seconds, kept in ((3.3, False), (3600.0, True)):  # one job waits, of about 3.21 s
        deadline = datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()
        (cost,) = stage.client.post("/v2/analyze/cost", json=stage.wanted(deadline=deadline)).json()
        assert cost["estimatedWaitSeconds"] == 3.2 and cost["deadlineKept"] is kept
    assert stage.client.post("/v2/analyze/cost", json=stage.wanted(video=b"faceless")).status_code == 400
    assert not list((stage.settings.folder / "estimates").iterdir()) and not asked[0].video.exists()
    assert len(stage.client.get("/v2/generations").json()) == 1


def test_health_and_figures(stage, dubbed):
    assert stage.client.get("/healthz").json()["status"] == "ok"
    assert stage.client.get("/readyz").json()["status"] == "ready"
    stage.send()
    stage.send(video=b"faceless")
    stage.send()
    worker = stage.worker()
    assert worker.work_on_one() and worker.work_on_one()
    text = stage.client.get("/metrics").text
    for line in (
        'latentsync_jobs_total{status="COMPLETED"} 1.0',
        'latentsync_failures_total{error="NoFaceError"} 1.0',
        'latentsync_stage_seconds_total{stage="detect"} 0.1',
        'latentsync_stage_seconds_total{stage="service"}',
        'latentsync_queue{status="pending"} 1.0',
        'latentsync_memory_bytes{process="server"}',
    ):
        assert line in text


def test_the_examples_of_the_page(stage):
    """Of docs/serving.md: a service that has the built-in models only takes them as they stand."""
    page = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
    whole, part = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    example, segments = json.loads(whole), json.loads(f"{{{part}}}")
    for wanted in (example, example | segments | {"options": {}}):
        for each, content in zip(wanted["input"], (b"a video", b"speech", b"more"), strict=False):
            each["assetId"] = stage.upload(content)
        answer = stage.client.post("/v2/generate", json={k: v for k, v in wanted.items() if k != "webhookUrl"})
        assert answer.status_code == 201, answer.text
    assert set(re.findall(r"-F model=(\S+)", page)) | {example["model"]} == {"lipsync-2"}


def test_what_is_not_ready(make_stage, monkeypatch):
    app = build_app(replace(make_stage().service, unready=lambda: "no worker runs"))
    answer = TestClient(app).get("/readyz")
    assert answer.status_code == 503 and answer.json()["reason"] == "no worker runs"
    stage = make_stage()

    def why(workers=1):
        return why_unready(stage.store, stage.settings, lambda: workers)

    assert why() == "the networks are being loaded"
    worker = stage.worker()
    monkeypatch.setattr(worker, "_load", lambda: None)
    worker.warm_up()
    assert why() == "the networks are being loaded" and why(0) == "no worker runs"

    def lack():
        raise WeightsMissingError("There is no face detector.", remedy="Fetch one.")

    monkeypatch.setattr(worker, "_load", lack)
    with pytest.raises(WeightsMissingError):
        worker.warm_up()
    assert "cannot be loaded" in why() and "cannot be loaded" in why(0), "it is started again all the time"
    assert not worker.look() and why() == ""


def test_pages_of_other_sites(make_stage):
    """Where there are no keys, a page of another site must not send jobs from a browser on this machine."""
    client = TestClient(build_app(make_stage().service, hosts=TrustedHosts("127.0.0.1")), base_url="http://127.0.0.1")
    assert client.get("/v2/models").status_code == 200
    assert client.get("/v2/models", headers={"Host": "evil.example"}).status_code == 403
    assert client.post("/v2/generate", headers={"Origin": "http://evil.example"}).status_code == 403


def test_a_page_beside_it(stage):
    """Its routes are the service's own; everything else is the page's."""

    async def page(scope, receive, send):
        await PlainTextResponse("the page")(scope, receive, send)

    client = TestClient(Beside(stage.app, page))
    assert client.get("/").text == client.get("/config").text == client.get("/v2x").text == "the page"
    assert client.get("/healthz").json()["status"] == "ok" and client.get("/v2/models").json()
    assert client.get("/v2/nothing").json()["statusCode"] == 404
