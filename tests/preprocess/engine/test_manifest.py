"""Records and journals on disk, and how a result becomes part of them, at whatever moment the process dies."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from latentsync.preprocess.clip_record import MadeClip, ManifestRow
from latentsync.preprocess.engine import manifest as module
from latentsync.preprocess.engine.layout import Layout
from latentsync.preprocess.engine.manifest import (
    FileRecord,
    append_row,
    commit,
    file_records,
    key_of,
    read_file_record,
    read_journal,
    recover,
    write_file_record,
)
from tests.preprocess.world import SOURCE, manifest_row


def test_rows_come_back_as_they_were(layout):
    rows = [manifest_row(0), manifest_row(25, reason="no face: in frame 3", made=False)]
    for each in rows:
        append_row(layout, each)
    journal = read_journal(layout, SOURCE)
    assert list(journal.rows.values()) == rows
    assert (journal.file, journal.name) == ("a.mp4", "a.mp4")
    assert read_journal(layout, "cd" * 16) is None


@pytest.mark.parametrize("lost", [1, 40, 200])
def test_a_torn_line_costs_only_itself(layout, lost):
    append_row(layout, manifest_row(0))
    append_row(layout, manifest_row(25))
    path = layout.journal(SOURCE)
    path.write_bytes(path.read_bytes()[:-lost])
    append_row(layout, manifest_row(50))
    kept = [each.clip.start for each in read_journal(layout, SOURCE).rows.values()]
    assert kept == ([0, 25, 50] if lost == 1 else [0, 50])


def test_many_may_append_at_once(layout):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda start: append_row(layout, manifest_row(start)), range(60)))
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


def test_a_later_row_replaces_an_earlier_one(layout):
    append_row(layout, manifest_row(0, "first"))
    append_row(layout, replace(manifest_row(0, "second"), figures={}))
    journal = read_journal(layout, SOURCE)
    assert [each.scratch for each in journal.rows.values()] == ["second"]
    assert key_of(manifest_row(0)) in journal.rows


def finished(layout: Layout, scratch: str, start: int = 0) -> tuple[ManifestRow, list[MadeClip], Path]:
    """A row whose file has been made in its scratch folder."""
    folder = layout.scratch / scratch
    folder.mkdir()
    (folder / "new.mp4").write_bytes(b"frames")
    made = manifest_row(start, scratch)
    return made, [MadeClip(made.made[0], folder / "new.mp4")], layout.input_dir / "a.mp4"


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
        patch.setattr(getattr(module, owner) if owner else module, name, die)
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
