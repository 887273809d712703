"""A page below a path of a name, as a proxy in front of it serves it."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import expect

from latentsync.errors import ConfigError
from latentsync.page.routes import checked_root_path
from latentsync.page.server import ServerSettings
from tests.page.browser import TIMEOUT, chromium
from tests.page.stage import stage

expect.set_options(timeout=TIMEOUT)


@pytest.fixture(scope="module")
def below_path(example, page_folder):
    """The address of a page below /a/dub."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(page_folder))
        with stage(example, server=ServerSettings(root_path="/a/dub/")) as (address, _):
            yield address


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser):
    context = browser.new_context()
    context.set_default_timeout(TIMEOUT)
    yield context.new_page()
    context.close()


def take_off(page, path):
    """Have the server asked for what comes behind a path, as by a proxy that keeps the path for itself."""
    page.route(f"**{path}/**", lambda route: route.continue_(url=route.request.url.replace(f"{path}/", "/", 1)))


@pytest.mark.parametrize("proxy", [pytest.param("passes the path on", marks=pytest.mark.slow), "takes the path off"])
def test_everything_is_asked_for_below_the_path(page, below_path, example, proxy):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    if proxy == "takes the path off":
        take_off(page, "/a/dub")
    page.goto(below_path)
    page.get_by_text("Two people").click()
    expect(page.locator("#people img")).to_have_count(2)
    page.click("#run")
    expect(page.locator(".status.done")).to_be_visible()
    page.wait_for_function("document.querySelector('#result video')?.videoWidth")
    assert "does not know it" not in page.locator("body").inner_text()
    assert not [url for url in asked if not url.startswith((below_path, "data:", "blob:"))]


def test_a_page_that_does_not_know_its_path_says_so(page, served):
    take_off(page, "/a/dub")
    page.goto(f"{served[0]}a/dub/")
    expect(page.locator("body")).to_contain_text("served below /a/dub/ and does not know it")
    page.goto(served[0])
    page.wait_for_selector("#run")
    assert "does not know it" not in page.locator("body").inner_text()


def test_routes_below_the_path_pass_the_same_gates(below_path):
    bare = below_path.removesuffix("a/dub/")
    assert httpx.get(f"{bare}a/dub", timeout=TIMEOUT).headers["location"] == "/a/dub/"
    for address in (bare, below_path):
        assert urlsplit(httpx.get(f"{address}config", timeout=TIMEOUT).json()["root"]).path == "/a/dub"
        for route in ("a/dub/a/dub/config", "gradio_api/process_recording", "monitoring", "a/config"):
            assert httpx.post(f"{address}{route}", timeout=TIMEOUT).status_code == 404
            assert httpx.get(f"{address}{route}", timeout=TIMEOUT).status_code == 404
        elsewhere = {"Origin": "http://evil.example"}
        assert httpx.post(f"{address}gradio_api/reset", headers=elsewhere, timeout=TIMEOUT).status_code == 403
        assert httpx.get(address, headers={"Host": "evil.example"}, timeout=TIMEOUT).status_code == 403
        assert httpx.get(f"{address}gradio_api/file=http://127.0.0.1:9/x", timeout=TIMEOUT).status_code == 403


@pytest.mark.parametrize("text, path", [("", ""), ("/", ""), ("/dub", "/dub"), ("dub/", "/dub"), ("/a/b.c", "/a/b.c")])
def test_paths(text, path):
    assert checked_root_path(text) == path


@pytest.mark.parametrize(
    "text", ["/a//b", "/../x", "/a/..", "http://a/b", "/a b", "/a?b", "/a#b", "/é", "/a%2fb", "\n"]
)
def test_what_is_no_path(text):
    with pytest.raises(ConfigError, match="is no path of a page"):
        checked_root_path(text)
