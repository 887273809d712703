"""However a page ends, nothing of a visitor stays: at once where it can clean up, else with the next start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest
from filelock import FileLock

from latentsync.page.page_folder import page_folder, sweep
from tests.page.program import ROOT, SAMPLE, TIMEOUT, begin, program, upload
from tests.page.stage import below, wait_until


@contextmanager
def upload_under_way(address):
    with socket.create_connection(("127.0.0.1", httpx.URL(address).port), timeout=TIMEOUT) as connection:
        head = "POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n"
        part = 'Content-Disposition: form-data; name="files"; filename="video.mp4"\r\n\r\nvideo'
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n{part}".encode())
        connection.sendall(bytes(100_000))
        yield


def lies_in(folder):
    return [path for path in below(folder) if path.is_file()]


def begin_everything(address, folder):
    """A job that runs and one that waits."""
    sample = [upload(address, path) for path in SAMPLE]
    begin(address, *sample)
    wait_until(lambda: any("job_" in str(path) for path in lies_in(folder)), TIMEOUT)
    begin(address, *sample)
    wait_until(lambda: any("incoming" in str(path) for path in lies_in(folder)), TIMEOUT)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_an_end_in_upload_queue_and_job_leaves_nothing(tmp_path, name):
    with program(tmp_path, seconds=0.5) as (process, address), upload_under_way(address):
        begin_everything(address, tmp_path)
        process.send_signal(getattr(signal, name))
        assert process.wait(TIMEOUT) == 0
    assert not list(tmp_path.iterdir())


def test_what_a_killed_page_leaves_goes_with_the_next_start(tmp_path):
    with program(tmp_path, seconds=0.5) as (process, address), upload_under_way(address):
        begin_everything(address, tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait(TIMEOUT)
    (left,) = tmp_path.glob("latentsync_page_*[!k]")
    assert lies_in(left)
    with program(tmp_path) as (process, _):
        assert not left.exists() and not left.with_suffix(".lock").exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT) == 0
    assert not list(tmp_path.iterdir())


def test_a_hang_up_that_is_not_listened_to_ends_nothing():
    """As with nohup."""
    code = (
        "import signal; from latentsync.__main__ import end_politely;"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN); end_politely();"
        "assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN;"
        "assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=TIMEOUT)


# -- the folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def dead(place, name="latentsync_page_dead"):
    """A folder whose owner is no more."""
    (place / name).mkdir()
    (place / name / "video.mp4").touch()
    (place / f"{name}.lock").touch()
    return place / name


def test_the_folder_is_private_and_goes(place):
    with page_folder() as folder:
        assert folder.parent == place and folder.stat().st_mode & 0o777 == 0o700
        (folder / "video.mp4").touch()
    assert not list(place.iterdir())
    with pytest.raises(KeyboardInterrupt), page_folder():
        raise KeyboardInterrupt
    assert not list(place.iterdir())


def test_folders_of_the_dead_go_and_those_of_the_living_stay(place, caplog):
    left = dead(place)
    with page_folder() as living, page_folder() as other:
        old = time.time() - 10**6
        os.utime(living, (old, old))  # it is not age that decides
        sweep()
        assert living.exists() and other.exists() and not left.exists()
        assert sum(str(left) in record.getMessage() for record in caplog.records) == 1
    assert not list(place.iterdir())


def test_a_lock_without_a_folder_goes_and_a_folder_without_a_lock_stays(place):
    """It may be a page's whose lock was tidied away: the folders of temporary files are."""
    (place / "latentsync_page_x.lock").touch()
    (place / "latentsync_page_y").mkdir()
    sweep()
    assert list(place.iterdir()) == [place / "latentsync_page_y"]


def test_what_another_puts_there_is_not_touched(place, tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("home")
    (home / "precious").touch()
    (place / "latentsync_page_link").symlink_to(home)
    (place / "latentsync_page_link.lock").touch()
    (place / "latentsync_page_locklink").mkdir()
    (place / "latentsync_page_locklink.lock").symlink_to(home / "precious")
    sweep()
    assert (home / "precious").exists() and (place / "latentsync_page_locklink").exists()
    left = dead(place)
    monkeypatch.setattr(os, "getuid", lambda: left.stat().st_uid + 1)
    sweep()
    assert left.exists()


def test_a_folder_that_another_start_is_removing_is_left_to_it(place):
    left = dead(place)
    with FileLock(f"{left}.lock"):
        sweep()
        assert left.exists()
