"""For whom the page is, and from where: on all its paths, behind a proxy, and shared."""

from __future__ import annotations

import httpx
import pytest

from latentsync.errors import ServerError
from latentsync.page.server import ServerSettings, who_can_reach
from tests.page.stage import stage

TIMEOUT = 120  # s; the machine may be busy
POST = "gradio_api/reset"
BODY = {"event_id": "1"}
EVIL = "http://evil.example"


@pytest.mark.parametrize("path", ["", "config", "gradio_api/file=/etc/passwd", "nowhere"])
def test_other_hosts_get_nothing(served, path):
    answer = httpx.get(served[0] + path, headers={"Host": "evil.example"}, timeout=TIMEOUT)
    assert answer.status_code == 403 and "--allow_host" in answer.text


@pytest.mark.parametrize("header", ["X-Forwarded-Host", "X-Gradio-Server"])
def test_addresses_in_the_page_are_not_of_a_callers_making(served, header):
    """Gradio builds them from these headers, and keeps those of its API for everybody."""
    for path in ("config", "gradio_api/info"):
        answer = httpx.get(served[0] + path, headers={header: "http://evil.example"}, timeout=TIMEOUT)
        assert answer.status_code == 403
    assert "evil.example" not in httpx.get(served[0] + "gradio_api/info", timeout=TIMEOUT).text


@pytest.mark.parametrize("path", [POST, "gradio_api/upload", "gradio_api/queue/join", "gradio_api/run/predict"])
def test_other_origins_change_nothing(served, path):
    answer = httpx.post(served[0] + path, json=BODY, headers={"Origin": EVIL}, timeout=TIMEOUT)
    assert answer.status_code == 403 and answer.text == "Only pages of this server may do that."


def test_the_page_and_programs_may(served):
    for headers in ({}, {"Origin": served[0].rstrip("/")}):
        assert httpx.post(served[0] + POST, json=BODY, headers=headers, timeout=TIMEOUT).status_code == 200


@pytest.mark.parametrize("path", ["", "config", "assets/none.js", "gradio_api/file=/x"])
def test_no_other_origin_may_read(served, path):
    """Gradio's own answers are open to some; these are to none."""
    for method, origin in (("GET", EVIL), ("OPTIONS", EVIL), ("GET", "null"), ("GET", served[0].rstrip("/"))):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = httpx.request(method, served[0] + path, headers=headers, timeout=TIMEOUT)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["content-security-policy"] == "frame-ancestors 'self'"


def test_a_page_behind_a_proxy_has_its_name(example, page_folder, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(page_folder))
    passed_on = {"X-Forwarded-Host": "page.example", "X-Forwarded-Proto": "https", "Origin": "https://page.example"}
    with stage(example, server=ServerSettings(allow_hosts=("page.example",))) as (address, _):
        assert httpx.post(address + POST, json=BODY, headers=passed_on, timeout=TIMEOUT).status_code == 200
        assert httpx.get(address, headers={"Host": "page.example"}, timeout=TIMEOUT).status_code == 200
        config = httpx.get(address + "config", headers=passed_on, timeout=TIMEOUT).json()
        assert config["root"] == "https://page.example"


def test_who_can_reach_it_is_one_sentence(monkeypatch):
    monkeypatch.setattr("latentsync.page.server.own_addresses", lambda: ["192.0.2.5", "192.0.2.6"])
    local = "http://127.0.0.1:7860/"
    assert who_can_reach(ServerSettings(), local) == who_can_reach(ServerSettings(host="::1"), local) == ""
    everybody = who_can_reach(ServerSettings(host="0.0.0.0"), local)
    assert "port 7860 of this machine over the network (192.0.2.5, 192.0.2.6) can use it" in everybody
    assert "--auth" in everybody and "\n" not in everybody
    assert "(192.0.2.5)" in who_can_reach(ServerSettings(host="192.0.2.5"), local)
    shared = who_can_reach(ServerSettings(share=True), "https://x.gradio.live/")
    assert "Everybody who has this address" in shared and "--auth" in shared


def test_a_shared_page_answers_to_its_public_name(example, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    asked = []
    monkeypatch.setattr("gradio.networking.setup_tunnel", lambda *place: asked.append(place) or "http://1f.gradio.live")
    with stage(example, server=ServerSettings(share=True)) as (address, _):
        assert address == "https://1f.gradio.live/"
        host, port, *_ = asked[0]
        local = f"http://{host}:{port}/"
        for headers in ({"Host": "1f.gradio.live"}, {"X-Forwarded-Host": "1f.gradio.live"}):
            answer = httpx.post(
                local + POST, json=BODY, headers=headers | {"Origin": "https://1f.gradio.live"}, timeout=TIMEOUT
            )
            assert answer.status_code == 200
        other = httpx.get(local, headers={"Host": "2e.gradio.live"}, timeout=TIMEOUT)
        assert other.status_code == 403


def test_a_page_that_cannot_be_shared_is_not_served(example, tmp_path, monkeypatch):
    def fail(*place):
        raise RuntimeError("Could not get share link from Gradio API Server.")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("gradio.networking.setup_tunnel", fail)
    with pytest.raises(ServerError, match="gave no public address"), stage(example, server=ServerSettings(share=True)):
        pass
    assert not list(tmp_path.iterdir())
