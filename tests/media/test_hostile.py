"""Everything in the table of hostile files is refused by name or read, in bounded memory, however it is read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from latentsync.errors import VideoError
from latentsync.media.container import COMMON_VIDEO
from latentsync.media.trial import refuse_costly
from tests.media.hostile import AUDIO, HOSTILE, LIST, VIDEO
from tests.media.hostile.containers import matroska
from tests.media.hostile.headers import matroska_tags
from tests.media.synthetic import write_clip

ROOT = Path(__file__).parents[2]
MOST_DURING, MOST_AFTER = 1000, 100  # MB above what the process took before
PATIENCE = 550  # seconds for all of them, lest a test hangs


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    made = {}
    for number, (name, entry) in enumerate(HOSTILE.items()):
        folder = tmp_path_factory.mktemp(f"hostile{number}")
        made[name] = entry.make(folder)
    return made


@pytest.mark.parametrize("way", ["stranger", "own", "pipeline"])
def test_every_file_is_refused_or_read_in_bounded_memory(files, way):
    jobs = [
        (name, kind)
        for name, entry in HOSTILE.items()
        for kind in ([VIDEO, AUDIO] if entry.kind == LIST else [entry.kind])
    ]
    command = [sys.executable, "-m", "tests.media.hostile.reader", way]
    command += [part for name, kind in jobs for part in (kind, str(files[name]))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    results = [line for line in lines if "outcome" in line]
    assert done.returncode == 0 and len(results) == len(jobs), f"ended at {lines[-1:]}: {done.stderr[-2000:]}"
    for (name, _), result in zip(jobs, results, strict=True):
        assert "UNNAMED" not in result["outcome"], name
        assert result["peak"] < MOST_DURING, name
        assert result["after"] < MOST_AFTER, name
        assert HOSTILE[name].kind != LIST or result["outcome"] != "read", name


def test_opening_that_takes_too_long_is_refused(tmp_path):
    path = matroska(tmp_path / "endless.mkv", matroska_tags(100_000))  # 1.6 MB, 70 s
    with pytest.raises(VideoError, match="FFmpeg fails"):
        refuse_costly(path, VideoError, COMMON_VIDEO, 10**7, seconds=1)


def test_opening_that_takes_too_much_memory_is_refused(files):
    with pytest.raises(VideoError, match="more memory"):
        refuse_costly(files["many tracks.mp4"], VideoError, COMMON_VIDEO, 10**7)


def test_ordinary_files_and_ordinary_errors_pass_the_trial(tmp_path):
    refuse_costly(write_clip(tmp_path / "a.mp4", 5), VideoError, COMMON_VIDEO, 10**7)
    (tmp_path / "b.mp4").write_text("no video")
    refuse_costly(tmp_path / "b.mp4", VideoError, COMMON_VIDEO, 10**7)
