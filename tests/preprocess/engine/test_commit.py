"""How a result becomes part of the manifest, at whatever moment the process dies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latentsync.preprocess.clip_record import MadeClip, ManifestRow
from latentsync.preprocess.engine import commit as committing
from latentsync.preprocess.engine.commit import commit, recover
from latentsync.preprocess.engine.layout import Layout
from latentsync.preprocess.engine.records import read_journal
from tests.preprocess.world import SOURCE, manifest_row


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
