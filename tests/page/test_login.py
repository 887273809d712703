"""A name and a password before anything is answered."""

from __future__ import annotations

import httpx
import pytest
from gradio_client import Client, handle_file

from latentsync.errors import ConfigError
from latentsync.page import login
from latentsync.page.login import Accounts
from latentsync.page.server import ServerSettings
from tests.page.stage import stage

TIMEOUT = 120  # s; the machine may be busy
ANNA = ("anna", "correct horse: battery")
PATHS = ["", "config", "theme.css", "assets/none.js", "gradio_api/info", "gradio_api/heartbeat/x", "nowhere"]


@pytest.fixture(scope="module")
def closed(example, page_folder):
    """The address of a page with a login, and its jobs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(page_folder))
        accounts = Accounts({ANNA[0]: ANNA[1], "bob": "tr0ub4dor&3"})
        with stage(example, server=ServerSettings(accounts=accounts)) as both:
            yield both


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_answered_without_a_login(closed, path):
    answer = httpx.get(closed[0] + path, timeout=TIMEOUT)
    assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Basic")
    assert httpx.post(closed[0] + "gradio_api/upload", files={"files": b"x"}, timeout=TIMEOUT).status_code == 401


@pytest.mark.parametrize(
    "header",
    ["", "Basic", "Basic !", "Basic YW5uYQ==", "Bearer YW5uYTo=", "Basic YW5uYTo=", "Basic /////w==", "Basic OnB3"],
)
def test_what_is_no_login_is_refused(closed, header):
    assert httpx.get(closed[0], headers={"Authorization": header}, timeout=TIMEOUT).status_code == 401


def test_a_program_logs_in(closed, example, tmp_path):
    client = Client(closed[0], httpx_kwargs={"auth": ANNA}, verbose=False, download_files=str(tmp_path))
    result = client.predict(handle_file(str(example.video)), handle_file(str(example.audio)), api_name="/dub")
    assert "50 frames" in result[1]


def test_who_guesses_is_stopped_for_a_while(closed, monkeypatch):
    def status(name, password):
        return httpx.get(closed[0] + "theme.css", auth=(name, password), timeout=TIMEOUT).status_code

    assert [status("bob", f"guess {n}") for n in range(login.MOST_FAILURES)] == [401] * login.MOST_FAILURES
    assert status("bob", "guess") == status("bob", "tr0ub4dor&3") == 429  # or the guess that is right would be told
    assert status(*ANNA) == 200
    monkeypatch.setattr(login, "FAILURE_SECONDS", 0.0)
    assert status("bob", "tr0ub4dor&3") == 200


def test_a_file_of_accounts(tmp_path, caplog):
    path = tmp_path / "accounts"
    path.write_text("# people\n\nanna:correct horse: battery\nbüro:größer als acht\n", encoding="utf-8")
    path.chmod(0o600)
    accounts = Accounts.read(path)
    assert accounts.know(*ANNA) and accounts.know("büro", "größer als acht")
    for name, password in [("anna", "wrong"), ("nobody", "correct horse: battery"), ("# people", ""), ("", "")]:
        assert not accounts.know(name, password)
    assert not caplog.records
    path.chmod(0o644)
    Accounts.read(path)
    assert "chmod 600" in caplog.text and "battery" not in caplog.text
    assert "battery" not in repr(vars(accounts))


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "holds no NAME:PASSWORD"),
        ("anna", "Line 1 of"),
        ("anna:long enough\nanna:long enough", "Line 2 of"),
        ("anna:short", "Line 1 of"),
        (":long enough", "Line 1 of"),
        (b"\xff\xfe", "it is not UTF-8"),
    ],
)
def test_a_file_of_something_else(tmp_path, text, words):
    path = tmp_path / "accounts"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=words):
        Accounts.read(path)
