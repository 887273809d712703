"""Addresses that clients name: inputs are fetched and webhooks sent to public ones only, within limits."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import replace

import pytest

from latentsync.client import verify_webhook
from latentsync.media.limits import MediaLimits
from latentsync.service import outside, webhooks
from latentsync.service.fetching import fetch_input, fetching
from latentsync.service.generation import VideoInput
from latentsync.service.http.generations import as_json
from latentsync.service.job import JobStatus, RequestRefusedError
from latentsync.service.keys import ANYBODY
from latentsync.service.outside import Outside, UnreachableError, is_public

INSIDE = (
    "127.0.0.1 10.0.0.1 192.168.1.1 172.16.0.1 169.254.169.254 0.0.0.0 100.64.0.1 224.0.0.1 255.255.255.255 "
    "::1 :: fe80::1 fd00::1 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 2002:7f00:1::"
)


@pytest.mark.parametrize("text", INSIDE.split())
def test_addresses_that_are_not_for_everybody(text):
    assert not is_public(ipaddress.ip_address(text))
    host = f"[{text}]" if ":" in text else text
    with pytest.raises(RequestRefusedError, match="private network"):
        Outside().check(f"http://{host}/x")


@pytest.mark.parametrize("text", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"])
def test_addresses_that_are(text):
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a.example/", "//a.example", "http://", "http://u:p@a.example/", "http://[x/",
            "http://a.example:99999/", "http://a.example/\r\nX: y", "gopher://a.example/", "http://a example/"]
)  # fmt: skip
def test_what_is_no_address(url):
    with pytest.raises(RequestRefusedError, match="begins with http"):
        Outside(private=True).check(url)


def resolve(monkeypatch, *answers):
    """Have names mean these addresses, one list at a time; returns what was asked and connected to."""
    asked, left = [], list(answers)

    def getaddrinfo(host, port, **values):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in left.pop(0)]

    monkeypatch.setattr(outside.socket, "getaddrinfo", getaddrinfo)
    return asked


def test_a_name_that_means_a_private_address(monkeypatch, other_side):
    for addresses in (["127.0.0.1"], ["93.184.216.34", "10.0.0.1"]):
        resolve(monkeypatch, addresses)
        with (
            pytest.raises(RequestRefusedError, match="private network"),
            Outside().request("GET", "http://a.example/", seconds=5),
        ):
            pass
    assert not other_side.got


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch):
    """The name would mean another address the second time."""
    asked, connected = resolve(monkeypatch, ["93.184.216.34"], ["127.0.0.1"]), []

    def connect_tcp(self, host, port, *more):
        connected.append(host)
        raise outside.httpcore.ConnectError("no network here")

    monkeypatch.setattr(outside.httpcore.SyncBackend, "connect_tcp", connect_tcp)
    with (
        pytest.raises(UnreachableError, match="ConnectError"),
        Outside().request("GET", "http://a.example/", seconds=5),
    ):
        pass
    assert asked == ["a.example"] and connected == ["93.184.216.34"]


def test_a_redirect_is_checked_as_well(monkeypatch, other_side):
    other_side.answers = lambda path: (302, {"Location": "http://inside.example/"}, b"")
    guard = Outside()
    seen = []

    def addresses(host, port):
        seen.append(host)
        if host == "inside.example":
            raise RequestRefusedError("The address lies in a private network.")
        return ["127.0.0.1"]

    monkeypatch.setattr(guard, "addresses", addresses)
    url = other_side.url.replace("127.0.0.1", "public.example")
    with pytest.raises(RequestRefusedError), guard.request("GET", url, seconds=60, redirects=5):
        pass
    assert seen == ["public.example", "inside.example"]


def fetch(stage, url, folder):
    folder.mkdir()
    fetch_input(VideoInput(type="video", url=url), "video", folder, stage.settings)
    return next(folder.iterdir())


@pytest.mark.parametrize(
    "answer, words",
    [
        ((200, {"Content-Type": "text/html"}, b"<html>"), "text at that address"),
        ((404, {}, b"x"), "status 404"),
        ((200, {"Content-Length": "9999"}, b"x"), "more than 100 bytes"),
        ((200, {}, b"x" * 101), "more than 100 bytes"),
        ((302, {"Location": "/again"}, b""), "more than 5 redirects"),
        ((302, {"Location": "file:///etc/passwd"}, b""), "begins with http"),
    ],
)
def test_what_is_not_fetched(make_stage, other_side, tmp_path, answer, words):
    stage = make_stage(private_addresses=True, url_inputs=True, limits=replace(MediaLimits(), bytes=100))
    other_side.answers = lambda path: answer
    with pytest.raises(RequestRefusedError, match=words):
        fetch(stage, f"{other_side.url}/v.mp4", tmp_path / "job")
    assert not list((tmp_path / "job").iterdir())


def test_what_takes_too_long_is_not_fetched(make_stage, other_side, tmp_path):
    stage = make_stage(private_addresses=True, url_inputs=True, fetch_seconds=0)
    with pytest.raises(RequestRefusedError, match="cannot be fetched"):
        fetch(stage, f"{other_side.url}/v.mp4", tmp_path / "job")


def test_a_job_whose_inputs_are_fetched(make_stage, dubbed, other_side):
    stage = make_stage(private_addresses=True, url_inputs=True)
    other_side.answers = lambda path: (404, {}, b"") if "gone" in path else (200, {}, path.encode())
    jobs = []
    for name in ("v", "gone"):
        inputs = [{"type": "video", "url": f"{other_side.url}/{name}.mp4"},
                  {"type": "audio", "url": f"{other_side.url}/a.wav"}]  # fmt: skip
        answer = stage.client.post("/v2/generate", json={"model": "lipsync-2", "input": inputs})
        assert answer.status_code == 201, answer.text
        jobs.append(answer.json())
    assert not stage.worker().work_on_one()
    errand = fetching(stage.store, stage.settings, lambda: None)
    for job in stage.store.unfetched():
        errand._run(job)
    assert stage.worker().work_on_one() and not stage.worker().work_on_one()
    done, gone = map(stage.get, jobs)
    assert done["status"] == "COMPLETED" and stage.settings.result_file(done["id"]).read_bytes() == (
        b"dubbed /v.mp4 with /a.wav"
    )
    assert gone["status"] == "REJECTED" and "status 404" in gone["error"]


def test_a_webhook_is_signed_tried_again_and_sent_once(make_stage, dubbed, other_side, monkeypatch):
    stage = make_stage(private_addresses=True)
    answers = [503, 302, 200]
    other_side.answers = lambda path: (answers.pop(0), {"Location": "/elsewhere"}, b"")
    job = stage.send(webhookUrl=f"{other_side.url}/hook")
    assert stage.worker().work_on_one()
    monkeypatch.setattr(webhooks, "PAUSES", (0.0, 0.0))
    describe = lambda job: as_json(stage.service, job)  # noqa: E731
    for _ in range(4):
        errand = webhooks.webhooks(stage.store, Outside(private=True), b"secret", describe)  # as after a restart
        for due in errand._due():
            errand._run(due)
    assert [path for path, _, _ in other_side.got] == ["/hook"] * 3 and stage.store.webhook(job["id"])["attempts"] == 3
    _, headers, content = other_side.got[-1]
    secret = stage.client.get("/v2/webhooks/secret").json()["secret"]
    told = verify_webhook(secret, headers["Sync-Signature"], content)
    assert told.id == job["id"] == headers["Webhook-Id"] and told.status == "COMPLETED"
    assert stage.client.get(told.output_url).status_code == 200


def test_a_webhook_to_a_private_address_is_given_up(make_stage, dubbed, other_side, monkeypatch):
    stage = make_stage()
    job = stage.send(webhookUrl="http://inside.example/")
    assert stage.worker().work_on_one()
    resolve(monkeypatch, ["127.0.0.1"])
    errand = webhooks.webhooks(stage.store, Outside(), b"secret", lambda job: {})
    (due,) = errand._due()
    errand._run(due)
    assert "private network" in stage.store.webhook(job["id"])["error"] and not errand._due() and not other_side.got
    assert ANYBODY.name == due.job.key and stage.store.get(job["id"]).status is JobStatus.COMPLETED
