"""The page in a real browser: what it asks for, what it is refused, and what other sites cannot do through it."""

from __future__ import annotations

import shutil
import threading
from collections import namedtuple
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Error, expect

from latentsync.media.limits import MediaLimits
from latentsync.media.video import VideoFile
from latentsync.page.login import Accounts
from latentsync.page.server import ServerSettings
from tests.page.browser import TIMEOUT, chromium, lasting_context
from tests.page.stage import stage

expect.set_options(timeout=TIMEOUT)
# Requests of the page that are refused: its API view looks for what this page does not have.
REFUSED = ("gradio_api/mcp/schema", "monitoring/summary")


@pytest.fixture(scope="module")
def browser():
    """With a camera and a microphone that play a test signal, and a name that leads to this machine."""
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with chromium(*flags, "--host-resolver-rules=MAP *.example 127.0.0.1") as browser:
        yield browser


@pytest.fixture(scope="module")
def context(browser):
    with closing(lasting_context(browser, permissions=["camera", "microphone"])) as context:
        yield context


@pytest.fixture
def page(context):
    """A new page; what it was refused is in ``page.refused``."""
    page = context.new_page()
    page.refused = []
    page.on("response", lambda answer: answer.status >= 400 and page.refused.append((answer.status, answer.url)))
    yield page
    page.close()


def unexpected(page):
    """But for players, which ask for what comes after the end (416)."""
    return [(status, url) for status, url in page.refused if status != 416 and not url.endswith(REFUSED)]


def visit(page, address):
    page.goto(address)
    page.wait_for_selector("#run")


def filmed(page):
    """What the camera of the page recorded: for a second, or longer where the browser has no frame by then."""
    for seconds in (1, 4, 16, 64):
        page.locator("#video button[aria-label='Capture from camera']").click()
        page.locator("#video").get_by_text("Click to Access Webcam").click()
        page.locator("#video button", has_text="Record").click()
        expect(page.locator("#video button", has_text="Stop")).to_be_visible()
        page.wait_for_timeout(1000 * seconds)
        page.locator("#video button", has_text="Stop").click()
        page.wait_for_function("document.querySelector('#video video')?.src.includes('/gradio_api/file=')")
        found = page.request.get(page.locator("#video video").get_attribute("src")).body()
        if len(found) > 100:  # of no frame Chromium makes a file of no byte, or of one
            return found
        page.locator("#video button[aria-label='Clear']").click()
    raise AssertionError("the camera recorded nothing")


def test_the_camera_and_the_microphone_record(page, served, tmp_path):
    visit(page, served[0])
    recorded = tmp_path / "recorded.webm"
    recorded.write_bytes(filmed(page))
    expect(page.locator("#people-line")).not_to_contain_text("Bring a video")
    MediaLimits().check_video(recorded)  # browsers write neither length nor frame rate
    assert VideoFile(recorded).info.fps <= 60
    page.locator("#audio button[aria-label='Record audio']").click()
    page.locator("#audio button:visible", has_text="Record").click()
    page.wait_for_timeout(1000)
    page.locator("#audio button:visible", has_text="Stop").first.click()
    expect(page.locator("#audio")).to_contain_text("0:0")
    expect(page.locator("#audio button[aria-label='Clear']")).to_be_visible()
    assert not unexpected(page)


def test_everything_that_the_page_asks_for_is_answered(page, served, example):
    visit(page, served[0])
    page.get_by_text("Two people").click()  # takes the example: without the queue, by Gradio's own choice
    expect(page.locator("#people img")).to_have_count(2)
    page.click("#run")
    expect(page.locator(".status.done")).to_be_visible()
    page.click("#stop", force=True)
    page.get_by_text("Use via API").click()
    expect(page.get_by_text("/preview").first).to_be_visible()
    assert not unexpected(page)


def test_a_full_disk_is_said_to_the_visitor(page, served, example, monkeypatch):
    visit(page, served[0])
    usage = namedtuple("usage", "total used free")(10**12, 10**12, -1)  # less than the page of the tests leaves
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: usage)
        page.set_input_files("#video input[type=file]", str(example.video))
        expect(page.locator("body")).to_contain_text("There is no room for more files on this server at the moment.")
    page.reload()
    page.set_input_files("#video input[type=file]", str(example.video))
    expect(page.locator("#people img")).to_have_count(2)


def test_a_page_with_a_login(browser, example, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    settings = ServerSettings(accounts=Accounts({"anna": "correct horse"}))
    with stage(example, server=settings) as (address, _):
        stranger = browser.new_context()
        with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
            stranger.new_page().goto(address)
        stranger.close()
        context = browser.new_context(http_credentials={"username": "anna", "password": "correct horse"})
        context.set_default_timeout(TIMEOUT)
        page = context.new_page()
        visit(page, address)
        page.set_input_files("#video input[type=file]", str(example.video))
        page.set_input_files("#audio input[type=file]", str(example.audio))
        expect(page.locator("#people img")).to_have_count(2)
        page.click("#run")
        expect(page.locator(".status.done")).to_be_visible()
        context.close()


def test_a_page_under_a_name_of_its_own(page, example, tmp_path, monkeypatch):
    """As behind a proxy that passes the name on."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with stage(example, server=ServerSettings(allow_hosts=("page.example",))) as (address, _):
        visit(page, f"http://page.example:{urlsplit(address).port}/")
        page.set_input_files("#video input[type=file]", str(example.video))
        page.set_input_files("#audio input[type=file]", str(example.audio))
        expect(page.locator("#people img")).to_have_count(2)
        page.click("#run")
        expect(page.locator(".status.done")).to_be_visible()
        assert not unexpected(page)


# -- other sites

ATTACKS = """<!doctype html><title>evil</title><body><script>
const page = "%s";
async function tried(what, attempt) {
  let came;
  try { came = await attempt(); } catch (error) { came = "blocked"; }
  document.title += ` ${what}:${came}`;
}
const read = (how) => async () => (await (await fetch(page + "config", how)).text()).length;
const send = (type, body) => async () => {
  const answer = await fetch(page + "gradio_api/queue/join", {method: "POST", mode: "no-cors", body,
    headers: {"Content-Type": type}});
  return answer.type;
};
const form = () => new Promise((done) => {
  document.body.insertAdjacentHTML("beforeend", `<iframe name="into"></iframe>
    <form target="into" method="post" enctype="text/plain" action="${page}gradio_api/queue/join">
    <input name='{"data": [], "fn_index": 0, "session_hash": "x", "rest": "' value='"}'></form>`);
  document.querySelector("iframe").onload = () => done("sent");
  document.querySelector("form").submit();
});
const frame = () => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.src = page;
  frame.onload = () => done(frame.contentWindow.length);
  document.body.append(frame);
});
const image = () => new Promise((done, fail) => {
  const image = new Image();
  image.onload = () => done("shown");
  image.onerror = fail;
  image.src = page + "static/img/logo.svg";
});
(async () => {
  await tried("read", read({}));
  await tried("credentials", read({credentials: "include"}));
  await tried("json", send("application/json", "{}"));
  await tried("text", send("text/plain", '{"data": [], "fn_index": 0, "session_hash": "x"}'));
  await tried("image", image);
  await tried("form", form);
  await tried("frame", frame);
  document.title += " end";
})();
</script>"""


@pytest.fixture
def evil(served):
    """A site of somebody else's, at another port of this machine: (its port, requests that it got)."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write((ATTACKS % served[0]).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1"])
def test_another_site_reads_nothing_and_sends_nothing(page, served, evil, host):
    answers = []
    page.on("response", lambda it: answers.append((it.request.method, urlsplit(it.url).path, it.status)))
    page.goto(f"http://{host}:{evil}/")
    page.wait_for_function("document.title.endsWith('end')")
    came = dict(each.split(":") for each in page.title().split()[1:-1])
    assert {came[what] for what in ("read", "credentials", "json", "text", "image")} == {"blocked"}
    assert ("POST", "/gradio_api/queue/join", 403) in answers  # browsers send forms to everybody
    assert page.frames[-1].url.startswith("chrome-error:")
    assert not served[1]  # no job


def test_a_name_that_was_pointed_at_this_machine_gets_nothing(page, served):
    port = urlsplit(served[0]).port
    answer = page.goto(f"http://evil.example:{port}/")
    assert answer.status == 403 and "--allow_host" in answer.text()
    status = page.evaluate("fetch('/gradio_api/reset', {method: 'POST', body: '{}'}).then((answer) => answer.status)")
    assert status == 403
