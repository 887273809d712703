"""Folders of visitors: apart from each other, and gone after a while."""

from __future__ import annotations

import os
import threading
import time

import pytest

from latentsync.errors import DiskFullError
from latentsync.page.server import every
from latentsync.page.storage import Storage, StorageLimits
from latentsync.page.visitors import EMPTY_SECONDS, VisitorFolders, address_of, visitor_of


@pytest.fixture
def folders(tmp_path):
    return VisitorFolders(Storage(tmp_path, StorageLimits(reserve=0)), keep_seconds=100)


def age(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)


def test_every_job_has_a_folder_of_its_own_whatever_the_visitor_is_called(folders, tmp_path):
    names = ["a", "b", "../../etc", "", "x" * 1000, "\ud800"]
    jobs = [folders.new_job(name) for name in names + ["a"]]
    assert len(set(jobs)) == len(jobs)
    assert all(job.is_dir() and job.parents[1] == tmp_path / "jobs" for job in jobs)
    assert jobs[0].parent == jobs[-1].parent and jobs[0].parent != jobs[1].parent
    other = VisitorFolders(Storage(tmp_path, StorageLimits(reserve=0)), keep_seconds=100)
    assert other.new_job("a").parent != jobs[0].parent  # not to be guessed from the visitor's name


def test_old_jobs_are_removed_and_young_ones_stay(folders):
    old, young, alone = folders.new_job("a"), folders.new_job("a"), folders.new_job("b")
    (old / "result.mp4").write_text("x")
    for job in (old, alone):
        age(job, 200)
    folders.clean()
    assert not old.exists() and young.exists() and not alone.exists()


def test_folders_that_have_long_been_empty_are_removed(folders, tmp_path):
    used, empty, full, fresh = folders.new_job("a"), tmp_path / "hash", tmp_path / "full", tmp_path / "fresh"
    for folder in (empty, full, fresh):
        folder.mkdir()
    (full / "video.mp4").touch()
    for folder in (used.parent, empty, full, tmp_path / "incoming"):
        age(folder, EMPTY_SECONDS + 1)
    folders.clean()
    assert not empty.exists() and used.exists() and fresh.exists() and (full / "video.mp4").exists()
    assert (tmp_path / "incoming").exists()  # uploads begin there at any time


def test_no_job_begins_on_a_full_disk(tmp_path):
    full = VisitorFolders(Storage(tmp_path, StorageLimits(reserve=10**18)), keep_seconds=100)
    with pytest.raises(DiskFullError, match="no room"):
        full.new_job("a")
    assert not (tmp_path / "jobs").exists()


def test_a_folder_that_goes_while_others_are_cleaned_ends_nothing(folders, monkeypatch):
    """A job that ends removes what it worked in."""
    going, old = folders.new_job("a") / "work", folders.new_job("b").parent
    going.mkdir()
    for job in old.iterdir():
        job.rmdir()
    age(old, EMPTY_SECONDS + 10)
    scan = os.scandir

    def late(path):
        if os.fspath(path) == os.fspath(going):
            going.rmdir()
        return scan(path)

    monkeypatch.setattr(os, "scandir", late)
    folders.clean()
    assert not going.exists() and not old.exists()


def test_cleaning_that_fails_is_tried_again(caplog):
    done, tries = threading.Event(), []

    def work():
        tries.append(1)
        if len(tries) == 1:
            raise OSError("gone")
        done.set()

    with every(0.01, work, "cleaning"):
        assert done.wait(300)
    assert "cleaning has failed" in caplog.text


@pytest.mark.parametrize(
    "client, address",
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_a_visitor_is_an_address_or_an_account(client, address):
    assert address_of({"client": (client, 1)}) == address
    assert visitor_of({"client": (client, 1)}) == f"address {address}"
    assert visitor_of({"client": (client, 1), "user_name": "anna"}) == "account anna"
