"""Records, journals and commits on disk."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from latentsync.preprocess.clip import Clip, Made, Row
from latentsync.preprocess.engine import commit as committing
from latentsync.preprocess.engine.commit import commit, recover
from latentsync.preprocess.engine.layout import Layout, numbered, recording_name
from latentsync.preprocess.engine.records import (
    FileRecord,
    Journal,
    append_row,
    file_records,
    key_of,
    read_file_record,
    read_journal,
    write_file_record,
    write_journal,
)

SOURCE = "ab" * 16


@pytest.fixture
def layout(tmp_path) -> Layout:
    (tmp_path / "raw").mkdir()
    found = Layout.of(tmp_path / "raw", None)
    found.scratch.mkdir(parents=True)
    write_journal(found, Journal(SOURCE, "a.mp4", "a.mp4", {}))
    return found


def row(start: int = 0, scratch: str = "s", reason: str = "", made: bool = True) -> Row:
    clip = Clip(SOURCE, f"视频 'x'\u2028\x85_{start}.mp4", start, 25, (3, 9))
    return Row("shot", "digest", clip, (clip,) if made else (), reason, {"offset": -2}, 0.5, "here", scratch)


def test_rows_come_back_as_they_were(layout):
    rows = [row(0), row(25, reason="no face: in frame 3", made=False)]
    for each in rows:
        append_row(layout, each)
    journal = read_journal(layout, SOURCE)
    assert list(journal.rows.values()) == rows
    assert (journal.file, journal.name) == ("a.mp4", "a.mp4")
    assert read_journal(layout, "cd" * 16) is None


@pytest.mark.parametrize("lost", [1, 40, 200])
def test_a_torn_line_costs_only_itself(layout, lost):
    append_row(layout, row(0))
    append_row(layout, row(25))
    path = layout.journal(SOURCE)
    path.write_bytes(path.read_bytes()[:-lost])
    append_row(layout, row(50))
    kept = [each.clip.start for each in read_journal(layout, SOURCE).rows.values()]
    assert kept == ([0, 25, 50] if lost == 1 else [0, 50])


def test_many_may_append_at_once(layout):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda start: append_row(layout, row(start)), range(60)))
    assert sorted(each.clip.start for each in read_journal(layout, SOURCE).rows.values()) == list(range(60))


def test_file_records_survive_any_name_and_damage(layout):
    name = os.fsdecode(b"folder/caf\xe9 '\".mp4")
    record = FileRecord(name, 5, 7, "digest", SOURCE, 2.5, "", {"fps": 25.0}, 0.1, "here")
    write_file_record(layout, record)
    assert read_file_record(layout, name) == record
    assert list(file_records(layout)) == [record]
    assert "caf\\udce9" in layout.file_record(name).read_text("utf-8"), "no text"
    layout.file_record(name).write_text('{"name": "x"')
    assert read_file_record(layout, name) is None


def finished(layout: Layout, scratch: str, start: int = 0) -> tuple[Row, list[Made], Path]:
    """A row whose file has been made in its scratch folder."""
    folder = layout.scratch / scratch
    folder.mkdir()
    (folder / "new.mp4").write_bytes(b"frames")
    made = row(start, scratch)
    return made, [Made(made.made[0], folder / "new.mp4")], layout.input_dir / "a.mp4"


def test_a_commit_moves_files_writes_the_row_and_leaves_nothing(layout):
    made = finished(layout, "one")
    commit(layout, *made)
    assert layout.file("shot", made[0].clip).read_bytes() == b"frames"
    assert list(read_journal(layout, SOURCE).rows.values()) == [made[0]]
    assert not list(layout.scratch.iterdir())


@pytest.mark.parametrize("moment", ["write_text", "_put_in_place", "append_row", "shutil.rmtree"])
def test_a_death_at_any_moment_of_a_commit_loses_or_doubles_nothing(layout, monkeypatch, moment):
    made = finished(layout, "one")

    def die(*arguments, **named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        owner, _, name = moment.rpartition(".")
        patch.setattr(getattr(committing, owner) if owner else committing, name, die)
        with pytest.raises(KeyboardInterrupt):
            commit(layout, *made)
    recover(layout)
    rows = list(read_journal(layout, SOURCE).rows.values())
    written = layout.journal(SOURCE).read_text("utf-8").split("\n")
    lines = [line for line in written if line and "step" in json.loads(line)]
    complete = moment != "write_text"
    assert rows == ([made[0]] if complete else [])
    assert len(lines) == len(rows)
    assert layout.file("shot", made[0].clip).exists() == complete
    assert not list(layout.scratch.iterdir())


def test_names_say_the_recording_and_never_meet():
    names = {recording_name(file, SOURCE) for file in ("a/talk.mp4", "b/talk.mp4", "talk.mp4")}
    assert len(names) == 3
    assert recording_name("a/talk.mp4", SOURCE) != recording_name("a/talk.mov", "cd" * 16)
    assert len(recording_name("说" * 200 + ".mp4", SOURCE).encode()) < 200
    assert numbered("a/talk.mp4", "_shot_001") == "a/talk_shot_001.mp4"


def test_a_later_row_replaces_an_earlier_one(layout):
    append_row(layout, row(0, "first"))
    append_row(layout, replace(row(0, "second"), figures={}))
    journal = read_journal(layout, SOURCE)
    assert [each.scratch for each in journal.rows.values()] == ["second"]
    assert key_of(row(0)) in journal.rows
