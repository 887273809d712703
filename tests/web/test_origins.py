"""For whom and from where: hosts, origins, and what other origins may read."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from latentsync.errors import ConfigError
from latentsync.web.origins import OwnOrigin, TrustedHosts, parse_authority

OWN = "http://127.0.0.1:7860"


def answer(request):
    """As Gradio does: open to every origin that asks."""
    return PlainTextResponse("here", headers={"Access-Control-Allow-Origin": request.headers.get("origin", "*")})


def client(*others):
    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST", "OPTIONS"])])
    return TestClient(OwnOrigin(app, TrustedHosts("127.0.0.1", others)), base_url=OWN)


@pytest.fixture(scope="module")
def served():
    """An application at ``OWN``."""
    return client()


@pytest.fixture(scope="module")
def behind_proxy():
    """One that a proxy in front of it calls page.example, and b.example:8443."""
    return client("page.example", "b.example:8443")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "169.254.169.254", "192.168.1.5", "0.0.0.0"]
    + ["127.0.0.1@evil.example", "page.example", "", "[::2]", "localhost:x", "a b", "localhost, evil.example"],
)
def test_other_hosts_get_nothing(served, host):
    answer = served.get("/", headers={"Host": host})
    assert answer.status_code == 403 and "--allow_host" in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9", "[::1]:7860", "[::1]"])
def test_loopback_is_one_host(served, host):
    assert served.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-Host", "X-Gradio-Server"])
def test_addresses_are_not_of_a_callers_making(served, header):
    assert served.get("/", headers={header: "http://evil.example"}).status_code == 403


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
def test_other_origins_change_nothing(served, headers):
    answer = served.post("/", headers={name: value.format(own=OWN) for name, value in headers.items()})
    assert answer.status_code == 403 and answer.text == "Only pages of this server may do that."


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": OWN}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": OWN, "Sec-Fetch-Site": "none"}],
)
def test_own_pages_and_programs_may(served, headers):
    assert served.post("/", headers=headers).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", OWN])
@pytest.mark.parametrize("path", ["/", "/nowhere"])
def test_no_other_origin_may_read(served, origin, path):
    for method in ("GET", "OPTIONS"):
        answer = served.request(method, path, headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
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
def test_a_proxy_passes_on_the_names_that_it_is_given(behind_proxy, headers):
    assert behind_proxy.post("/", headers=headers).status_code == 200


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
    assert behind_proxy.post("/", headers=headers).status_code == 403


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
