"""The clips of a run from several places, and what is computed of them before the first step."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from accelerate import Accelerator

from latentsync.data.clip_dataset import SampleKey
from latentsync.data.manifest import TRAIN, VALIDATION, Clip, write_manifest
from latentsync.data.mixture import Part
from latentsync.errors import DataError
from latentsync.recipe import ClipShare, UNetData
from latentsync.training.loop.clips import RunClips, fill_cache, find_clips

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
        assert loaded[following.content].wait(300), "nobody loads while this thread encodes"
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


def written(folder: Path, name: str, count: int) -> str:
    """A manifest of ``count`` clips, the last of them for validation."""
    clips = []
    for k in range(count):
        (path := folder / f"{name}{k}.mp4").touch()
        split = VALIDATION if k == count - 1 else TRAIN
        clips.append(Clip(path, f"{name}{k}", 60, Fraction(25), 64, 64, 2.4, split, source=f"{name}{k}"))
    write_manifest(clips, folder / f"{name}.jsonl")
    return str(folder / f"{name}.jsonl")


def test_places_of_clips_are_mixed_by_their_shares(tmp_path):
    more = {"few": ClipShare(written(tmp_path, "f", 3), 1.0), "none": ClipShare("", 5.0)}
    data = UNetData(train_fileslist=written(tmp_path, "m", 9), clips_share=3.0, more_clips=more)
    clips = find_clips(data, 48, tmp_path)
    assert [(part.name, part.share, len(part.train), len(part.validation)) for part in clips.parts] == [
        ("clips", 3.0, 8, 1), ("few", 1.0, 2, 1)
    ]  # fmt: skip
    assert len(clips.train) == 10 and len(clips.validation) == 2
    assert "few (share 1): 2 clips" in clips.summary()

    class Names:
        def __init__(self, some) -> None:
            self.some = some

        def __len__(self) -> int:
            return len(self.some)

        def __getitem__(self, key: SampleKey) -> str:
            return self.some[key.index].content[0]

    shown = clips.samples("train", Names, 0)
    assert Counter(shown[SampleKey(0, k)] for k in range(len(shown))) == {"m": 150, "f": 50}
    first = replace(clips.parts[1].train[0], covered=((0, 9),))
    few = replace(clips.parts[1], train=(first, *clips.parts[1].train[1:]))
    left = replace(clips, train=(*clips.train[:8], *few.train), parts=(clips.parts[0], few)).with_free_mouths()
    assert (len(left.train), len(left.parts[1].train)) == (9, 1) and left.validation == clips.validation
    assert [fault.clip_id for fault in left.faults] == [first.content]
    alone = find_clips(UNetData(train_fileslist=written(tmp_path, "m", 9)), 48, tmp_path)
    assert not alone.parts and isinstance(alone.samples("train", Names, 0), Names)
    extra = alone.samples("train", Names, 0, share=1.0, more={"people": Part(Names(clips.parts[1].train), 1.0)})
    assert Counter(extra[SampleKey(0, k)] for k in range(len(extra))) == {"m": 100, "f": 100}
