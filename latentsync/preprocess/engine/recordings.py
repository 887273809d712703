"""Which input file a recording's clips come from, and getting rid of clips that were made under other settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from latentsync.preprocess.clip_record import ClipRecord, ManifestRow
from latentsync.preprocess.engine.layout import Layout, recording_name
from latentsync.preprocess.engine.manifest import (
    FileRecord,
    Journal,
    file_records,
    read_file_record,
    read_journal,
    write_file_record,
    write_journal,
)
from latentsync.preprocess.steps.sequence import Step

DUPLICATE = "duplicate"  # kind of reason


def open_recording(layout: Layout, record: FileRecord, steps: Sequence[Step]) -> tuple[FileRecord, Journal | None]:
    """The journal of a readable input file, with rows of the given ``steps`` only; clips of other settings are removed.

    None if another file holds the same recording; the record returned then says so.
    """
    journal = read_journal(layout, record.content)
    if journal is None:
        journal = Journal(record.content, record.name, recording_name(record.name, record.content), {})
        write_journal(layout, journal)
    elif journal.file != record.name:
        if _is_there(layout, journal.file, record.content):
            return _with_reason(layout, record, f"{DUPLICATE}: the same content as {journal.file}"), None
        journal = replace(journal, file=record.name)
        write_journal(layout, journal)
    return _with_reason(layout, record, ""), _without_stale_rows(layout, journal, steps)


def is_open_to_use(record: FileRecord) -> bool:
    """Whether an input file can be read; a duplicate may be needed if the other file has gone."""
    return not record.reason or record.reason.startswith(DUPLICATE)


def _with_reason(layout: Layout, record: FileRecord, reason: str) -> FileRecord:
    if record.reason != reason:
        record = replace(record, reason=reason)
        write_file_record(layout, record)
    return record


def _without_stale_rows(layout: Layout, journal: Journal, steps: Sequence[Step]) -> Journal:
    current = {(step.name, step.settings) for step in steps}
    rows = {key: row for key, row in journal.rows.items() if (row.step, row.settings) in current}
    if len(rows) == len(journal.rows):
        return journal
    kept = {(row.step, clip.name) for row in rows.values() for clip in row.made}
    for row in journal.rows.values():
        for clip in row.made:
            if (row.step, clip.name) not in kept:
                layout.file(row.step, clip).unlink(missing_ok=True)
    journal = replace(journal, rows=rows)
    write_journal(layout, journal)
    return journal


def read_recordings(layout: Layout) -> Iterator[tuple[FileRecord, Journal]]:
    """All recordings, each with the input file that it is read from."""
    for record in file_records(layout):
        journal = None if record.reason else read_journal(layout, record.content)
        if journal is not None and journal.file == record.name:
            yield record, journal


def rows_in_order(journal: Journal, steps: Sequence[Step]) -> Iterator[tuple[int, ManifestRow]]:
    """The number of the step and its row, for every clip that the recording has come to under these settings."""

    def below(clip: ClipRecord, index: int) -> Iterator[tuple[int, ManifestRow]]:
        if index == len(steps):
            return
        row = journal.rows.get((steps[index].name, steps[index].settings, clip.start, clip.frames))
        if row is not None:
            yield index, row
            for made in row.made:
                yield from below(made, index + 1)

    yield from below(ClipRecord(journal.source, journal.name), 0)


def _is_there(layout: Layout, name: str, content: str) -> bool:
    """Whether the input file ``name`` still is what it was found to be."""
    path, record = layout.input_dir / name, read_file_record(layout, name)
    if record is None or record.content != content or not path.is_file():
        return False
    stat = path.stat()
    return (record.n_bytes, record.modified) == (stat.st_size, stat.st_mtime_ns)
