"""Frames and audio of training clips, also of clips that somebody has made to do harm."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from latentsync.data import clip_reader
from latentsync.data.clip_reader import ArrayCache, FrameReader, MelReader, frame_size, read_clip_frames
from latentsync.data.manifest import Clip
from latentsync.errors import DataError, PackageMissingError
from tests.data.clips import write_talking_clips
from tests.media.hostile import AUDIO, HOSTILE, LIST
from tests.media.hostile.containers import mux
from tests.media.hostile.frames import encoded
from tests.media.synthetic import picture, write_clip

ROOT = Path(__file__).parents[2]
MOST_MEMORY = 1000  # MB above what the process took before
PATIENCE = 300  # seconds, lest the test hangs


def clip_of(path: Path, **values) -> Clip:
    return replace(Clip(path, "00", 25, Fraction(25), 96, 64, 1.0), **values)


def test_every_clip_is_read_through_once_in_a_process(tmp_path, monkeypatch):
    paths, decode_all = [], clip_reader.decode_all
    monkeypatch.setattr(clip_reader, "decode_all", lambda path, limits: (paths.append(path), decode_all(path))[1])
    clips = [clip_of(write_clip(tmp_path / f"{name}.mp4")) for name in "ab"]
    for clip in [*clips, *clips]:
        assert read_clip_frames(clip, 3, 2).shape == (2, 64, 96, 3)
    assert paths == [clip.path for clip in clips]
    assert frame_size(clips[0].path) == (96, 64)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("late libx264", "undecodable: .* of one far too large"),
        ("first.mov", "undecodable: .* of one far too large"),
        ("frame%d.png", "undecodable"),
        ("hls.mp4", "undecodable"),
        ("far apart.mkv", "undecodable: .* lasts more than 24 hours"),
        ("comment.mov", "undecodable: .* PNG images"),
    ],
)
def test_what_a_clip_does_not_state_is_refused_before_decord_gets_it(tmp_path, monkeypatch, name, reason):
    monkeypatch.setattr(clip_reader, "load_decord", lambda: pytest.fail("decord was asked"))
    path = HOSTILE[name].make(tmp_path)
    with pytest.raises(DataError, match=reason):
        read_clip_frames(clip_of(path), 0, 2)


def test_frames_of_several_sizes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_reader, "load_decord", lambda: pytest.fail("decord was asked"))
    packets = [encoded("mjpeg", side, side, "yuvj420p")[0] for side in (64, 64, 128)]
    path = mux(tmp_path / "a.mov", packets, "mjpeg", container="mov", pix_fmt="yuvj420p", side=64)
    with pytest.raises(DataError, match="changing size: 64 x 64 px, from frame 2 on 128 x 128"):
        read_clip_frames(clip_of(path), 0, 2)


def test_no_hostile_clip_takes_much_memory_or_ends_the_process(tmp_path):
    paths = []
    for number, entry in enumerate(HOSTILE.values()):
        if entry.kind != AUDIO:
            (tmp_path / str(number)).mkdir()
            paths.append(entry.make(tmp_path / str(number)))
    command = [sys.executable, "-m", "tests.data.read_clips", *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(results) == len(paths), f"ended after {results[-1:]}: {done.stderr[-2000:]}"
    lists = {name for name, entry in HOSTILE.items() if entry.kind == LIST}
    for result in results:
        assert result["peak"] < MOST_MEMORY, result
        assert Path(result["file"]).name not in lists or result["reason"], result


def test_memory_for_kept_clips_counts_the_frames_as_they_are(tmp_path):
    """Not as a manifest says that they are."""
    frames = [picture(number, 96, 64) for number in range(25)]
    clip = clip_of(write_clip(tmp_path / "a.mp4", frames), width=1, height=1)
    reader = FrameReader(keep_bytes=25 * 64 * 96 * 3 - 1)
    assert reader(clip, 0, 2).shape == (2, 64, 96, 3)
    assert not reader._kept
    assert FrameReader(keep_bytes=1000)(replace(clip, frames=10**9), 0, 2).shape == (2, 64, 96, 3)


@pytest.mark.parametrize("name", ["long.aac.mp4", "long.flac.mkv"])
def test_audio_that_is_longer_than_stated_is_refused(tmp_path, name):
    clip = clip_of(HOSTILE[name].make(tmp_path), audio_seconds=2.0)
    with pytest.raises(DataError, match="unreadable sound: .* lasts more than"):
        MelReader(ArrayCache(tmp_path / "cache"))(clip)


def test_audio_that_is_a_little_longer_than_stated_is_read(tmp_path):
    (path,) = write_talking_clips(tmp_path, 1)
    mels = MelReader(ArrayCache(tmp_path / "cache"))
    whole = mels(clip_of(path, audio_seconds=1.92))
    assert np.array_equal(MelReader(ArrayCache(tmp_path / "other"))(clip_of(path, audio_seconds=0.1)), whole)


def test_an_array_is_computed_once_per_content(tmp_path):
    cache, calls = ArrayCache(tmp_path), []

    def compute(value):
        calls.append(value)
        return np.full(3, value)

    assert cache.get("aa11", lambda: compute(1)).tolist() == [1, 1, 1]
    assert cache.get("aa22", lambda: compute(2)).tolist() == [2, 2, 2]
    assert ArrayCache(tmp_path).get("aa11", lambda: compute(3)).tolist() == [1, 1, 1]
    assert calls == [1, 2]


def test_a_damaged_file_is_computed_again(tmp_path, caplog):
    cache = ArrayCache(tmp_path)
    cache.get("aa", lambda: np.arange(1000))
    (path,) = tmp_path.rglob("*.npy")
    path.write_bytes(path.read_bytes()[:500])
    assert cache.get("aa", lambda: np.arange(1000)).sum() == 499_500
    assert "damaged" in caplog.text
    assert np.load(path).sum() == 499_500


def test_a_failed_computation_leaves_nothing_behind(tmp_path):
    with pytest.raises(ZeroDivisionError):
        ArrayCache(tmp_path).get("aa", lambda: 1 / 0)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_without_decord_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "decord", None)
    clip_reader.load_decord.cache_clear()
    try:
        with pytest.raises(PackageMissingError) as error:
            clip_reader.load_decord()
    finally:
        clip_reader.load_decord.cache_clear()
    requirements = shlex.split(error.value.remedy.strip("`Run: ."))[-1]
    assert "decord" in Path(requirements).read_text()
