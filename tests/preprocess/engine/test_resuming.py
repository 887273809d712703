"""Runs that go on where another one ended: stopped, killed, with other settings, other files or without weights."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from latentsync.errors import DataError, DiskFullError, OutputError, WeightsMissingError
from latentsync.preprocess.engine import manifest
from latentsync.preprocess.engine.manifest import exclusive_run, hold_worker_lock
from latentsync.preprocess.settings import SyncSettings
from latentsync.preprocess.steps.networks import LoadedNetworks
from latentsync.preprocess.steps.sequence import steps_of
from tests.preprocess.world import (
    DrawnDetector,
    DrawnNetworks,
    contents,
    draw_talk,
    preprocess,
    require_agreement,
    rows_of,
    small_settings,
    tree_hash,
)

FINAL = "high_visual_quality"
ROOT = Path(__file__).parents[3]


def test_other_thresholds_redo_only_what_depends_on_them(tmp_path):
    raw = tmp_path / "raw"
    draw_talk(raw / "a.mp4")
    draw_talk(raw / "b.mp4", seed=1, offset=3)
    settings = small_settings(raw)
    preprocess(settings, DrawnNetworks)
    aligned = contents(tmp_path / "affine_transformed")
    scratches = {row.scratch for row in rows_of(tmp_path, raw) if row.step == "affine_transformed"}
    stricter = replace(settings, sync=SyncSettings(min_confidence=0.3, max_offset=2))
    preprocess(stricter, DrawnNetworks)
    assert {row.scratch for row in rows_of(tmp_path, raw) if row.step == "affine_transformed"} == scratches
    assert contents(tmp_path / "affine_transformed") == aligned
    assert all(name.startswith("a-") for name in contents(tmp_path / FINAL))
    require_agreement(tmp_path, raw)


def test_what_was_removed_comes_back_only_where_it_is_needed(tmp_path):
    raw = tmp_path / "raw"
    draw_talk(raw / "a.mp4")
    preprocess(small_settings(raw), DrawnNetworks)
    final = contents(tmp_path / FINAL)
    shutil.rmtree(tmp_path / "resampled")
    preprocess(small_settings(raw), DrawnNetworks)
    assert not contents(tmp_path / "resampled")
    shutil.rmtree(tmp_path / FINAL)
    preprocess(small_settings(raw), DrawnNetworks)
    assert contents(tmp_path / FINAL) == final


def test_a_renamed_file_keeps_its_clips(tmp_path):
    raw = tmp_path / "raw"
    draw_talk(raw / "a.mp4")
    preprocess(small_settings(raw), DrawnNetworks)
    journals, final = rows_of(tmp_path, raw), contents(tmp_path / FINAL)
    (raw / "a.mp4").rename(raw / "c.mp4")
    accounts = preprocess(small_settings(raw), DrawnNetworks)
    assert rows_of(tmp_path, raw) == journals
    assert contents(tmp_path / FINAL) == final
    assert accounts[1].clips == 1


def test_missing_weights_stop_only_the_steps_that_need_them(tmp_path):
    raw = tmp_path / "raw"
    draw_talk(raw / "a.mp4")

    class WithDetector(LoadedNetworks):
        detector = DrawnDetector()

        def missing(self):
            found = super().missing()
            del found["detector"]
            return found

    settings = replace(small_settings(raw), weights_dir=str(tmp_path / "weights"))
    with pytest.raises(WeightsMissingError) as caught:
        preprocess(settings, WithDetector)
    message = str(caught.value)
    for name in ("sfd_face.pth", "syncnet_v2.model", "koniq_pretrained.pkl", "--for data", "affine_transformed"):
        assert name in message
    assert len(contents(tmp_path / "affine_transformed")) == 2
    aligned = contents(tmp_path / "affine_transformed")
    preprocess(settings, DrawnNetworks)
    assert contents(tmp_path / "affine_transformed") == aligned
    assert len(contents(tmp_path / FINAL)) == 2


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    draw_talk(raw / "a.mp4")
    draw_talk(raw / "b.mp4", seed=1)
    before, calls, flush = tree_hash(raw), [], manifest.flush

    def full(path):
        calls.append(path)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(path)

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "flush", full)
        with pytest.raises(DiskFullError, match="not enough room"):
            preprocess(small_settings(raw), DrawnNetworks)
    assert tree_hash(raw) == before
    preprocess(small_settings(raw), DrawnNetworks)
    require_agreement(tmp_path, raw)
    assert len(contents(tmp_path / FINAL)) == 4


def test_a_bug_on_one_clip_costs_that_clip_only(tmp_path):
    raw = tmp_path / "raw"
    draw_talk(raw / "a.mp4", 1.4)
    draw_talk(raw / "b.mp4", 1.4, seed=1)

    class Failing(DrawnNetworks):
        failed: set = set()

        def __init__(self, settings, device):
            super().__init__(settings, device)
            self.quality_scorer = self.rate

        def rate(self, frames):
            if frames[0].mean() not in self.failed and not self.failed:
                self.failed.add(frames[0].mean())
                raise ZeroDivisionError("a bug")
            return 60.0

    with pytest.raises(DataError, match="1 clips could not be processed.*a bug"):
        preprocess(small_settings(raw), Failing)
    assert len(contents(tmp_path / FINAL)) == 1
    preprocess(small_settings(raw), Failing)
    assert len(contents(tmp_path / FINAL)) == 2


def test_two_runs_on_one_folder_are_refused(tmp_path):
    raw = tmp_path / "raw"
    draw_talk(raw / "a.mp4", 1.4)
    (tmp_path / "manifest").mkdir()
    with exclusive_run(tmp_path / "manifest"), pytest.raises(OutputError, match="Another run"):
        preprocess(small_settings(raw), DrawnNetworks)


def test_a_run_waits_for_workers_of_an_earlier_one(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "_WAIT_SECONDS", 0.1)
    ended, at_work = hold_worker_lock(tmp_path), hold_worker_lock(tmp_path)
    ended.release()
    with pytest.raises(OutputError, match="Workers of an earlier run"), exclusive_run(tmp_path):
        pass
    at_work.release()
    with exclusive_run(tmp_path):
        assert list(tmp_path.rglob("workers/*")) == []


def _killed_runs(tmp_path: Path, n_files: int, kills: int, longest: float) -> None:
    raw, calm, killed = tmp_path / "raw", tmp_path / "calm", tmp_path / "killed"
    for seed in range(n_files):
        name = f"folder {seed}/talk.mp4" if seed < 2 else f"{seed}.mp4"
        draw_talk(raw / name, 1.4 + 0.1 * (seed % 8), seed=seed, offset=seed % 3)
    (raw / "bad.mp4").write_text("no video")
    before = tree_hash(raw)
    preprocess(small_settings(raw, calm), DrawnNetworks)
    command = [sys.executable, "-m", "tests.preprocess.kill_runs", raw, killed, str(kills), str(longest)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert tree_hash(raw) == before
    for step in steps_of(small_settings(raw)):
        assert contents(killed / step.name) == contents(calm / step.name), step.name
    require_agreement(killed, raw)
    lines = [
        json.loads(line)
        for path in (killed / "manifest" / "clips").rglob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    keys = [
        (line["clip"]["source"], line["step"], line["clip"]["start"], line["clip"]["frames"])
        for line in lines
        if "step" in line
    ]
    assert len(keys) == len(set(keys)), "a clip was processed twice"


def test_killed_runs_end_with_the_same_set(tmp_path):
    _killed_runs(tmp_path, n_files=3, kills=3, longest=0.8)


@pytest.mark.slow
def test_runs_killed_at_twenty_moments_end_with_the_same_set(tmp_path):
    _killed_runs(tmp_path, n_files=12, kills=20, longest=2.0)
