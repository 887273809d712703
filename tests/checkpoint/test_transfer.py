"""Bytes over lines that break."""

from __future__ import annotations

import urllib.error
from email.message import Message
from pathlib import Path

import pytest

from latentsync.checkpoint import transfer
from latentsync.checkpoint.transfer import ATTEMPTS, RemoteFile, fetch, probe
from latentsync.errors import DownloadError
from tests.checkpoint.mirror import Mirror, Served

CONTENT = bytes(range(256)) * 12_000  # 3 MB


def test_probe(mirror: Mirror) -> None:
    mirror.files["/a"] = Served(CONTENT)
    mirror.files["/weak"] = Served(CONTENT, etag='W/"one"')
    found = probe(f"{mirror.url}/a")
    assert (found.size, found.etag) == (len(CONTENT), '"one"')
    assert probe(f"{mirror.url}/weak").etag is None  # a weak one does not vouch for single bytes


def test_a_line_that_is_cut_every_megabyte(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files["/a"] = Served(CONTENT, cut_after=1_000_000)
    fetch(probe(f"{mirror.url}/a"), tmp_path / "a.part", "a")
    assert (tmp_path / "a.part").read_bytes() == CONTENT
    starts = [headers.get("range") for headers in mirror.gets("/a")]
    assert starts == [None, "bytes=1000000-", "bytes=2000000-", "bytes=3000000-"]


def test_a_second_run_goes_on_where_the_first_one_stopped(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files["/a"] = Served(CONTENT)
    (tmp_path / "a.part").write_bytes(CONTENT[:2_500_000])
    fetch(probe(f"{mirror.url}/a"), tmp_path / "a.part", "a")
    assert (tmp_path / "a.part").read_bytes() == CONTENT
    assert [headers["range"] for headers in mirror.gets("/a")] == ["bytes=2500000-"]


def test_a_whole_file_is_not_asked_for_again(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(CONTENT)
    fetch(RemoteFile(f"{mirror.url}/a", len(CONTENT)), tmp_path / "a.part", "a")
    assert mirror.requests == []


@pytest.mark.parametrize("served", [Served(CONTENT, ranges=False), Served(CONTENT, etag='"two"')])
def test_a_server_that_cannot_go_on_starts_afresh(mirror: Mirror, tmp_path: Path, served: Served) -> None:
    """It ignores the range, or has another file by now: old and new bytes are never joined."""
    mirror.files["/a"] = served
    (tmp_path / "a.part").write_bytes(b"old" * 1000)
    fetch(RemoteFile(f"{mirror.url}/a", len(CONTENT), etag='"one"'), tmp_path / "a.part", "a")
    assert (tmp_path / "a.part").read_bytes() == CONTENT


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_more_bytes_than_there_are(mirror: Mirror, tmp_path: Path, size: int | None) -> None:
    mirror.files["/a"] = Served(CONTENT)
    (tmp_path / "a.part").write_bytes(b"x" * (len(CONTENT) + 5))
    fetch(RemoteFile(f"{mirror.url}/a", size), tmp_path / "a.part", "a")
    assert (tmp_path / "a.part").read_bytes() == CONTENT


def test_a_server_in_passing_trouble(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files["/a"] = Served(CONTENT, failures=[503, 429, 500])
    fetch(probe(f"{mirror.url}/a"), tmp_path / "a.part", "a")
    assert (tmp_path / "a.part").read_bytes() == CONTENT


def test_a_line_without_a_byte_gives_up_and_keeps_what_came(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files["/a"] = Served(CONTENT, cut_after=0)
    (tmp_path / "a.part").write_bytes(CONTENT[:1000])
    with pytest.raises(DownloadError, match="cannot be reached .*broke after 1,000 bytes") as error:
        fetch(probe(f"{mirror.url}/a"), tmp_path / "a.part", "a")
    assert "--import" in error.value.remedy
    assert len(mirror.gets("/a")) == ATTEMPTS
    assert (tmp_path / "a.part").read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "hf auth login"), (403, "Accept the licence"), (404, "mirror"), (429, "wait some min")]
)
def test_refusals_are_explained(mirror: Mirror, tmp_path: Path, status: int, remedy: str) -> None:
    mirror.files["/a"] = Served(CONTENT, status=status)
    with pytest.raises(DownloadError, match=f"/a answers {status}") as error:
        fetch(RemoteFile(f"{mirror.url}/a"), tmp_path / "a.part", "a")
    assert remedy in error.value.remedy


def test_a_signature_is_not_shown(mirror: Mirror) -> None:
    with pytest.raises(DownloadError, match="/a answers 404") as error:
        probe(f"{mirror.url}/a?signature=secret")
    assert "secret" not in str(error.value)


def test_nobody_listens(mirror: Mirror, tmp_path: Path) -> None:
    mirror.close()
    with pytest.raises(DownloadError, match="cannot be reached") as error:
        probe(f"{mirror.url}/a")
    assert "HTTPS_PROXY" in error.value.remedy
    with pytest.raises(DownloadError, match="cannot be reached"):
        fetch(RemoteFile(f"{mirror.url}/a"), tmp_path / "a.part", "a")


def test_secrets_do_not_follow_a_redirect(mirror: Mirror, tmp_path: Path) -> None:
    mirror.files["/a"] = Served(CONTENT, redirect=f"{mirror.url}/store")
    mirror.files["/store"] = Served(CONTENT)
    fetch(RemoteFile(f"{mirror.url}/a", headers={"Authorization": "Bearer x"}), tmp_path / "a.part", "a")
    assert mirror.gets("/a")[0]["authorization"] == "Bearer x"
    assert "authorization" not in mirror.gets("/store")[0]


def test_the_server_says_how_long_to_wait() -> None:
    headers = Message()
    headers["Retry-After"] = "7"
    error = urllib.error.HTTPError("http://a", 429, "", headers, None)
    assert transfer._pause(error, attempt=1) == 7
    headers.replace_header("Retry-After", "86400")
    assert transfer._pause(error, attempt=1) == transfer.LONGEST_PAUSE
    assert transfer._pause(ConnectionError(), attempt=2) == 4 * transfer.PAUSE
