"""The server fetches nothing for anybody, whatever a file is called or described as, and gives it to no program."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from pathlib import Path

import gradio
import httpx
import pytest
import safehttpx
from gradio.exceptions import Error
from starlette.exceptions import HTTPException

from latentsync.page.upload_guard import FETCHERS, FETCHING, is_foreign, no_downloads
from tests.media.hostile.uploads import playlist
from tests.media.synthetic import tone, write_clip
from tests.page.caller import Caller

TIMEOUT = 120  # s; the machine may be busy
ELSEWHERE = "127.0.0.1:9/video.mp4"  # where nobody listens

FOREIGN = [
    f"http://{ELSEWHERE}",
    f"https://{ELSEWHERE}",
    f"HTTP://{ELSEWHERE}",
    f"http:/{ELSEWHERE}",
    f"http://{ELSEWHERE}%23/file=x",
    f"http://{ELSEWHERE}%3Fa=b/file=",
    f"http://{ELSEWHERE}/file=/etc/passwd",
    f"http%3A//{ELSEWHERE}",
    f"http%3A%2F%2F{ELSEWHERE}",
    f"http%253A%252F%252F{ELSEWHERE}",
    f"http%25253A%25252F%25252F{ELSEWHERE}",
    f"x%3A//{ELSEWHERE}",
    f"ftp://{ELSEWHERE}",
    "file:///etc/passwd",
    "file:/etc/passwd",
    f"//{ELSEWHERE}",
    "%5C%5C127.0.0.1%5Cshare%5Cvideo.mp4",
    "data:video/mp4;base64,AAAA://",
    "concat:/etc/passwd",
    "%" + "25" * 30,
]


@pytest.fixture
def asked(monkeypatch):
    """Hosts that a connection would be made to: a server asks for their addresses first."""
    hosts = []

    async def note(*request, **settings):
        hosts.append(request)
        raise ValueError("noted")

    monkeypatch.setattr(safehttpx, "async_validate_url", note)
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", note)
    return hosts


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_other_servers_are_not_passed_on(served, asked, name):
    for method in ("GET", "HEAD"):
        url = httpx.URL(served[0]).copy_with(raw_path=f"/gradio_api/file={name}".encode())
        answer = httpx.request(method, url, timeout=TIMEOUT)
        assert answer.status_code == 403 and answer.text == (FETCHING if method == "GET" else "")
    assert not asked


@pytest.mark.parametrize("name", ["http://", "a.mp4%23/file=http://x.example/", "C:/x", "C:\\x"])
def test_what_is_foreign(name):
    assert is_foreign(name) is not name.startswith("C:")


def test_names_of_files_are_not_foreign():
    names = ["/tmp/latentsync_page_1/ab/My video: take 2, 100% (a=b).mp4", "/tmp/x/file=y.mp4", "C:\\Users\\a\\b.mp4"]
    assert not any(map(is_foreign, names))


@pytest.mark.parametrize("number", range(len(FETCHERS)))
def test_gradios_own_functions_refuse_too(number):
    owner, name, _ = FETCHERS[number]
    fetch = getattr(owner, name)
    with no_downloads():
        with pytest.raises((Error, HTTPException)) as refused:
            result = getattr(owner, name)(f"http://{ELSEWHERE}", None)
            if inspect.isawaitable(result):
                asyncio.run(result)
        assert FETCHING in str(refused.value)
    assert getattr(owner, name) is fetch


# Files of Gradio that talk to other servers, and why none of them does so for a visitor of this page.
TALKERS = {
    "analytics.py": "switched off",
    "blocks.py": "through processing_utils",
    "components/audio.py": "through processing_utils",
    "components/html.py": "pushes components of a developer's to a hub",
    "external.py": "loads models of others, which the page does not",
    "external_utils.py": "the same",
    "history.py": "switched off",
    "http_server.py": "not used: it serves by itself",
    "mcp.py": "switched off",
    "networking.py": "for --share, at the start",
    "node_server.py": "switched off",
    "processing_utils.py": "in FETCHERS",
    "route_utils.py": "in FETCHERS",
    "routes.py": "in FETCHERS, and closed",
    "static_server.py": "switched off",
    "themes/base.py": "a theme of a hub, which the page does not use",
    "tunneling.py": "for --share, at the start",
    "utils.py": "for a developer's descriptions",
    "workflow.py": "not used",
}
_TALKING = re.compile(
    r"^\s*(?:import|from) (?:httpx|safehttpx|requests|urllib\.request|urllib3|aiohttp|websockets?|socket)\b"
    r"|urlopen\(|HfApi|InferenceClient|snapshot_download|hf_hub_download",
    re.MULTILINE,
)


def test_no_other_file_of_gradio_talks_to_servers():
    folder = Path(gradio.__file__).parent
    sources = [path for path in folder.rglob("*.py") if not {"cli", "_frontend_code"} & set(path.parts)]
    found = {str(path.relative_to(folder)) for path in sources if _TALKING.search(path.read_text(encoding="utf-8"))}
    assert found == set(TALKERS), "new in Gradio: does it ask other servers on behalf of visitors?"


# -- descriptions of files, as programs give them

DATA = {"_type": "gradio.FileData"}
DESCRIPTIONS = {
    "an address": {"path": f"http://{ELSEWHERE}", "meta": DATA},
    "an address beside": {"path": "x.mp4", "url": f"http://{ELSEWHERE}", "meta": DATA},
    "an address alone": {"url": f"http://{ELSEWHERE}", "meta": DATA},
    "an address as text": f"http://{ELSEWHERE}",
    "another scheme": {"path": f"ftp://{ELSEWHERE}", "meta": DATA},
    "the scheme of files": {"path": "file:///etc/passwd", "meta": DATA},
    "a protocol of FFmpeg": {"path": f"concat:/etc/passwd|http://{ELSEWHERE}", "meta": DATA},
    "a pipe": {"path": "pipe:0", "meta": DATA},
    "a file of the server": {"path": "/etc/passwd", "meta": DATA},
    "its process": {"path": "/proc/self/environ", "meta": DATA},
    "a device": {"path": "/dev/zero", "meta": DATA},
    "what never ends": {"path": "/dev/stdin", "meta": DATA},
    "its source": {"path": __file__, "meta": DATA},
    "a way up": {"path": "../../../../etc/passwd", "meta": DATA},
    "a way up out of the folder": {"path": "{folder}/../../../etc/passwd", "meta": DATA},
    "the folder itself": {"path": "{folder}", "meta": DATA},
    "a folder beside": {"path": "{folder}x/a.mp4", "meta": DATA},
    "nothing": {"path": "", "meta": DATA},
    "null": {"path": None, "meta": DATA},
    "a number": {"path": 7, "meta": DATA},
    "a list": {"path": ["/etc/passwd"], "meta": DATA},
    "an object": {"path": {"path": "/etc/passwd", "meta": DATA}, "meta": DATA},
    "a zero in it": {"path": "/etc/passwd\0.mp4", "meta": DATA},
    "very long": {"path": "/a" * 100_000, "meta": DATA},
    "no meta": {"path": "/etc/passwd"},
    "another type": {"path": "/etc/passwd", "meta": {"_type": "gradio.Other"}},
    "a stream": {"path": "/etc/passwd", "is_stream": True, "meta": DATA},
    "a stream of another": {"path": "x/y/1/playlist.m3u8", "is_stream": True, "meta": DATA},
    "an original name": {"path": "/etc/passwd", "orig_name": "../../evil", "mime_type": "video/mp4", "meta": DATA},
    "a video of files": {"video": {"path": "/etc/passwd", "meta": DATA}, "subtitles": {"path": "/etc/passwd"}},
    "a path as text": "/etc/passwd",
    "several": [{"path": "/etc/passwd", "meta": DATA}, {"path": "/etc/shadow", "meta": DATA}],
}


@pytest.mark.parametrize("description", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
@pytest.mark.parametrize("place", [0, 1], ids=["video", "audio"])
def test_what_was_not_uploaded_is_no_file(served, asked, page_folder, description, place):
    (folder,) = (path for path in page_folder.glob("latentsync_page_*") if path.is_dir())
    (good,) = httpx.post(f"{served[0]}gradio_api/upload", files={"files": ("a.wav", b"RIFF")}, timeout=TIMEOUT).json()
    if isinstance(description, dict) and isinstance(description.get("path"), str):
        description = description | {"path": description["path"].replace("{folder}", str(folder))}
    files = [{"path": good, "meta": DATA}] * 2
    files[place] = description
    first = ["built-in models", "builtin", 0, 0, 0, "pingpong", "as the source", "largest"]
    settings = [*first, "face", "generate", "", "off", "auto"]
    event = httpx.post(f"{served[0]}gradio_api/call/dub", json={"data": [*files, *settings]}, timeout=TIMEOUT)
    if event.status_code == 200:
        answer = httpx.get(f"{served[0]}gradio_api/call/dub/{event.json()['event_id']}", timeout=TIMEOUT).text
        assert "event: error" in answer and "event: complete" not in answer
    else:
        assert event.status_code in (400, 422)
        answer = event.text
    assert "root:" not in answer and "Traceback" not in answer and str(folder) not in answer
    assert not asked


@pytest.mark.parametrize("name", ["evil.html", "evil.svg", "evil.js", "evil.xml", "evil.pdf", "evil", "evil.mp4"])
def test_an_upload_is_never_shown_as_a_page(served, name):
    files = {"files": (name, b"<script>alert(1)</script>", "text/html")}
    (path,) = httpx.post(f"{served[0]}gradio_api/upload", files=files, timeout=TIMEOUT).json()
    answer = httpx.get(f"{served[0]}gradio_api/file={path}", timeout=TIMEOUT)
    assert answer.status_code == 200 and answer.headers["x-content-type-options"] == "nosniff"
    shown = answer.headers["content-type"].partition(";")[0] not in ("application/octet-stream", "video/mp4")
    assert not shown and (name.endswith("mp4") or answer.headers["content-disposition"].startswith("attachment"))


@pytest.mark.parametrize("make", ["matroska", "playlist"])
def test_a_file_that_is_shown_is_given_to_no_ffmpeg_of_the_system(served, example, tmp_path, programs, make):
    clip = tmp_path / "clip.mkv"
    if make == "matroska":  # which Gradio takes for what no browser plays
        write_clip(clip, 5, sound=tone(0.2))
    else:
        playlist(clip)
    caller = Caller(served[0], clip, example.audio)
    function = caller.function("audio-source", "upload")
    body = {"data": [caller.video], "fn_index": function, "session_hash": "shown"}
    (shown,) = caller.call("queue/join", json.dumps(body).encode()).data
    assert shown["path"] == caller.video["path"]
    assert programs() == ""
    caller.close()
