"""What is computed of clips before the first step: the next ones are loaded while one is encoded."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import pytest
from accelerate import Accelerator

from latentsync.data.manifest import Clip
from latentsync.errors import DataError
from latentsync.training.loop.clips import RunClips, fill_cache

CLIPS = tuple(Clip(Path(f"{name}.mp4"), name, 50, Fraction(25), 32, 32, 2.0) for name in "abcde")
ALL = RunClips(CLIPS[:4], CLIPS[4:], ())


def test_the_next_clip_is_loaded_while_one_is_encoded():
    loaded = {clip.content: threading.Event() for clip in CLIPS}
    encoded = []

    def load(clip: Clip) -> str:
        loaded[clip.content].set()
        return clip.content.upper()

    def encode(clip: Clip, found: str) -> None:
        following = CLIPS[min(CLIPS.index(clip) + 1, 4)]
        assert loaded[following.content].wait(60), "nobody loads while this thread encodes"
        encoded.append((clip.content, found))

    fill_cache(ALL, load, encode, "test", Accelerator(cpu=True))
    assert encoded == [(name, name.upper()) for name in "abcde"]


def test_no_more_clips_are_in_memory_than_the_loaders_hold():
    held, most = set(), 0

    def load(clip: Clip) -> str:
        nonlocal most
        held.add(clip.content)
        most = max(most, len(held))
        return clip.content

    def encode(clip: Clip, found: str) -> None:
        held.discard(found)

    many = tuple(Clip(Path(f"{n}.mp4"), str(n), 50, Fraction(25), 32, 32, 2.0) for n in range(40))
    fill_cache(RunClips(many, (), ()), load, encode, "test", Accelerator(cpu=True))
    assert not held
    assert most <= 4


def test_what_is_there_is_left_alone_and_what_fails_is_reported_and_passed_over(caplog):
    encoded = []

    def load(clip: Clip) -> str | None:
        if clip.content == "b":
            raise DataError("undecodable: made up")
        return None if clip.content == "c" else clip.content

    def encode(clip: Clip, found: str) -> None:
        if clip.content == "d":
            raise DataError("too short for the encoder")
        encoded.append(found)

    fill_cache(ALL, load, encode, "test", Accelerator(cpu=True))
    assert encoded == ["a", "e"]
    assert "b.mp4: undecodable: made up" in caplog.text
    assert "d.mp4: too short for the encoder" in caplog.text
    with pytest.raises(ZeroDivisionError):
        fill_cache(ALL, lambda clip: 1 // 0, encode, "test", Accelerator(cpu=True))
