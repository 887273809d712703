"""The manifest that training takes."""

from __future__ import annotations

from fractions import Fraction

from latentsync.cli.data import main
from latentsync.data.clip_reader import FrameReader
from latentsync.data.manifest import read_manifest, usable_clips
from latentsync.errors import DataError
from tests.preprocess.world import DrawnNetworks, contents, draw_talk, preprocess, small_settings


def test_the_manifest_is_what_training_takes(result, tmp_path, capsys):
    target = result / "clips.jsonl"
    assert main(["make_manifest", str(result), "--validation_share", "0.4", "--speakers", "folder"]) == 0
    clips = usable_clips(read_manifest(target), 25, Fraction(25)).clips
    assert {clip.path.name for clip in clips} == {
        name.split("/")[-1] for name in contents(result / "high_visual_quality")
    }
    assert {clip.split for clip in clips} == {"train", "val"}
    sides = {split: {clip.source for clip in clips if clip.split == split} for split in ("train", "val")}
    assert not sides["train"] & sides["val"]
    assert {clip.speaker for clip in clips} == {"Ann", "Bob"}
    for clip in clips:
        assert FrameReader()(clip, 0, clip.frames).shape == (clip.frames, 96, 96, 3)
    assert "training clips" in capsys.readouterr().out


def test_copies_of_validation_clips_are_no_training_clips(tmp_path, capsys):
    """Two files of other bytes and the same images and audio end on one side, whichever that is."""
    raw = tmp_path / "raw"
    for seed in range(2):
        draw_talk(raw / f"{seed}.mp4", 1.4, seed=seed)
        (raw / f"{seed} again.mp4").write_bytes((raw / f"{seed}.mp4").read_bytes() + b"\0")
    preprocess(small_settings(raw), DrawnNetworks)
    assert main(["make_manifest", str(tmp_path), "--validation_share", "0.25"]) == 0
    assert "2 training clips, 1 validation clips. 1 more are copies" in capsys.readouterr().out


def test_clips_before_alignment_are_no_training_clips(result, capsys):
    assert main(["make_manifest", str(result), "--step", "segmented"]) == DataError.exit_code
    assert "not aligned" in capsys.readouterr().err
