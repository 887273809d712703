"""Names of recordings and clips."""

from __future__ import annotations

from latentsync.preprocess.clip_record import ClipRecord
from latentsync.preprocess.engine.layout import input_files, recording_name
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


def test_files_come_folder_by_folder_and_links_to_folders_are_named(tmp_path):
    for name in ("b/2", "b/1", "b/c/1", "a/1", "z"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    assert list(input_files(tmp_path)) == ["link", "z", "a/1", "b/1", "b/2", "b/c/1"]


def test_folders_may_lie_in_each_other_deeper_than_functions_may(tmp_path):
    folders = [tmp_path]
    for _ in range(1200):  # Python allows 1000
        folders.append(folders[-1] / "d")
        folders[-1].mkdir()
    (folders[-1] / "a.mp4").touch()
    try:
        assert list(input_files(tmp_path)) == ["d/" * 1200 + "a.mp4"]
    finally:  # nor can the clearing of temporary folders go so deep
        (folders[-1] / "a.mp4").unlink()
        for folder in folders[:0:-1]:
            folder.rmdir()
