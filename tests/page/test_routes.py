"""Routes of Gradio's that are answered, and that a new version cannot open others."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from starlette.routing import BaseRoute, Mount

from latentsync.page.routes import OPEN, OpenRoutes
from latentsync.page.server import mount
from latentsync.page.storage import Storage, StorageLimits
from latentsync.page.visitors import VisitorFolders

TIMEOUT = 120  # s; the machine may be busy
API = "/gradio_api"

# What Gradio 6 has besides ``OPEN``. A route that is in neither list is new: find out what it does, then decide.
CLOSED = {
    ("GET", "/config/"),  # the page's own, with another end
    ("GET", f"{API}/info/"),
    ("GET", f"{API}/theme.css"),
    ("POST", f"{API}/call/{{api_name}}/"),
    ("POST", f"{API}/call/v2/{{api_name}}/"),
    ("POST", f"{API}/reset/"),
    ("POST", f"{API}/run/{{api_name}}"),  # around the queue
    ("POST", f"{API}/run/{{api_name}}/"),
    ("POST", f"{API}/api/{{api_name}}"),
    ("POST", f"{API}/api/{{api_name}}/"),
    ("POST", f"{API}/process_recording"),  # runs the system's ffmpeg on what it is sent
    ("GET", f"{API}/proxy={{url_path:path}}"),  # passes on other servers
    ("HEAD", f"{API}/proxy={{url_path:path}}"),
    ("GET", f"{API}/file/{{path:path}}"),
    ("GET", f"{API}/deep_link"),  # keeps what a visitor entered
    ("POST", f"{API}/component_server"),
    ("POST", f"{API}/component_server/"),
    ("GET", f"{API}/custom_component/{{id}}/{{environment}}/{{type}}/{{file_name}}"),
    ("GET", f"{API}/stream/{{session_hash}}/{{run}}/{{component_id}}/playlist.m3u8"),  # streams as HLS
    ("GET", f"{API}/stream/{{session_hash}}/{{run}}/{{component_id}}/{{segment_id}}.{{ext}}"),
    ("GET", f"{API}/stream/{{session_hash}}/{{run}}/{{component_id}}/playlist-file"),
    ("POST", f"{API}/stream/{{event_id}}"),
    ("POST", f"{API}/stream/{{event_id}}/close"),
    ("GET", f"{API}/vibe-code"),  # reads and writes the program
    ("GET", f"{API}/vibe-code/"),
    ("POST", f"{API}/vibe-code"),
    ("POST", f"{API}/vibe-code/"),
    ("POST", f"{API}/vibe-edit"),
    ("POST", f"{API}/vibe-edit/"),
    ("POST", f"{API}/undo-vibe-edit"),
    ("POST", f"{API}/undo-vibe-edit/"),
    ("POST", f"{API}/vibe-starter-queries"),
    ("POST", f"{API}/vibe-starter-queries/"),
    ("GET", f"{API}/dev/reload"),
    ("GET", f"{API}/startup-events"),
    ("GET", f"{API}/queue/status"),
    ("GET", f"{API}/runs"),
    ("GET", f"{API}/runs/"),
    ("GET", f"{API}/openapi.json"),
    ("GET", f"{API}/app_id/"),
    ("GET", f"{API}/user"),  # Gradio's login
    ("GET", f"{API}/user/"),
    ("GET", f"{API}/token"),
    ("GET", f"{API}/token/"),
    ("GET", f"{API}/login_check"),
    ("GET", f"{API}/login_check/"),
    ("POST", "/login"),
    ("POST", "/login/"),
    ("GET", "/logout"),
    ("GET", "/monitoring"),  # who uses the page how much
    ("GET", "/monitoring/summary"),
    ("GET", "/monitoring/{key}"),
    ("GET", "/openapi.json"),
    ("HEAD", "/openapi.json"),
    ("GET", "/svelte/{path:path}"),
    ("GET", "/manifest.json"),
    ("GET", "/pwa_icon"),
    ("GET", "/pwa_icon/{size}"),
}


def walk(routes: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    """(method, name) of all routes, in mounted applications and included routers too."""
    for route in routes:
        inner = getattr(route, "original_router", None) or getattr(route, "app", None)
        if hasattr(route, "methods"):
            yield from ((method, route.path) for method in route.methods)
        elif getattr(inner, "routes", None):
            assert not isinstance(route, Mount) or route.path == "", f"mounted below {route.path}"
            yield from walk(inner.routes)
        else:
            raise AssertionError(f"what is {route}?")


@pytest.fixture(scope="module")
def routes(served, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unserved")
    folders = VisitorFolders(Storage(folder, StorageLimits(reserve=0)), keep_seconds=100)
    _, app = mount(served[1], folders, preset=None, login=False)
    return set(walk(app.routes))


def test_every_route_is_known_to_be_open_or_closed(routes):
    assert not routes - OPEN - CLOSED, "new in Gradio: is it needed, and what does it do?"
    assert not OPEN - routes, "open, and not there any more"
    assert not OPEN & CLOSED


def url(address: str, route: str, **names: str) -> str:
    for name, value in names.items():
        route = route.replace(f"{{{name}}}", value).replace(f"{{{name}:path}}", value)
    return address.rstrip("/") + route.replace("{", "").replace("}", "").replace(":path", "")


@pytest.mark.parametrize("method, route", sorted(CLOSED))
def test_what_the_page_does_not_need_is_not_answered(served, method, route):
    answer = httpx.request(method, url(served[0], route, api_name="dub"), timeout=TIMEOUT)
    assert answer.status_code == 404 and answer.text in ("Not found", "")


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "POST"])
@pytest.mark.parametrize("path", ["/", "/config", "/assets/x", f"{API}/file=/etc/passwd"])
def test_other_methods_are_not_answered(served, method, path):
    assert httpx.request(method, url(served[0], path), timeout=TIMEOUT).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        f"{API}//process_recording",
        f"/{API}/process_recording",
        f"{API}/./process_recording",
        f"/assets/..{API}/process_recording",
        f"{API}/%70rocess_recording",
        f"{API}/process_recording/",
        f"{API}/process_recording%00",
        f"{API}/process_recording?x=/config",
        f"{API}%2Fprocess_recording",
        f"{API}/call/look",
        f"{API}/call/v2/none",
        f"{API}/call/dub%2F1%2F2",
        f"{API}/queue/join/",
        f"{API}/Upload",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_spellings_that_lead_nowhere(served, method, path):
    transport = httpx.Request(method, served[0]).url.copy_with(raw_path=path.encode())  # as it is, not tidied up
    assert httpx.request(method, transport, timeout=TIMEOUT).status_code == 404


def test_a_name_stands_for_one_part_of_a_path():
    gate = OpenRoutes(None, ["dub", "preview"])
    assert gate.is_open("POST", f"{API}/call/dub") and gate.is_open("GET", f"{API}/call/v2/preview/1f")
    assert not gate.is_open("POST", f"{API}/call/other") and not gate.is_open("GET", f"{API}/call/dub/1f/2")
    assert gate.is_open("GET", "/assets/a/b.js") and not gate.is_open("GET", "/assets")
