"""Finding clips: every file is opened once, also over several starts; bad ones are named."""

from __future__ import annotations

import pytest

from latentsync.data import scan
from latentsync.errors import DataError
from tests.data.clips import write_talking_clips
from tests.media.synthetic import write_clip


@pytest.fixture
def opened(monkeypatch):
    paths, probe = [], scan.probe_video
    monkeypatch.setattr(scan, "probe_video", lambda path: (paths.append(path), probe(path))[1])
    return paths


def test_a_folder_is_read_once_and_changed_files_again(tmp_path, opened):
    paths = write_talking_clips(tmp_path / "clips" / "sub", 2, n_frames=20)
    (tmp_path / "clips" / "text.mp4").write_text("no video")
    write_clip(tmp_path / "clips" / "mute.mp4", 10)
    first = scan.load_clips(tmp_path / "clips", tmp_path / "cache.json")
    assert len(opened) == 4
    assert [clip.path for clip in first.clips] == paths
    assert [fault.reason.partition(":")[0] for fault in first.faults] == ["no sound", "cannot be opened"]
    assert scan.load_clips(tmp_path / "clips", tmp_path / "cache.json") == first
    assert len(opened) == 4
    write_talking_clips(tmp_path / "clips" / "sub", 1, n_frames=25)
    assert scan.load_clips(tmp_path / "clips", tmp_path / "cache.json").clips[0].frames == 25
    assert len(opened) == 5


def test_the_published_list_has_one_path_a_line(tmp_path):
    (path,) = write_talking_clips(tmp_path / "clips", 1, n_frames=20)
    (tmp_path / "list.txt").write_text(f"{path}\nclips/missing.mp4\n\n")
    manifest = scan.load_clips(tmp_path / "list.txt")
    assert [clip.path for clip in manifest.clips] == [path]
    assert "missing.mp4" in manifest.faults[0].path


def test_an_empty_or_missing_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="holds no video"):
        scan.load_clips(tmp_path)
    with pytest.raises(DataError, match="There are no clips at"):
        scan.load_clips(tmp_path / "nowhere")


def test_a_damaged_cache_says_that_it_may_be_removed(tmp_path):
    write_talking_clips(tmp_path / "clips", 1, n_frames=20)
    (tmp_path / "cache.json").write_text("{")
    with pytest.raises(DataError, match="damaged") as caught:
        scan.load_clips(tmp_path / "clips", tmp_path / "cache.json")
    assert "Remove it" in caught.value.remedy
