"""Uploads: whole or not at all, within limits of size, time and room, under names that lead nowhere."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest

from latentsync.media.limits import MediaLimits
from latentsync.page import forms, storage, uploads
from latentsync.page.server import ServerSettings
from latentsync.page.storage import StorageLimits, UploadLimits
from tests.page.stage import below, stage, wait_until

TIMEOUT = 120  # s; the machine may be busy
MB = 10**6


@contextmanager
def page_with(example, folder, file_limit=20 * MB, **settings):
    """A page of its own in ``folder``, with limits for uploads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(folder))
        patch.setattr(storage, "LOOK_SECONDS", 0.0)
        with stage(example, MediaLimits(bytes=file_limit), server=ServerSettings(**settings)) as (address, _):
            yield address


def upload(address, content=b"x", name="a.mp4", field="files", **settings):
    files = {field: (name, content)}
    return httpx.post(f"{address}gradio_api/upload", files=files, timeout=TIMEOUT, **settings)


def parts(folder):
    """What is left of uploads that have not been received."""
    return [path for place in folder.glob("latentsync_page_*/incoming") for path in below(place)]


def received(folder):
    """Files of visitors that lie on the disk."""
    return [p for p in below(folder) if p.is_file() and p.suffix != ".lock" and p.parent.parent != folder]


@contextmanager
def slow(address, path, length, **headers):
    """A socket on which the head of a request has been sent, whose body is still to come."""
    parsed = urlsplit(address)
    with socket.create_connection((parsed.hostname, parsed.port), timeout=TIMEOUT) as connection:
        lines = [f"POST /{path} HTTP/1.1", f"Host: {parsed.netloc}", f"Content-Length: {length}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        yield connection


FORM = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
UPLOAD = {"path": "gradio_api/upload", "Content_Type": "multipart/form-data; boundary=b"}


def test_a_file_comes_whole_and_is_not_copied_again(served, page_folder):
    content = os.urandom(3 * MB)
    (path,) = upload(served[0], content, "Mein Video.mp4").json()
    assert Path(path).read_bytes() == content and Path(path).name == "Mein Video.mp4"
    assert Path(path).is_relative_to(page_folder)
    from gradio.processing_utils import save_file_to_cache

    assert save_file_to_cache(path, str(Path(path).parents[1])) == path
    assert httpx.get(f"{served[0]}gradio_api/file={path}", timeout=TIMEOUT).content == content
    assert not parts(page_folder)


def test_several_files_and_fields(served):
    files = [("files", ("a.mp4", b"1")), ("files", ("a.mp4", b"22")), ("other", ("c.mp4", b"333"))]
    answer = httpx.post(f"{served[0]}gradio_api/upload", files=files, data={"field": "4"}, timeout=TIMEOUT)
    assert [Path(path).read_bytes() for path in answer.json()] == [b"1", b"22"]


BROKEN = {
    "no form": (b"{}", "application/json", 400),
    "no boundary": (b"x", "multipart/form-data", 400),
    "a boundary without end": (b"x", f"multipart/form-data; boundary={'b' * 9000}", 400),
    "another boundary": (FORM + b"x\r\n--b--\r\n", "multipart/form-data; boundary=c", 400),
    "an end in the middle": (FORM + b"xxxx", "multipart/form-data; boundary=b", 400),
    "nothing": (b"", "multipart/form-data; boundary=b", 400),
    "a header without end": (b"--b\r\nX-Long: " + b"x" * 100_000, "multipart/form-data; boundary=b", 400),
    "a thousand headers": (b"--b\r\n" + b"A: b\r\n" * 10_000 + b"\r\n", "multipart/form-data; boundary=b", 400),
    "a thousand files": ((FORM + b"x\r\n") * 1000 + b"--b--\r\n", "multipart/form-data; boundary=b", 400),
    "too large": (FORM + bytes(21 * MB) + b"\r\n--b--\r\n", "multipart/form-data; boundary=b", 413),
}


@pytest.mark.parametrize("body, kind, status", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("announced", [True, False])
def test_of_a_broken_upload_nothing_stays(small, body, kind, status, announced):
    address, folder = small
    before = received(folder)
    content = body if announced else (body[start : start + 65536] for start in range(0, len(body), 65536))
    headers = {"Content-Type": kind}
    answer = httpx.post(f"{address}gradio_api/upload", content=content, headers=headers, timeout=TIMEOUT)
    assert answer.status_code == status and answer.text.endswith(".") and "Traceback" not in answer.text
    assert received(folder) == before and not parts(folder)


@pytest.fixture(scope="module")
def small(example, tmp_path_factory):
    """(address, folder) of a page that takes files of 20 MB."""
    folder = tmp_path_factory.mktemp("small")
    with page_with(example, folder) as address:
        yield address, folder


@pytest.mark.parametrize("value", ["-1", "1e3", "x", "99999999999999999999"])
def test_false_sizes(small, value):
    address, folder = small
    with slow(address, length=value, **UPLOAD) as connection:
        assert connection.recv(100).startswith((b"HTTP/1.1 400", b"HTTP/1.1 413"))
    wait_until(lambda: not parts(folder))


def test_a_visitor_who_leaves_leaves_nothing(small):
    address, folder = small
    with slow(address, length=10 * MB, **UPLOAD) as connection:
        connection.sendall(FORM + bytes(MB))
        wait_until(lambda: any(part.is_file() and part.stat().st_size for part in parts(folder)))
    wait_until(lambda: not parts(folder))


def test_who_sends_nothing_or_little_is_not_waited_for(example, tmp_path):
    with page_with(example, tmp_path, uploads=UploadLimits(seconds=1.0, idle_seconds=0.3)) as address:
        with slow(address, length=MB, **UPLOAD) as connection:  # nothing comes
            connection.sendall(FORM)
            assert connection.recv(100).startswith(b"HTTP/1.1 408")
        with slow(address, length=MB, **UPLOAD) as connection:  # a byte now and then
            connection.sendall(FORM)
            connection.settimeout(0.05)
            answer = None
            for _ in range(int(TIMEOUT / 0.05)):
                try:
                    connection.sendall(b"x")
                    answer = connection.recv(100)
                    break
                except TimeoutError:
                    continue
            assert answer and answer.startswith(b"HTTP/1.1 408")
        wait_until(lambda: not parts(tmp_path))


def test_so_many_at_once(example, tmp_path):
    with page_with(example, tmp_path, uploads=UploadLimits(at_once=1)) as address:
        with slow(address, length=MB, **UPLOAD) as connection:
            connection.sendall(FORM)
            wait_until(lambda: parts(tmp_path))
            assert upload(address).status_code == 503
        wait_until(lambda: upload(address).status_code == 200)


def test_other_requests_are_short(served, monkeypatch):
    big = b'{"event_id": "' + b"x" * uploads.MOST_JSON + b'"}'
    headers = {"Content-Type": "application/json"}
    assert httpx.post(f"{served[0]}gradio_api/reset", content=big, headers=headers, timeout=TIMEOUT).status_code == 413
    pieces = (big[start : start + 65536] for start in range(0, len(big), 65536))
    assert httpx.post(f"{served[0]}gradio_api/reset", content=pieces, headers=headers, timeout=TIMEOUT).is_error
    monkeypatch.setattr(uploads, "JSON_SECONDS", 0.2)
    with slow(served[0], "gradio_api/queue/join", 100, Content_Type="application/json") as connection:
        connection.sendall(b"{")
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_how_far_it_is_is_told(served):
    with slow(served[0], "gradio_api/upload?upload_id=one", len(FORM) + MB, Content_Type=UPLOAD["Content_Type"]) as it:
        it.sendall(FORM + bytes(MB // 2))
        told = []
        with httpx.stream("GET", f"{served[0]}gradio_api/upload_progress?upload_id=one", timeout=TIMEOUT) as answer:
            for line in answer.iter_lines():
                if line:
                    told.append(json.loads(line.removeprefix("data: ")))
                    if len(told) == 1:
                        it.sendall(bytes(MB // 2 - 10) + b"\r\n--b--\r\n\r")
        assert told[-1] == {"msg": "done"} and told[0]["msg"] == "update" and told[0]["orig_name"] == "a.mp4"
        assert sum(message.get("chunk_size", 0) for message in told) > MB // 3


# -- room


def no_room_left(folder):
    return namedtuple("usage", "total used free")(10**12, 10**12, 10)


def test_on_a_full_disk_nothing_is_taken_and_nothing_stays(small, monkeypatch):
    address, folder = small
    before = received(folder)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", no_room_left)
        answer = upload(address, bytes(MB))
        assert answer.status_code == 507
        assert answer.text == (
            "There is no room for more files on this server at the moment. Come back later, or tell whoever runs this "
            "page."
        )
    assert received(folder) == before and not parts(folder)
    assert upload(address, b"again").status_code == 200


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_meanwhile(small, monkeypatch, code):
    address, folder = small

    def fail(self, data):
        raise OSError(code, "full")

    before = received(folder)
    with monkeypatch.context() as patch:
        patch.setattr(forms.ReceivedFile, "write", fail)
        answer = upload(address, bytes(MB))
        assert answer.status_code == 507 and "no room" in answer.text
    assert received(folder) == before and not parts(folder)


def test_a_visitor_has_a_quota_which_is_given_back(example, tmp_path):
    with page_with(example, tmp_path, storage=StorageLimits(per_visitor=5 * MB, reserve=0)) as address:
        (first,) = upload(address, bytes(3 * MB)).json()
        answer = upload(address, bytes(3 * MB + 1))
        assert answer.status_code == 507 and "Your files take more than 5 MB" in answer.text
        assert not parts(tmp_path)
        other = {"X-Forwarded-For": "192.0.2.9"}  # as a proxy at this machine says
        assert upload(address, bytes(3 * MB + 1), headers=other).status_code == 200
        Path(first).unlink()
        assert upload(address, bytes(3 * MB + 2)).status_code == 200


def test_all_visitors_have_a_quota(example, tmp_path):
    with page_with(example, tmp_path, storage=StorageLimits(in_all=5 * MB, reserve=0)) as address:
        lines = [upload(address, bytes(MB + n), headers={"X-Forwarded-For": f"192.0.2.{n}"}) for n in range(6)]
        statuses = [line.status_code for line in lines]
        assert statuses[0] == 200 and statuses[-1] == 507 and sorted(statuses) == statuses
        assert sum(path.stat().st_size for path in received(tmp_path)) <= 5 * MB


def test_many_small_files_fill_it_too(example, tmp_path):
    limits = StorageLimits(per_visitor=10 * storage.LEAST_COUNTED, reserve=0)
    with page_with(example, tmp_path, storage=limits) as address:
        statuses = [upload(address, str(n).encode()).status_code for n in range(15)]
        assert statuses.count(200) == 10 and statuses[-1] == 507


ON_A_SMALL_DISK = """
import sys
from pathlib import Path
import httpx
from latentsync.page.server import ServerSettings
from latentsync.page.storage import StorageLimits
from tests.page.stage import make_example, stage
place = Path(sys.argv[1])
with stage(make_example(Path(sys.argv[2])), server=ServerSettings(storage=StorageLimits(reserve=0))) as (address, jobs):
    def send(content):
        return httpx.post(address + "gradio_api/upload", files={"files": ("a.mp4", content)}, timeout=120)
    full = send(bytes(20_000_000))
    assert full.status_code == 507 and "no room" in full.text, full
    assert not list(place.glob("*/incoming/*"))
    assert send(bytes(1_000_000)).status_code == 200
"""


def test_a_disk_that_is_really_full(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    if not sys.platform.startswith("linux") or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs Linux and root")
    try:
        command = [sys.executable, "-c", ON_A_SMALL_DISK, str(place), str(tmp_path / "example")]
        surroundings = os.environ | {"TMPDIR": str(place)}
        root = Path(__file__).parents[2]
        done = subprocess.run(command, env=surroundings, cwd=root, capture_output=True, text=True, timeout=TIMEOUT)
        assert done.returncode == 0, done.stderr
        assert not list(place.iterdir())
    finally:
        subprocess.run(["umount", str(place)], check=True)


# -- names

NAMES = [
    "a.mp4", "ä ö ü.mp4", "日本語.mp4", "a b  c.mp4", "a.b.c.mp4", "noend", "A" * 300 + ".mp4", "." * 300 + ".mp4",
    "..", ".", "...", "", " ", ".hidden", ".hidden.mp4", "-rf", "--help", "a\0b.mp4", "a\nb.mp4", "a\rb.mp4",
    "a\tb.mp4", "a;b.mp4", "a|b.mp4", "$(id).mp4", "`id`.mp4", "a&b.mp4", "a'b.mp4", "*.mp4", "?.mp4", "~",
    "~root", "CON", "nul.mp4", "a.mp4.", "a.mp4 ", "<img src=x onerror=alert(1)>.mp4", "&lt;b&gt;.mp4",
    "\u202egpj.4pm", "\u200b.mp4", "a%00b.mp4", "concat:a|b.mp4",
]  # fmt: skip
TRAVERSALS = [
    dots + separator + name
    for dots in ("..", "../..", "../../../../../../..", "..\\..", "....//....", "/..", "%2e%2e", "..%2f..", "..%5c..")
    for separator in ("/", "\\")
    for name in ("evil.mp4", "etc/evil.mp4", "incoming/evil.mp4")
]


def raw_upload(address, name):
    body = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\nevil\r\n--b--\r\n' % name
    headers = {"Content-Type": UPLOAD["Content_Type"]}
    return httpx.post(f"{address}gradio_api/upload", content=body, headers=headers, timeout=TIMEOUT)


@pytest.mark.parametrize("names", [NAMES, TRAVERSALS], ids=["names", "traversals"])
def test_names_lead_nowhere(small, names):
    address, folder = small
    (home,) = folder.glob("latentsync_page_*[!k]")
    for name in names:
        for spelled in {name.encode(), name.encode("utf-16-le", errors="ignore"), name.encode("latin-1", "replace")}:
            answer = raw_upload(address, spelled.replace(b'"', b"'"))
            assert answer.status_code in (200, 400), name
            if answer.status_code == 200:
                (path,) = map(Path, answer.json())
                assert path.parents[1] == home and path.is_file() and path.resolve() == path
                assert path.read_bytes() == b"evil" and len(path.parent.name) == 64
                assert not path.name.startswith(".") and path.name.isprintable() and len(path.name.encode()) <= 200
                assert not set(path.name) & set("/\\:*?<>|")
    assert not [path for path in folder.rglob("*evil*") if len(path.parent.name) != 64]
    assert not list(folder.parent.glob("evil*")) and not Path("/etc/evil.mp4").exists() and not parts(folder)


@pytest.mark.parametrize("path", [*TRAVERSALS, "/etc/passwd", "~/.bashrc", "\0", "file:///etc/passwd", "//etc/passwd"])
def test_files_that_are_nobodys(served, path):
    for spelled in (path, f"/{path}", quote(path), quote(path, safe="")):
        for prefix in ("gradio_api/file=", "assets/", "static/"):
            url = httpx.URL(served[0]).copy_with(raw_path=f"/{prefix}{spelled}".replace("\0", "%00").encode())
            answer = httpx.get(url, timeout=TIMEOUT)
            assert answer.status_code in (400, 403, 404), (url, answer.status_code)
            assert "root:" not in answer.text


def test_twenty_visitors_at_once(small):
    address, folder = small
    contents = [os.urandom(MB) for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda content: upload(address, content), contents))
    paths = [Path(path) for answer in answers for path in answer.json()]
    assert [path.read_bytes() for path in paths] == contents and len(set(paths)) == 20 and not parts(folder)
