"""Memory of a running page over hostile files: bounded while it looks at them, and given back afterwards."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import httpx
import psutil
import pytest

from latentsync.media.trial import MEMORY
from latentsync.page.memory import INTERVAL
from tests.media.hostile import AUDIO, HOSTILE, LIST, VIDEO
from tests.page.program import SAMPLE, TIMEOUT, dub, program, upload
from tests.page.stage import wait_until

MB = 2**20
# What the page may take for a hostile file: the process that opens it first, with all that it is allowed, and its own
# memory for one that opens. And what it may keep after all of them.
MOST_MORE, MOST_LEFT = MEMORY + 512 * MB, 100 * MB
A_FEW = ("first.mov", "late libx264", "gif.mp4", "cover.mp3", "long.flac.mkv", "many boxes.mp4", "hls.mp4")


@contextmanager
def watched(process):
    """Most memory that ``process`` and its children have while the block runs, in a list of one number."""
    most, stop = [0], threading.Event()

    def watch():
        while not stop.wait(0.02):
            most[0] = max(most[0], resident(process))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()


def resident(process):
    """Memory of a process and its children, but of none that has just begun: it shows its parent's until its own
    program is loaded, and the parent's command."""
    total, command = process.memory_info().rss, process.cmdline()
    for each in process.children(recursive=True):
        try:
            total += each.memory_info().rss if each.cmdline() != command else 0
        except psutil.NoSuchProcess:
            continue
    return total


def send(address, folder, names, good):
    """Have each file dubbed as what it is for, beside ``good`` ones; gives what was said of it."""
    said = {}
    for number, name in enumerate(names):
        place = folder / str(number)
        place.mkdir()
        path = HOSTILE[name].make(place)
        for kind in (VIDEO, AUDIO) if HOSTILE[name].kind == LIST else (HOSTILE[name].kind,):
            files = good | {kind: upload(address, path)}
            said[name, kind] = dub(address, files[VIDEO], files[AUDIO])
    return said


@pytest.mark.parametrize(
    "names", [pytest.param(A_FEW, id="a few"), pytest.param(tuple(HOSTILE), id="all", marks=pytest.mark.slow)]
)
def test_hostile_files_take_little_and_it_comes_back(tmp_path, names):
    (tmp_path / "page").mkdir()
    with program(tmp_path / "page") as (started, address):
        good = {VIDEO: SAMPLE[0], AUDIO: SAMPLE[1]}
        good = {kind: upload(address, path) for kind, path in good.items()}
        assert dub(address, good[VIDEO], good[AUDIO]).startswith("event: complete")  # from now on, all is imported
        process = psutil.Process(started.pid)
        time.sleep(3 * INTERVAL)  # what that took goes back first
        before = resident(process)
        with watched(process) as most:
            said = send(address, tmp_path, names, good)
        assert all(answer.startswith(("event: error", "event: complete")) for answer in said.values()), said
        assert most[0] - before < MOST_MORE
        wait_until(lambda: resident(process) - before < MOST_LEFT)
        assert httpx.get(address, timeout=TIMEOUT).status_code == 200
