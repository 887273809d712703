"""What is said while a run goes on."""

from __future__ import annotations

import pytest

from latentsync.preprocess.clip_record import ClipRecord, ManifestRow
from latentsync.preprocess.engine.manifest import FileRecord
from latentsync.preprocess.engine.progress import RunProgress


def test_the_time_left_is_told_after_the_first_files(monkeypatch):
    said, now = [], [0.0]
    monkeypatch.setattr("latentsync.preprocess.engine.progress.time.monotonic", lambda: now[0])
    progress = RunProgress(100, 10_000, "last", said.append, _started=0.0, _said=0.0)
    for number in range(1, 26):
        now[0] = number * 4.0
        progress.closed(FileRecord(str(number), 100, 0, "", "", 1.0, "", {}, 0.0, ""))
        assert (progress.time_left() is None) == (number < 5)
    assert progress.time_left() == pytest.approx(300.0)
    clip = ClipRecord("s", "n", 0, 25)
    now[0] = 111.0
    progress.row(ManifestRow("last", "", clip, (clip,), "", {}, 0.1, "", ""))
    assert said[-1].startswith("25 of 100 files; 1 steps on clips, 0 clips dropped, 1 finished; about 6 min left")
    assert len(said) < 12
