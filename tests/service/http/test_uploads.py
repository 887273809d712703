"""Files in pieces: resumed, refused, and never outside their folder; bodies of hostile clients."""

from __future__ import annotations

import itertools
from dataclasses import replace

import anyio
import pytest

from latentsync.media.limits import MediaLimits
from latentsync.service import uploads
from latentsync.service.http import body
from latentsync.service.keys import ANYBODY

PIECE = {"Content-Type": "application/offset+octet-stream"}


def begin(stage, length=10, **headers):
    return stage.client.post("/v2/uploads", headers={"Upload-Length": str(length)} | headers)


def test_an_upload_in_pieces(stage):
    made = begin(stage)
    path = made.headers["location"]
    for offset, piece in ((0, b"0123"), (4, b"456789")):
        answer = stage.client.patch(path, content=piece, headers=PIECE | {"Upload-Offset": str(offset)})
        assert answer.status_code == 204 and answer.headers["upload-offset"] == str(offset + len(piece))
    assert stage.client.head(path).headers["upload-offset"] == "10"
    assert stage.client.get(f"/v2/assets/{made.json()['id']}").json()["received"] == 10
    assert stage.client.delete(path).status_code == 204 and stage.client.head(path).status_code == 404


@pytest.mark.parametrize(
    "headers, content, status",
    [
        ({"Upload-Offset": "4"}, b"x", 409),
        ({"Upload-Offset": "0"}, b"x" * 11, 413),
        ({"Upload-Offset": "0", "Content-Type": "text/plain"}, b"x", 415),
        ({"Upload-Offset": "0", "Tus-Resumable": "0.2"}, b"x", 412),
        ({"Upload-Offset": "-1"}, b"x", 409),
        ({"Upload-Offset": "a"}, b"x", 400),
    ],
)
def test_a_piece_that_does_not_fit(stage, headers, content, status):
    path = begin(stage).headers["location"]
    answer = stage.client.patch(path, content=content, headers=PIECE | headers)
    assert answer.status_code == answer.json()["statusCode"] == status
    assert stage.client.head(path).headers["upload-offset"] == "0"


def test_an_upload_that_is_not_whole_is_no_input(stage):
    half = begin(stage).json()["id"]
    inputs = [{"type": "video", "assetId": half}, {"type": "audio", "assetId": half}]
    answer = stage.client.post("/v2/generate", json={"model": "lipsync-2", "input": inputs})
    assert answer.status_code == 409 and "0 of the 10 bytes" in answer.json()["message"]


@pytest.mark.parametrize("id", ["..%2f..%2fservice.db", "..", "%2e%2e%2f" * 8 + "etc%2fpasswd", "x" * 5000, "%00"])
def test_names_that_lead_elsewhere(stage, id):
    outside = stage.settings.folder.parent / "outside"
    outside.write_text("mine")
    for method in ("HEAD", "DELETE"):
        assert stage.client.request(method, f"/v2/uploads/{id}").status_code in (404, 405)
    for path in (f"/v2/assets/{id}", f"/v2/generate/{id}", f"/v2/results/{id}/x/y"):
        assert stage.client.get(path).status_code in (400, 404)
    assert outside.read_text() == "mine" and (stage.settings.folder / "service.db").exists()


def test_a_traversal_in_the_name_of_a_file_stays_a_name(stage):
    stage.upload(name="../../../../tmp/evil.sh;x")
    (upload,) = stage.service.uploads.all(ANYBODY)
    assert upload.name == "../../../../tmp/evil.sh;x" and upload.suffix == ".bin"
    assert {path.name for path in upload.folder.iterdir()} == {"about.json", "data"}


def test_a_new_upload_reads_none_of_the_others(stage, monkeypatch):
    ids = [stage.upload() for _ in range(3)]
    read = []
    monkeypatch.setattr(uploads, "_read", lambda folder: read.append(folder))
    stage.service.uploads.create(ANYBODY, 1, "b.mp4")
    assert not read
    monkeypatch.undo()
    again = uploads.Uploads(stage.settings)  # of a server that was started again
    again.create(ANYBODY, 1, "c.mp4")
    again.remove(again.get(ANYBODY, ids[0]))
    assert len(again.all(ANYBODY)) == len(again._lengths[ANYBODY.name]) == 4


def test_quotas_and_a_full_disk(make_stage, dubbed, keys, monkeypatch):
    keys.path.write_text(keys.path.read_text().replace("\n\n", "\ngigabytes = 1e-6\n\n"))
    stage = make_stage(keys=keys.path, reserve=0)
    alice = {"x-api-key": keys.alice}
    assert begin(stage, 900, **alice).status_code == 201
    assert "more than 1e-06 GB" in begin(stage, 200, **alice).json()["message"]
    assert begin(stage, 900, **{"x-api-key": keys.bob}).status_code == 201
    assert begin(stage, 10**12, **alice).status_code == 413
    monkeypatch.setattr("latentsync.service.uploads.shutil.disk_usage", lambda folder: type("", (), {"free": -1}))
    assert begin(stage, 1, **{"x-api-key": keys.bob}).status_code == 507


@pytest.mark.parametrize(
    "content, status",
    [
        (b'{"a":' * 200_000, 400),
        (b"[" * 1_000_000, 400),
        (b'{"model": "' + b"x" * 3_000_000 + b'"}', 413),
        (b"", 400),
        (b"\xff\xfe", 400),
        (b'{"model": "lipsync-2", "input": {}}', 400),
        (b'{"model": "lipsync-2", "input": [{"type": "image"}]}', 400),
    ],
)
def test_json_that_is_none_of_ours(stage, content, status):
    for path in ("/v2/generate", "/v2/generate/estimate-cost"):
        answer = stage.client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == answer.json()["statusCode"] == status, path
        assert answer.json()["message"] and answer.json()["remedy"] and len(answer.content) < 2000


def ask(app, content_type, pieces):
    """What the application answers to a body of these pieces, after which none comes: (status, text)."""
    said = []

    async def run():
        scope = {
            "type": "http", "method": "POST", "path": "/v2/generate", "raw_path": b"/v2/generate", "query_string": b"",
            "headers": [(b"host", b"s"), (b"content-type", content_type)], "http_version": "1.1",
            "scheme": "http", "server": ("s", 80), "client": ("c", 1), "root_path": "",
        }  # fmt: skip
        left = iter(pieces)

        async def receive():
            if (piece := next(left, None)) is None:
                await anyio.sleep_forever()
            return {"type": "http.request", "body": piece, "more_body": True}

        async def send(message):
            said.append(message)

        await app(scope, receive, send)

    anyio.run(run)
    return said[0]["status"], said[1]["body"].decode()


def test_a_form_that_does_not_end(make_stage, dubbed):
    stage = make_stage(limits=replace(MediaLimits(), bytes=1000))
    head = b'--x\r\nContent-Disposition: form-data; name="video"; filename="v.mp4"\r\n\r\n'
    pieces = itertools.chain([head], itertools.repeat(b"x" * 10_000))
    status, text = ask(stage.app, b"multipart/form-data; boundary=x", pieces)
    assert status == 413 and "at most" in text and not list(stage.settings.folder.glob("uploads/*/*"))


def test_a_body_that_comes_too_slowly(stage, monkeypatch):
    monkeypatch.setattr(body, "IDLE_SECONDS", 0.05)
    status, text = ask(stage.app, b"application/json", [b"{"])
    assert status == 408 and "too slowly" in text
