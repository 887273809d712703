"""Names of recordings and clips."""

from __future__ import annotations

from latentsync.preprocess.clip_record import ClipRecord
from latentsync.preprocess.engine.layout import recording_name
from tests.preprocess.world import SOURCE


def test_names_say_the_recording_and_never_meet():
    names = {recording_name(file, SOURCE) for file in ("a/talk.mp4", "b/talk.mp4", "talk.mp4")}
    assert len(names) == 3
    assert recording_name("a/talk.mp4", SOURCE) != recording_name("a/talk.mov", "cd" * 16)
    assert len(recording_name("说" * 200 + ".mp4", SOURCE).encode()) < 200


def test_a_part_of_a_clip_counts_from_the_recordings_start():
    shot = ClipRecord(SOURCE, "a/talk.mp4", 0, 100, (40,)).part(40, 100, "_shot_002")
    assert shot == ClipRecord(SOURCE, "a/talk_shot_002.mp4", 40, 60)
    assert shot.part(25, 60, "_001") == ClipRecord(SOURCE, "a/talk_shot_002_001.mp4", 65, 35)
