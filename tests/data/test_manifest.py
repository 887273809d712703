"""Manifests: what is kept, what is left out with which reason, and that one recording is never on both sides."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentsync.data.manifest import (
    Clip,
    Manifest,
    content_hash,
    fault_table,
    read_manifest,
    source_name,
    split_by_source,
    usable_clips,
    write_manifest,
)
from latentsync.errors import DataError

CLIP = Clip(Path("a.mp4"), "00", 100, Fraction(25), 64, 64, 4.0, source="a")


def clips_of(sources: list[str]) -> list[Clip]:
    return [replace(CLIP, path=Path(f"{k}.mp4"), content=f"{k:02x}", source=s) for k, s in enumerate(sources)]


def test_a_manifest_comes_back_as_it_was_written_and_may_be_moved(tmp_path):
    folder = tmp_path / "before"
    (folder / "clips").mkdir(parents=True)
    path = folder / "clips" / "视频 1.mp4"
    path.touch()
    more = {"split": "val", "speaker": "s", "source": "x", "covered": ((3, 9), (50, 60))}
    clip = replace(CLIP, path=path, fps=Fraction(30000, 1001), **more)
    write_manifest([clip], folder / "clips.jsonl")
    folder.rename(tmp_path / "after")
    (found,) = read_manifest(tmp_path / "after" / "clips.jsonl").clips
    assert found == replace(clip, path=tmp_path / "after" / "clips" / "视频 1.mp4")


def test_a_window_shows_the_mouth_where_nothing_covers_it():
    clip = replace(CLIP, covered=((10, 20), (40, 41)))
    shown = [start for start in range(60) if clip.shows_mouth(start, 4)]
    assert shown == [*range(7), *range(20, 37), *range(41, 60)]


def test_a_missing_file_is_reported_not_used(tmp_path):
    write_manifest([replace(CLIP, path=tmp_path / "gone.mp4")], tmp_path / "clips.jsonl")
    manifest = read_manifest(tmp_path / "clips.jsonl")
    assert not manifest.clips
    assert manifest.faults[0].reason.startswith("missing")


@pytest.mark.parametrize("line", ["not json", "[]", "{}", '{"path": "a", "fps": "0"}', '{"path": 3}'])
def test_a_malformed_line_is_named(tmp_path, line):
    (tmp_path / "clips.jsonl").write_text("\n" + line + "\n")
    with pytest.raises(DataError, match="Line 2"):
        read_manifest(tmp_path / "clips.jsonl")


def test_equal_names_with_other_content_differ_and_copies_do_not(tmp_path):
    paths = [tmp_path / name / "same.mp4" for name in "abc"]
    for path, data in zip(paths, (b"x" * 300_000, b"x" * 299_999 + b"y", b"x" * 300_000), strict=True):
        path.parent.mkdir()
        path.write_bytes(data)
    one, other, copy = map(content_hash, paths)
    assert one == copy != other


@pytest.mark.parametrize(
    ("name", "source"),
    [("a/v_shot_001_002.mp4", "a/v"), ("a/v_003.mp4", "a/v"), ("a/v2.mp4", "a/v2"), ("b/v_shot_1.mp4", "b/v")],
)
def test_segments_of_one_video_share_their_source(name, source):
    assert source_name(Path(name)) == source


@given(sources=st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=40), share=st.floats(0.01, 0.9))
def test_no_source_is_on_both_sides(sources, share):
    if len(set(sources)) < 2 or round(share * len(set(sources))) >= len(set(sources)):
        with pytest.raises(DataError):
            split_by_source(clips_of(["a"] * len(sources)), share)
        return
    train, validation = split_by_source(clips_of(sources), share)
    assert not {clip.source for clip in train} & {clip.source for clip in validation}
    assert len(train) + len(validation) == len(sources)


def test_the_split_does_not_depend_on_the_order_and_keeps_what_is_stated():
    clips = clips_of(list("aabbccddee"))
    first = {clip.path for clip in split_by_source(clips, 0.4)[1]}
    assert first == {clip.path for clip in split_by_source(clips[::-1], 0.4)[1]}
    stated = [replace(clip, split="val") if clip.source == "c" else clip for clip in clips]
    assert {clip.source for clip in split_by_source(stated, 0.4)[1]} == {"c"}


def test_a_copy_of_a_validation_clip_is_not_trained_on():
    clips = clips_of(list("ab"))
    clips = [replace(clips[0], split="val"), clips[1], replace(clips[1], content=clips[0].content, path=Path("copy"))]
    assert [clip.path for clip in split_by_source(clips, 0.5)[0]] == [Path("1.mp4")]


def test_unusable_clips_are_named_with_their_reason():
    clips = [
        replace(CLIP, content="good"),
        replace(CLIP, path=Path("short.mp4"), frames=31, content="1"),
        replace(CLIP, path=Path("rate.mp4"), fps=Fraction(30), content="2"),
        replace(CLIP, path=Path("quiet.mp4"), audio_seconds=1.0, content="3"),
        replace(CLIP, path=Path("copy.mp4"), content="good"),
    ]
    kept = usable_clips(Manifest(tuple(clips)), 32, Fraction(25))
    assert [clip.content for clip in kept.clips] == ["good"]
    table = fault_table(kept.faults)
    for text in ("short.mp4 (too short: 31 frames", "wrong frame rate: 30", "sound too short: 1.00 s", "copy.mp4"):
        assert text in table


def test_no_usable_clip_is_an_error_with_the_table():
    with pytest.raises(DataError, match="too short") as caught:
        usable_clips(Manifest((replace(CLIP, frames=5),)), 32, Fraction(25))
    assert "latentsync preprocess" in caught.value.remedy
