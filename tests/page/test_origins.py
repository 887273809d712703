"""For whom and from where: hosts, origins, and what other origins may read."""

from __future__ import annotations

import httpx
import pytest
from starlette.datastructures import Headers

from latentsync.errors import ConfigError, ServerError
from latentsync.page.origins import TrustedHosts, parse_authority
from latentsync.page.server import ServerSettings, who_can_reach
from tests.page.stage import stage

TIMEOUT = 120  # s; the machine may be busy
POST = "gradio_api/reset"
BODY = {"event_id": "1"}


@pytest.fixture(scope="module")
def behind_proxy(example, page_folder):
    """A page that a proxy in front of it calls page.example, and b.example:8443."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(page_folder))
        with stage(example, server=ServerSettings(allow_hosts=("page.example", "b.example:8443"))) as (address, _):
            yield address


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "169.254.169.254", "192.168.1.5", "0.0.0.0"]
    + ["127.0.0.1@evil.example", "page.example", "", "[::2]", "localhost:x", "a b", "localhost, evil.example"],
)
@pytest.mark.parametrize("path", ["", "config", "gradio_api/file=/etc/passwd", "nowhere"])
def test_other_hosts_get_nothing(served, host, path):
    answer = httpx.get(served[0] + path, headers={"Host": host}, timeout=TIMEOUT)
    assert answer.status_code == 403 and "--allow_host" in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9", "[::1]:7860", "[::1]"])
def test_loopback_is_one_host(served, host):
    assert httpx.get(served[0] + "config", headers={"Host": host}, timeout=TIMEOUT).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-Host", "X-Gradio-Server"])
def test_addresses_in_the_page_are_not_of_a_callers_making(served, header):
    """Gradio builds them from these headers, and keeps those of its API for everybody."""
    for path in ("config", "gradio_api/info"):
        answer = httpx.get(served[0] + path, headers={header: "http://evil.example"}, timeout=TIMEOUT)
        assert answer.status_code == 403
    assert "evil.example" not in httpx.get(served[0] + "gradio_api/info", timeout=TIMEOUT).text


FOREIGN = {
    "another site": {"Origin": "http://evil.example"},
    "a sandboxed frame": {"Origin": "null"},
    "another program of this machine": {"Origin": "http://127.0.0.1:1"},
    "a site with the name in it": {"Origin": "http://127.0.0.1.evil.example"},
    "not an origin": {"Origin": "evil"},
    "an extension": {"Origin": "chrome-extension://127.0.0.1"},
    "a form of another site": {"Sec-Fetch-Site": "cross-site"},
    "another port of this machine": {"Sec-Fetch-Site": "same-site"},
    "an origin that lies": {"Origin": "{own}", "Sec-Fetch-Site": "cross-site"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("path", [POST, "gradio_api/upload", "gradio_api/queue/join", "gradio_api/run/predict"])
def test_other_origins_change_nothing(served, headers, path):
    headers = {name: value.format(own=served[0].rstrip("/")) for name, value in headers.items()}
    answer = httpx.post(served[0] + path, json=BODY, headers=headers, timeout=TIMEOUT)
    assert answer.status_code == 403 and answer.text == "Only pages of this server may do that."


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "{own}"}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "{own}", "Sec-Fetch-Site": "none"}],
)
def test_the_page_and_programs_may(served, headers):
    headers = {name: value.format(own=served[0].rstrip("/")) for name, value in headers.items()}
    assert httpx.post(served[0] + POST, json=BODY, headers=headers, timeout=TIMEOUT).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "{own}"])
@pytest.mark.parametrize("path", ["", "config", "assets/none.js", "gradio_api/file=/x"])
def test_no_other_origin_may_read(served, origin, path):
    origin = origin.format(own=served[0].rstrip("/"))
    for method in ("GET", "OPTIONS"):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = httpx.request(method, served[0] + path, headers=headers, timeout=TIMEOUT)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["content-security-policy"] == "frame-ancestors 'self'"


PROXIES = {
    "the name passed on": {"Host": "page.example", "Origin": "https://page.example"},
    "the name beside": {
        "Host": "127.0.0.1:7860",
        "X-Forwarded-Host": "page.example",
        "X-Forwarded-Proto": "https",
        "Origin": "https://page.example",
    },
    "no name": {"Host": "127.0.0.1:7860", "Origin": "https://page.example"},
    "a port": {"Host": "b.example:8443", "Origin": "https://b.example:8443"},
    "a port, no name": {"Host": "127.0.0.1:7860", "Origin": "https://b.example:8443"},
}


@pytest.mark.parametrize("headers", PROXIES.values(), ids=PROXIES)
def test_a_page_behind_a_proxy_works(behind_proxy, headers):
    assert httpx.post(behind_proxy + POST, json=BODY, headers=headers, timeout=TIMEOUT).status_code == 200
    page = httpx.get(behind_proxy, headers=headers, timeout=TIMEOUT)
    assert page.status_code == 200
    if "X-Forwarded-Host" in headers:
        root = httpx.get(behind_proxy + "config", headers=headers, timeout=TIMEOUT).json()["root"]
        assert root == "https://page.example"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "c.example"},
        {"Host": "page.example", "Origin": "https://c.example"},
        {"Host": "127.0.0.1:7860", "Origin": "https://page.example:8443"},
        {"Host": "127.0.0.1:7860", "Origin": "https://b.example"},
        {"Host": "127.0.0.1:7860", "X-Forwarded-Host": "page.example, c.example"},
    ],
)
def test_a_proxy_opens_no_other_name(behind_proxy, headers):
    assert httpx.post(behind_proxy + POST, json=BODY, headers=headers, timeout=TIMEOUT).status_code == 403


def test_who_listens_everywhere_answers_to_addresses_and_to_the_machines_name(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "Studio")
    hosts = {host: TrustedHosts(host) for host in ("0.0.0.0", "::", "[::]", "192.168.1.5", "127.0.0.1")}

    def answers(host, name):
        return hosts[host].are_asked(Headers({"host": name}))

    for everywhere in ("0.0.0.0", "::", "[::]"):
        for name in ("192.168.1.5:7860", "[fd00::1]:7860", "studio", "studio.local:7860", "localhost"):
            assert answers(everywhere, name), (everywhere, name)
        assert not answers(everywhere, "evil.example")
    assert answers("192.168.1.5", "192.168.1.5:7860") and not answers("192.168.1.5", "192.168.1.6")
    assert not answers("127.0.0.1", "192.168.1.5") and not answers("127.0.0.1", "studio")


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


@pytest.mark.parametrize("name", ["", "http://page.example", "page.example/x", "a b", "page.example:x", "[::1", ":80"])
def test_what_is_no_host_is_refused(name):
    with pytest.raises(ConfigError, match="is not the name of a host"):
        TrustedHosts("127.0.0.1", [name])


@pytest.mark.parametrize(
    "text, parsed",
    [
        ("Page.Example", ("page.example", None)),
        ("page.example:80", ("page.example", 80)),
        ("::1", ("::1", None)),
        ("[::1]:80", ("::1", 80)),
        ("bücher.example", ("bücher.example", None)),
    ],
)
def test_names_and_ports(text, parsed):
    assert parse_authority(text) == parsed


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
