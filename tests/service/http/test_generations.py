"""Jobs over HTTP: made, worked on, asked for, listed, deleted; what is refused, and how."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from types import SimpleNamespace

import anyio
import pytest

from latentsync.inference.job import preflight
from latentsync.inference.job.speakers import as_scene, whoever_speaks
from latentsync.scene.model import SegmentAudio
from latentsync.service import dubs
from latentsync.service.http.server import clearing, deadlines

PLAIN = {"type": "video", "assetId": "00000000-0000-4000-8000-000000000001"}
SPEECH = {"type": "audio", "assetId": "00000000-0000-4000-8000-000000000002"}
WHOEVER = {"auto_detect": True}
BOTH = WHOEVER | {"frame_number": 1, "coordinates": [10, 10]}


def segment(start, end, audio, **crop):
    return {"startTime": start, "endTime": end, "audioInput": {"refId": audio} | crop}


@pytest.fixture
def opened(monkeypatch):
    """Every video is one of two seconds."""
    info = SimpleNamespace(fps=Fraction(25), duration=Fraction(2))
    monkeypatch.setattr(dubs, "VideoFile", lambda path, limits: SimpleNamespace(info=info))
    monkeypatch.setattr(dubs, "frame_spacing", lambda info: 1 / info.fps)
    monkeypatch.setattr("latentsync.media.limits.MediaLimits.check_video", lambda self, path: None)


def test_a_job_from_its_uploads_to_its_result(stage, dubbed):
    job = stage.send(outputFileName="my_dub", options={"sync_mode": "cut_off", "seed": 7})
    assert job["status"] == "PENDING" and job["position"] == 0 and stage.woken.is_set()
    assert stage.worker().work_on_one() and not stage.worker().work_on_one()
    done = stage.get(job)
    assert done["status"] == "COMPLETED" and done["outputDuration"] == 0.4 and done["notes"] == ["a note"]
    assert done["outputUrl"].startswith("http://service.example/v2/results/")
    assert done["outputUrl"].endswith("/my_dub.mp4") and done["progress"] == 1
    assert done["queueSeconds"] >= 0 and done["workSeconds"] >= 0 and job["queueSeconds"] is None
    assert stage.client.get(done["outputUrl"]).content == b"dubbed a video with speech"
    assert stage.client.get(done["outputUrl"].replace("/my_dub", "x/my_dub")).status_code == 404
    (request,) = dubbed.requests
    assert request.options.length == "cut" and request.options.seed == 7 and request.resume
    assert [each["id"] for each in stage.client.get("/v2/generations").json()] == [job["id"]]
    assert stage.client.get("/v2/generations?status=PENDING,FAILED").json() == []


def test_asking_for_a_job_needs_no_thread(stage, dubbed, monkeypatch):
    """Every way to a thread and back waits for its turn, with all other clients."""
    job, ways = stage.send(), []

    async def go(function, *values, **options):
        ways.append(function)

    monkeypatch.setattr(anyio.to_thread, "run_sync", go)
    assert stage.get(job)["position"] == 0 and stage.client.get("/healthz").status_code == 200
    assert not ways
    monkeypatch.undo()


def test_files_in_a_form(stage):
    files = {"video": ("../../v.mp4", b"a video"), "audio": ("a.wav", b"speech")}
    job = stage.client.post("/v2/generate", data={"model": "lipsync-2"}, files=files)
    assert job.status_code == 201, job.text
    assert stage.worker().work_on_one()
    done = stage.get(job.json())
    assert done["status"] == "COMPLETED" and "lipsync-2 is not here" in done["notes"][0]
    assert stage.client.get(done["outputUrl"]).content == b"dubbed a video with speech"


def test_an_input_that_cannot_be_used_and_a_fault_of_ours(stage, dubbed):
    faceless, faulty = stage.send(video=b"faceless"), stage.send(video=b"faulty")

    def fail(request, control):
        if b"faulty" in request.video.read_bytes():
            raise ZeroDivisionError("a secret thing")

    dubbed.before = fail
    worker = stage.worker()
    assert worker.work_on_one() and worker.work_on_one()
    refused = stage.get(faceless)
    assert refused["status"] == "REJECTED" and refused["error"] == "video.mp4: no usable face in any frame."
    assert refused["error_code"] == "NoFaceError" and refused["remedy"] == "Take another."
    assert stage.get(faulty)["status"] == "FAILED"


@pytest.mark.parametrize(
    "content",
    [b"<html><body>Sign in</body></html>", b"GIF89a" + b"\xff" * 100, b"\0" * 1000, b"#EXTM3U\nfile:///etc/passwd"],
)
def test_what_is_no_video_is_refused_by_the_dub_itself(make_stage, content):
    stage = make_stage()
    job = stage.send(video=content)
    assert stage.worker().work_on_one()
    said = stage.get(job)
    assert said["status"] == "REJECTED" and said["error_code"] == "VideoError" and said["remedy"]
    assert said["error"].startswith("video.mp4 ") and str(stage.settings.folder) not in str(said)


def test_deleted_while_it_waits_and_while_it_is_worked_on(stage, dubbed):
    waiting = stage.send()
    assert stage.client.delete(f"/v2/generate/{waiting['id']}").status_code == 204
    assert stage.client.get(f"/v2/generate/{waiting['id']}").status_code == 404
    assert not stage.settings.job_folder(waiting["id"]).exists() and not stage.worker().work_on_one()
    running = stage.send()

    def delete(request, control):
        assert stage.client.delete(f"/v2/generate/{running['id']}").status_code == 204
        assert stage.client.get(f"/v2/generate/{running['id']}").status_code == 404
        control.enter("writing")

    dubbed.before = delete
    assert stage.worker().work_on_one()
    assert not stage.settings.job_folder(running["id"]).exists() and not stage.store.under_work()


@pytest.mark.parametrize(
    "change, words",
    [
        ({"segments": [segment(0, 1, "a")]}, "refId of its own"),
        ({"input": [PLAIN, SPEECH | {"refId": "b"}], "segments": [segment(0, 1, "a")]}, "names the refId 'a'"),
        ({"input": [PLAIN, SPEECH | {"refId": "a"}], "segments": [segment(0, 1, "a", startTime=1)]}, "one end only"),
        ({"input": [PLAIN, SPEECH | {"refId": "a"}], "segments": [segment(-1, 1, "a")]}, "segments.0.startTime"),
        (
            {
                "input": [PLAIN, SPEECH | {"refId": "a"}],
                "segments": [segment(0, 1, "a")],
                "options": {"sync_mode": "loop"},
            },
            "no sync_mode loop",
        ),
        (
            {
                "input": [PLAIN, SPEECH | {"refId": "a"}],
                "segments": [segment(0, 1, "a") | {"optionsOverride": {"active_speaker_detection": BOTH}}],
            },
            "names somebody",
        ),
        ({"priority": "high"}, "priority: "),
        ({"input": [PLAIN, SPEECH, SPEECH]}, "one video and one audio"),
        ({"input": [PLAIN]}, "one video and one audio"),
        ({"input": [PLAIN, {"type": "text", "provider": {}}]}, "no text-to-speech"),
        ({"input": [PLAIN, {"type": "audio", "url": "https://a.example/a.wav"}]}, "does not fetch files"),
        ({"input": [PLAIN, {"type": "audio"}]}, "needs either url or assetId"),
        ({"input": [PLAIN, SPEECH]}, "no such upload"),
        ({"model": "react-1"}, "no model 'react-1'"),
        ({"options": {"temperature": 1}}, "no option temperature"),
        ({"options": {"new_option": 1}}, "options.new_option"),
        ({"options": {"sync_mode": "stretch"}}, "options.sync_mode"),
        ({"options": {"preset": "best"}}, "no preset 'best'"),
        ({"options": {"active_speaker_detection": BOTH}}, "names somebody"),
        ({"options": {"active_speaker_detection": WHOEVER, "sync_mode": "bounce"}}, "no sync_mode bounce"),
        ({"options": {"active_speaker_detection": {"frame_number": 1}}}, "belong together"),
        ({"options": {"active_speaker_detection": {"bounding_boxes": [None]}}}, "No frame has"),
        ({"options": {"active_speaker_detection": {"frame_number": 0, "coordinates": [-1, 2]}}}, "pixels from 0"),
        ({"outputFileName": "../../etc/passwd"}, "outputFileName"),
        ({"webhookUrl": "http://127.0.0.1:1/"}, "private network"),
        ({"webhookUrl": "file:///etc/passwd"}, "begins with http"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(stage, change, words):
    answer = stage.client.post("/v2/generate", json={"model": "latentsync-builtin", "input": [PLAIN, SPEECH]} | change)
    said = answer.json()
    assert answer.status_code == said["statusCode"] == (404 if "upload" in words and "no such" in words else 400)
    assert words in said["message"] and said["remedy"] and said["cause"]
    assert not list((stage.settings.folder / "jobs").glob("*"))


def test_segments_are_a_scene(stage, dubbed, opened, monkeypatch):
    inputs = [
        {"type": "video", "assetId": stage.upload()},
        {"type": "audio", "assetId": stage.upload(b"anna", "../anna.wav"), "refId": "a"},
        {"type": "audio", "assetId": stage.upload(b"ben", "ben.mp3"), "refId": "../b"},
    ]
    speaker = {"frame_number": 50, "coordinates": [120, 80]}
    wanted = {
        "model": "latentsync-builtin",
        "input": inputs,
        "segments": [segment(1.1, 2, "a"), segment(0, 1, "../b", startTime=0.5, endTime=1.5)],
        "options": {"active_speaker_detection": speaker, "sync_mode": "silence"},
    }
    job = stage.client.post("/v2/generate", json=wanted).json()
    assert [each["startTime"] for each in job["segments"]] == [1.1, 0] and stage.worker().work_on_one()
    assert stage.get(job)["status"] == "COMPLETED"
    (request,) = dubbed.requests
    first, second = request.scene.segments
    folder = stage.settings.job_folder(job["id"])
    assert first.audio == SegmentAudio(folder / "audio.wav") and first.start == Fraction(11, 10)
    assert second.audio == SegmentAudio(folder / "audio-1.mp3", start=Fraction(1, 2), end=Fraction(3, 2))
    assert (folder / "audio-1.mp3").read_bytes() == b"ben" and request.audio == folder / "audio.wav"
    assert request.scene.speakers()[0].face == "120.0,80.0@2.0000" and request.options.length == "pingpong"
    asked = []
    cost = SimpleNamespace(frames=50, seconds=1.0, denoising_steps=40, disk_bytes=1000)
    monkeypatch.setattr(
        preflight, "preflight", lambda request: asked.append(request) or SimpleNamespace(cost=cost, notes=())
    )
    assert stage.client.post("/v2/generate/estimate-cost", json=wanted).json()[0]["estimatedFrameCount"] == 50
    assert len(asked[0].scene.segments) == 2
    for other, words in (
        ([segment(0, 3, "a")], "the segment from 0 s to 3 s: 3 s lies behind the end of the video"),
        ([segment(0, 1, "a"), segment(0.5, 2, "a")], "begins at 0.5 s, before the one before it is over"),
    ):
        job = stage.client.post("/v2/generate", json=wanted | {"segments": other}).json()
        assert stage.worker().work_on_one()
        refused = stage.get(job)
        assert refused["status"] == "REJECTED" and words in refused["error"] and refused["remedy"]


def test_segments_with_speakers_of_their_own(stage, dubbed, opened):
    inputs = [
        {"type": "video", "assetId": stage.upload()},
        {"type": "audio", "assetId": stage.upload(b"anna", "anna.wav"), "refId": "a"},
        {"type": "audio", "assetId": stage.upload(b"ben", "ben.wav"), "refId": "b"},
    ]
    ben = {"active_speaker_detection": {"frame_number": 25, "coordinates": [500, 80]}}
    segments = [segment(0, 1, "a"), segment(0.5, 2, "b") | {"optionsOverride": ben}]
    wanted = {"model": "latentsync-builtin", "input": inputs, "segments": segments}
    job = stage.client.post("/v2/generate", json=wanted).json()
    assert job["segments"][1]["optionsOverride"] == ben and stage.worker().work_on_one()
    assert stage.get(job)["status"] == "COMPLETED"
    scene = dubbed.requests[0].scene
    assert [(person.name, person.face) for person in scene.speakers()] == [
        ("speaker", "largest"),
        ("speaker-2", "500.0,80.0@1.0000"),
    ]


def test_whoever_speaks(stage, dubbed, opened, monkeypatch):
    """It is a dub by ``--face speaking``, with or without a sync network; an estimate does not look at the video."""
    job = stage.send(options={"active_speaker_detection": WHOEVER, "sync_mode": "cut_off"})
    inputs = [
        {"type": "video", "assetId": stage.upload()},
        {"type": "audio", "assetId": stage.upload(b"anna", "anna.wav"), "refId": "a"},
    ]
    own = segment(1, 2, "a") | {"optionsOverride": {"active_speaker_detection": WHOEVER}}
    parts = {"model": "latentsync-builtin", "input": inputs, "segments": [segment(0, 1, "a"), own]}
    assert stage.worker().work_on_one() and stage.get(job)["status"] == "COMPLETED"
    job = stage.client.post("/v2/generate", json=parts).json()
    assert stage.worker().work_on_one() and stage.get(job)["status"] == "COMPLETED"
    whole, scene = dubbed.requests
    assert whole.options.face == "speaking" and whole.options.length == "pingpong" and whole.scene is None
    assert whoever_speaks(as_scene(whole).scene) and whoever_speaks(scene.scene)
    assert [person.face for person in scene.scene.speakers()] == ["largest", "speaking"]
    asked = []
    cost = SimpleNamespace(frames=50, seconds=1.0, denoising_steps=40, disk_bytes=1000)
    monkeypatch.setattr(
        preflight, "preflight", lambda request: asked.append(request) or SimpleNamespace(cost=cost, notes=())
    )
    for wanted in (stage.wanted(options={"active_speaker_detection": WHOEVER}), parts):
        assert stage.client.post("/v2/generate/estimate-cost", json=wanted).status_code == 200
    for request in asked:
        assert request.scene.segments and not whoever_speaks(request.scene) and request.options.length == "pingpong"


def test_deadlines(stage, dubbed, monkeypatch):
    past = stage.client.post("/v2/generate", json=stage.wanted(deadline="2001-01-01T00:00:00Z"))
    assert past.status_code == 400 and "passed already" in past.json()["message"]
    unclear = stage.client.post("/v2/generate", json=stage.wanted(deadline="2101-01-01T00:00:00"))
    assert unclear.status_code == 400 and unclear.json()["message"].startswith("deadline: ")
    when = "2101-01-01T00:00:00+02:00"
    waiting, taken = stage.send(deadline=when), stage.send(deadline=when, priority=-1)
    assert datetime.fromisoformat(waiting["deadline"]) == datetime.fromisoformat(when) and taken["priority"] == -1
    errand = deadlines(stage.store)
    assert not errand._due()
    monkeypatch.setattr("time.time", lambda: 5e9)
    assert stage.worker().work_on_one() and not dubbed.requests, "a worker begins nothing that is too late"
    for job in errand._due():
        errand._run(job)
    for job in (waiting, taken):
        missed = stage.get(job)
        assert missed["status"] == "FAILED" and missed["error_code"] == "DeadlineError" and missed["remedy"]
        assert missed["error"].startswith("Its deadline, 2") and missed["error"].endswith("had passed before it began.")


def test_whom_to_dub(stage, dubbed, opened):
    for speaker in (
        {"frame_number": 50, "coordinates": [120, 80]},
        {"bounding_boxes": [None] * 50 + [[100, 60, 140, 100]]},
    ):  # as in a segment (test_segments_are_a_scene)
        stage.send(options={"active_speaker_detection": speaker})
        assert stage.worker().work_on_one()
        assert dubbed.requests[-1].options.face == "120.0,80.0@2.0000"


def test_keys_see_their_own_jobs_only(make_stage, dubbed, keys):
    stage = make_stage(keys=keys.path)
    assert stage.client.get("/v2/generations").status_code == 401
    assert stage.client.get("/v2/generations", headers={"x-api-key": "guess"}).json()["cause"] == "RequestRefusedError"
    alice, bob = {"x-api-key": keys.alice}, {"Authorization": f"Bearer {keys.bob}"}
    stage.client.headers.update(alice)
    job = stage.send()
    assert stage.get(job)["id"] == job["id"]
    path = f"/v2/generate/{job['id']}"
    del stage.client.headers["x-api-key"]
    assert stage.client.get(path, headers=bob).status_code == 404
    assert stage.client.delete(path, headers=bob).status_code == 404
    assert stage.client.get("/v2/generations", headers=bob).json() == []
    theirs = job["input"][0]["assetId"]
    assert stage.client.delete(f"/v2/uploads/{theirs}", headers=bob).status_code == 404
    assert stage.client.get("/v2/webhooks/secret", headers=bob).json() != (
        stage.client.get("/v2/webhooks/secret", headers=alice).json()
    )
    keys.path.write_text("")
    assert stage.client.get(path, headers=alice).status_code == 401, "the file is read anew"


def test_a_full_queue(make_stage, dubbed):
    stage = make_stage(waiting=2)
    stage.send()
    wanted = stage.wanted()
    assert stage.client.post("/v2/generate", json=wanted).status_code == 201
    refused = stage.client.post("/v2/generate", json=wanted)
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0
    assert "2 jobs are waiting" in refused.json()["message"]
    assert stage.worker().work_on_one()
    assert stage.client.post("/v2/generate", json=wanted).status_code == 201


def test_what_was_kept_long_enough_goes(make_stage, dubbed):
    stage = make_stage(keep_seconds=-60.0)  # everything is older
    waiting, done = stage.send(), stage.send()
    stage.client.delete(f"/v2/generate/{waiting['id']}")
    assert stage.worker().work_on_one()
    left = stage.send()
    orphan = stage.settings.job_folder("of a server that was killed")
    orphan.mkdir()
    errand = clearing(stage.store, stage.settings, stage.service.uploads)
    for id in errand._due():
        errand._run(id)
    assert stage.client.get(f"/v2/generate/{done['id']}").status_code == 404
    assert [folder.name for folder in (stage.settings.folder / "jobs").iterdir()] == [left["id"]]
    assert not stage.service.uploads.all(stage.service.keys.owner(None)) and stage.worker().work_on_one()
