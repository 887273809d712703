"""Whole runs in the drawn world: what becomes of every file, and what is never touched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from latentsync.config import load_config
from latentsync.errors import ConfigError, DataError, OutputError
from latentsync.media.audio import read_audio
from latentsync.media.video import VideoFile
from latentsync.preprocess.engine.layout import Layout
from latentsync.preprocess.engine.manifest import file_records
from latentsync.preprocess.engine.recordings import read_recordings
from latentsync.preprocess.settings import FaceSettings, PreprocessSettings, SyncSettings
from tests.media.synthetic import tone, write_clip, write_wav
from tests.preprocess.world import (
    DrawnNetworks,
    contents,
    draw_talk,
    envelope_score,
    preprocess,
    reasons_of,
    require_agreement,
    rows_of,
    small_settings,
    tree_hash,
)

FINAL = "high_visual_quality"
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A folder of everything, run once: (input, output, hash of the input before)."""
    folder = tmp_path_factory.mktemp("world") / 'it\'s a "test" 数据'
    raw = folder / "raw"
    draw_talk(raw / "good.mp4")
    draw_talk(raw / "人物 'a'" / "same.mkv", seed=1, offset=4)
    draw_talk(raw / "b" / "same.mkv", seed=2, offset=-6)
    draw_talk(raw / "b" / "same.mp4", 4.0, seed=3, cuts=(40,))
    draw_talk(raw / "empty room.mp4", seed=4, faces=0)
    draw_talk(raw / "two.mp4", seed=5, faces=2)
    draw_talk(raw / "far.mp4", seed=8, offset=9)
    draw_talk(raw / "silent.mp4", seed=6, silent=True)
    draw_talk(raw / "turned.mp4", seed=7, rotation=90)
    draw_talk(raw / "short.mp4", 0.6, seed=9)
    draw_talk(raw / "small.mp4", seed=10, size=(48, 28))
    shaky = [n / 25 + (0.012 if n % 3 else 0.0) for n in range(60)]
    draw_talk(raw / "variable.mp4", seed=11, times=shaky)
    write_clip(raw / "mute.mp4", 50)
    write_wav(raw / "only sound.wav", tone(2.0))
    (raw / "words.mp4").write_text("this is no video")
    (raw / "nothing.mp4").touch()
    (raw / "notes.txt").write_text("notes")
    broken = (raw / "good.mp4").read_bytes()
    (raw / "cut off.mp4").write_bytes(broken[: len(broken) // 2])
    shutil.copy(raw / "good.mp4", raw / "zopy.mp4")
    before = tree_hash(raw)
    preprocess(small_settings(raw), DrawnNetworks)
    return raw, folder, before


def test_every_file_is_accounted_for(mixed):
    raw, output, _ = mixed
    assert reasons_of(output, raw) == {
        "good.mp4": "",
        "人物 'a'/same.mkv": "",
        "b/same.mkv": "",
        "b/same.mp4": "",
        "empty room.mp4": "no face",
        "two.mp4": "several faces",
        "far.mp4": "far out of sync",
        "silent.mp4": "silent",
        "turned.mp4": "",
        "short.mp4": "too short",
        "small.mp4": "too small",
        "variable.mp4": "",
        "mute.mp4": "no sound",
        "only sound.wav": "unreadable",
        "words.mp4": "unreadable",
        "nothing.mp4": "unreadable",
        "notes.txt": "unreadable",
        "cut off.mp4": "unreadable",
        "zopy.mp4": "duplicate",
    }


def test_the_input_is_not_touched(mixed):
    raw, _, before = mixed
    assert tree_hash(raw) == before


def test_directories_and_manifest_agree(mixed):
    raw, output, _ = mixed
    require_agreement(output, raw)
    assert len(contents(output / FINAL)) == 13
    assert not list((output / "manifest" / "scratch").iterdir())


def test_final_clips_are_what_training_takes(mixed):
    raw, output, _ = mixed
    for row in rows_of(output, raw):
        if row.step != FINAL:
            continue
        path = output / FINAL / row.made[0].name
        info = VideoFile(path).info
        assert (info.width, info.height, info.fps, info.n_frames) == (96, 96, 25, row.clip.frames)
        assert info.audio[0].sample_rate == 16_000
        audio = read_audio(path)
        assert len(audio) == 640 * row.clip.frames
        frames = [frame.pixels for frame in VideoFile(path).frames()]
        score = envelope_score(frames, audio)
        assert score.offset_frames == 0, path
        assert score.confidence > 0.4, path


def test_filters_link_and_offsets_are_known_exactly(mixed):
    raw, output, _ = mixed
    offsets = {}
    for record, journal in read_recordings(Layout.of(raw, output)):
        for row in journal.rows.values():
            for clip in row.made:
                if row.step in ("high_resolution", FINAL):
                    before = {"high_resolution": "segmented", FINAL: "av_synced_0.3"}[row.step]
                    assert (output / row.step / clip.name).samefile(output / before / clip.name)
            if "offset" in row.figures:
                offsets.setdefault(record.name, set()).add(row.figures["offset"])
    assert offsets["人物 'a'/same.mkv"] == {4}
    assert offsets["b/same.mkv"] == {-6}
    assert offsets["far.mp4"] == {9}
    assert offsets["good.mp4"] == {0}


def test_a_second_run_does_nothing(mixed, tmp_path):
    raw, output, _ = mixed
    journals = contents(output / "manifest" / "clips")
    accounts = preprocess(small_settings(raw), DrawnNetworks)
    assert contents(output / "manifest" / "clips") == journals
    assert accounts[0].clips == 19
    assert accounts[-1].kept_clips == 13
    assert sum(each.clips for each in accounts[0].lost.values()) == 9


def test_no_clip_at_all_is_an_error_with_the_table(tmp_path):
    raw = tmp_path / "raw"
    draw_talk(raw / "a.mp4", faces=0)
    (raw / "b.mp4").write_text("no video")
    with pytest.raises(DataError, match="Not one clip of 2 files") as caught:
        preprocess(small_settings(raw), DrawnNetworks)
    assert "no face" in str(caught.value)
    assert "unreadable" in str(caught.value)


def test_what_is_no_file_at_all_is_accounted_for(tmp_path):
    raw = tmp_path / "raw"
    draw_talk(raw / "a.mp4", 1.4)
    os.mkfifo(raw / "pipe.mp4")
    (raw / "gone.mp4").symlink_to(raw / "nowhere.mp4")
    (raw / "link.mp4").symlink_to(raw / "a.mp4")
    draw_talk(tmp_path / "other" / "b.mp4", 1.4)
    (raw / "folder").symlink_to(tmp_path / "other")
    preprocess(small_settings(raw), DrawnNetworks)
    assert reasons_of(tmp_path, raw) == {
        "a.mp4": "",
        "pipe.mp4": "unreadable",
        "gone.mp4": "unreadable",
        "link.mp4": "duplicate",
        "folder": "unreadable",
    }
    (folder,) = (record for record in file_records(Layout.of(raw, tmp_path)) if record.name == "folder")
    assert folder.reason == "unreadable: a link to a folder, which is not followed"


def test_an_empty_folder_is_an_error(tmp_path):
    (tmp_path / "raw").mkdir()
    with pytest.raises(DataError, match="0 files"):
        preprocess(small_settings(tmp_path / "raw"), DrawnNetworks)


def test_results_inside_the_input_are_refused(tmp_path):
    raw = tmp_path / "raw"
    draw_talk(raw / "a.mp4", 1.4)
    with pytest.raises(ConfigError, match="written into the input"):
        preprocess(small_settings(raw, raw / "out"), DrawnNetworks)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    draw_talk(tmp_path / "raw" / "a.mp4", 1.4)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written.*file"):
        preprocess(small_settings(tmp_path / "raw", tmp_path / "file" / "out"), DrawnNetworks)


def test_a_read_only_input_is_enough(tmp_path):
    raw = tmp_path / "raw"
    draw_talk(raw / "a.mp4", 1.4)
    (raw / "a.mp4").chmod(0o444)
    raw.chmod(0o555)
    try:
        preprocess(small_settings(raw), DrawnNetworks)
    finally:
        raw.chmod(0o755)
    assert len(contents(tmp_path / FINAL)) == 1


def test_an_input_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "raw").mkdir()
    monkeypatch.setattr("latentsync.preprocess.settings.os.access", lambda path, mode: False)
    with pytest.raises(ConfigError, match="raw may not be read"):
        preprocess(small_settings(tmp_path / "raw"))


def test_paths_of_a_run_mean_the_same_in_any_folder(tmp_path, monkeypatch):
    draw_talk(tmp_path / "raw" / "a.mp4", 1.4)
    monkeypatch.chdir(tmp_path)
    sync = SyncSettings(scorer="own.safetensors", min_confidence=0.3)
    preprocess(small_settings(Path("raw"), Path("out"), sync=sync, weights_dir="weights"), DrawnNetworks)
    found = load_config(tmp_path / "out" / "manifest" / "settings.yaml", PreprocessSettings)
    places = (found.input_dir, found.output_dir, found.weights_dir, found.sync.scorer)
    assert places == tuple(str(tmp_path / name) for name in ("raw", "out", "weights", "own.safetensors"))
    assert small_settings(Path("raw")).weights == ROOT / "checkpoints" / "auxiliary"


def test_settings_without_sense_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no folder"):
        preprocess(small_settings(tmp_path / "raw"), DrawnNetworks)
    with pytest.raises(ConfigError, match="stride"):
        preprocess(small_settings(tmp_path, faces=FaceSettings(stride=0)), DrawnNetworks)
    with pytest.raises(ConfigError, match="no step 'shots'"):
        preprocess(small_settings(tmp_path, last_step="shots"), DrawnNetworks)


def test_nothing_depends_on_the_number_of_threads(tmp_path):
    import torch

    raw = tmp_path / "raw"
    draw_talk(raw / "a.mp4", 1.4)
    threads = torch.get_num_threads()
    preprocess(small_settings(raw, tmp_path / "one"), DrawnNetworks)
    torch.set_num_threads(threads + 1)
    try:
        preprocess(small_settings(raw, tmp_path / "two"), DrawnNetworks)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert contents(tmp_path / "one" / FINAL) == contents(tmp_path / "two" / FINAL)
