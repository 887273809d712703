"""The service as its clients see it: sync.so's published SDK, our own two, and a stream of events."""

from __future__ import annotations

import asyncio
import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from latentsync.client import AsyncClient, Client, Failed, ServiceError, verify_webhook
from latentsync.client.protocol import PIECE
from latentsync.service.generation import GenerateRequest
from latentsync.service.webhooks import signature


@pytest.fixture
def files(tmp_path):
    video, audio = tmp_path / "in.mp4", tmp_path / "speech.wav"
    video.write_bytes(b"a video")
    audio.write_bytes(b"speech")
    return video, audio


def test_the_published_sdk(served, files, other_side):
    sync = pytest.importorskip("sync")
    other_side.answers = lambda path: (200, {"Content-Type": "video/mp4"}, path.encode())
    client = sync.Sync(base_url=served.address, api_key="any")
    sent = client.generations.create_with_files(
        model="lipsync-2", video=files[0].open("rb"), audio=("speech.wav", files[1].read_bytes())
    )
    assert sent.status == "PENDING" and sent.created_at.tzinfo is not None
    by_address = client.generations.create(
        model="latentsync-builtin",
        input=[sync.Video(url=f"{other_side.url}/v.mp4"), sync.Audio(url=f"{other_side.url}/a.wav")],
        options=sync.GenerationOptions(sync_mode="loop"),
        output_file_name="by_address",
    )
    assert client.generations.get(by_address.id).options.sync_mode == "loop"
    spoken = sync.SegmentAudioInput(ref_id="a", start_time=0, end_time=1)
    in_segments = client.generations.create(
        model="latentsync-builtin",
        input=[sync.Video(url=f"{other_side.url}/v.mp4"), sync.Audio(url=f"{other_side.url}/a.wav", ref_id="a")],
        segments=[sync.GenerationSegment(start_time=0, end_time=1, audio_input=spoken)],
    )
    assert client.generations.get(in_segments.id).segments[0].audio_input == spoken
    with Client(served.address) as ours:
        ours.wait(sent.id, poll=0.01)
        served.store.set_fetched(by_address.id)  # what the server's errands do is in test_fetching
        for kind in ("video", "audio"):
            (served.settings.job_folder(by_address.id) / f"{kind}.bin").write_bytes(kind.encode())
        ours.wait(by_address.id, poll=0.01)
    done = client.generations.get(sent.id)
    assert done.status == "COMPLETED" and done.output_duration == 0.4 and done.error is None
    assert httpx.get(done.output_url, timeout=120).content == b"dubbed a video with speech"
    assert {each.id for each in client.generations.list(status=["COMPLETED"])} == {sent.id, by_address.id}
    assert [each.id for each in client.generations.list(ids=[sent.id])] == [sent.id]
    assert [model.id for model in client.models.list()] == ["latentsync-builtin"]
    assert {asset.name for asset in client.assets.list().items} == {"in.mp4", "speech.wav"}
    with pytest.raises(sync.core.ApiError) as refused:
        client.generations.create(model="react-1", input=[])
    assert refused.value.status_code == 400 and "one video" in refused.value.body.message
    with pytest.raises(sync.core.ApiError) as missing:
        client.generations.get("00000000-0000-4000-8000-000000000000")
    assert missing.value.status_code == 404


def test_the_examples_of_the_page(served, files, monkeypatch, capsys):
    """Of docs/serving.md, as they stand but for the address."""
    pytest.importorskip("sync")
    page = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
    monkeypatch.chdir(files[0].parent)
    pause = time.sleep
    monkeypatch.setattr("time.sleep", lambda seconds: pause(min(seconds, 0.02)))
    codes = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for first in ("import time", "from latentsync.client import Client"):
        (code,) = [each for each in codes if each.startswith(first)]
        exec(re.sub(r"http://(127.0.0.1|HOST):8000", served.address, code), {"key": ""})
    assert f"{served.address}/v2/results/" in (said := capsys.readouterr().out) and "1.0" in said
    assert Path("out.mp4").read_bytes() == b"dubbed a video with speech"


def test_our_client(served, files, tmp_path):
    seen = []
    with Client(served.address) as client:
        job = client.dub(*files, tmp_path / "out.mp4", on_progress=seen.append)
        assert (tmp_path / "out.mp4").read_bytes() == b"dubbed a video with speech"
        assert seen[-1] == job and job.seconds == 0.4 and client.jobs(status=["COMPLETED"]) == [job]
        files[0].write_bytes(b"faceless")
        with pytest.raises(Failed, match="no usable face"):
            client.dub(*files, tmp_path / "out.mp4")
        client.delete(job.id)
        with pytest.raises(ServiceError) as gone:
            client.get(job.id)
        assert gone.value.status == 404 and gone.value.remedy


def test_our_client_for_asyncio(served, files, tmp_path):
    async def work():
        async with AsyncClient(served.address) as client:
            jobs = await asyncio.gather(*(client.dub(*files, tmp_path / f"{n}.mp4") for n in range(3)))
            assert {job.id for job in await client.jobs()} == {job.id for job in jobs}

    asyncio.run(work())
    assert (tmp_path / "2.mp4").read_bytes() == b"dubbed a video with speech"


def test_an_upload_goes_on_after_a_broken_connection(stage, files, monkeypatch):
    content = bytes(range(256)) * 9000  # 2.3 MB
    files[0].write_bytes(content)
    monkeypatch.setattr("latentsync.client.talks.PIECE", PIECE // 8)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    broken = []

    def forward(request):
        body = request.content
        if request.method == "PATCH" and len(broken) < 2:
            broken.append(request.url)
            if len(broken) == 2:  # arrives, and the answer is lost
                stage.client.request("PATCH", str(request.url), headers=dict(request.headers), content=body)
            raise httpx.ReadError("broken")
        got = stage.client.request(request.method, str(request.url), headers=dict(request.headers), content=body)
        return httpx.Response(got.status_code, headers=dict(got.headers), content=got.content)

    with Client("http://service.example", transport=httpx.MockTransport(forward)) as client:
        id = client.upload(files[0])
    (upload,) = stage.service.uploads.all(stage.service.keys.owner(None))
    assert upload.id == id and upload.data.read_bytes() == content and len(broken) == 2


def test_what_may_pass_is_sent_again_as_the_service_says(monkeypatch):
    busy = httpx.Response(429, headers={"Retry-After": "7"})
    answers = [busy, httpx.ConnectError("no"), httpx.Response(200, json=[])]
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)

    def answer(request):
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    with Client("http://service.example", transport=httpx.MockTransport(answer)) as client:
        assert client.jobs() == []
        assert pauses[0] == 7 and len(pauses) == 2
        answers[:] = [httpx.Response(502, text="<html>")]
        with pytest.raises(ServiceError, match="status 502"):
            client.generate({"url": "a"}, {"url": "b"})

    async def note(seconds):
        pauses.append(seconds)

    async def work():
        async with AsyncClient("http://service.example", transport=httpx.MockTransport(answer)) as client:
            return await client.jobs()

    monkeypatch.setattr("asyncio.sleep", note)
    busy = httpx.Response(429, headers={"Retry-After": "7"})
    answers[:] = [busy, httpx.ConnectError("no"), httpx.Response(200, json=[])]
    assert asyncio.run(work()) == [] and pauses[2] == 7 and len(pauses) == 4


def test_what_our_client_asks_for():
    asked = []

    def answer(request):
        asked.append(json.loads(request.content))
        return httpx.Response(201, json={"id": "1", "status": "PENDING"})

    segments = [{"startTime": 0, "endTime": 1, "audioInput": {"refId": "b"}}]
    with Client("http://service.example", transport=httpx.MockTransport(answer)) as client:
        audios = [{"assetId": "2", "refId": "a"}, {"assetId": "3", "refId": "b"}]
        deadline = datetime(2101, 1, 1, tzinfo=UTC)
        client.generate({"assetId": "1"}, audios, segments=segments, priority=2, deadline=deadline)
        client.generate({"assetId": "1"}, {"assetId": "2"})
    first, second = map(GenerateRequest.model_validate, asked)
    assert [each.ref_id for each in first.audios] == ["a", "b"] and first.segments[0].audio_input.ref_id == "b"
    assert first.priority == 2 and first.deadline == deadline and second.deadline is None
    assert second.segments is None and second.audios[0].asset_id == "2"


def test_events(served):
    job = served.client.post("/v2/generate", json=served.wanted()).json()
    events = []
    with httpx.stream("GET", f"{served.address}/v2/generate/{job['id']}/events", timeout=300) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            name, _, value = line.partition(": ")
            if name == "data":
                events.append(json.loads(value))
    assert events[-1]["status"] == "COMPLETED" and events[-1]["id"] == job["id"]


def test_a_webhook_is_believed_only_with_its_signature():
    body = json.dumps({"id": "1", "status": "COMPLETED"}).encode()
    signed = signature("secret", 1000, body)
    assert verify_webhook("secret", signed, body, now=1100).is_final
    for secret, header, content, now in (
        ("other", signed, body, 1100),
        ("secret", signed, body + b" ", 1100),
        ("secret", signed.replace("t=1000", "t=1001"), body, 1100),
        ("secret", signed, body, 1301),
        ("secret", "", body, 1100),
    ):
        with pytest.raises(ValueError, match="webhook"):
            verify_webhook(secret, header, content, now=now)
