"""The manifest on disk: what is known of input files, and a journal of rows for each recording.

Nothing here depends on how many recordings there are: each has files of its own. Journals are only appended to, a whole
line at a time; a line that a power cut left torn is passed over, and its work is done again.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from latentsync.atomic import write_text
from latentsync.preprocess.clip_record import ManifestRow
from latentsync.preprocess.engine.layout import Layout

logger = logging.getLogger(__name__)

_READ = {"encoding": "utf-8", "errors": "surrogateescape"}
_UNENCODABLE = "backslashreplace"  # file names may be any bytes: JSON's escapes for those

RowKey = tuple[str, str, int, int]  # step, settings, first frame, number of frames


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Step 1 on one input file. ``content`` is its hash, "" if it could not be read; ``reason`` as in ``ManifestRow``.

    ``n_bytes`` and ``modified`` (ns) tell whether it has changed since. ``duration`` of its video in seconds.
    """

    name: str
    n_bytes: int
    modified: int
    settings: str
    content: str
    duration: float
    reason: str
    figures: Mapping[str, Any]
    seconds: float
    host: str


@dataclass(frozen=True, slots=True)
class Journal:
    """The rows of a recording. ``file`` is the input file it is read from, ``name`` the one its clips are named by."""

    source: str
    file: str
    name: str
    rows: Mapping[RowKey, ManifestRow]


def key_of(row: ManifestRow) -> RowKey:
    """What a row is about: of two rows with one key the later counts."""
    return row.step, row.settings, row.clip.start, row.clip.frames


def read_file_record(layout: Layout, name: str) -> FileRecord | None:
    """What is known of an input file; None if nothing is."""
    return _parse_file_record(layout.file_record(name))


def write_file_record(layout: Layout, record: FileRecord) -> None:
    """Keep what is known of an input file."""
    text = json.dumps(asdict(record), ensure_ascii=False, sort_keys=True)
    write_text(layout.file_record(record.name), text, errors=_UNENCODABLE, durable=True)


def file_records(layout: Layout) -> Iterator[FileRecord]:
    """All input files that were ever looked at, in no particular order."""
    for path in sorted((layout.manifest / "files").glob("??/*.json")):
        record = _parse_file_record(path)
        if record is not None:
            yield record


def read_journal(layout: Layout, source: str) -> Journal | None:
    """The journal of a recording; None if there is none."""
    path = layout.journal(source)
    if not path.is_file():
        return None
    head: Mapping[str, str] | None = None
    rows: dict[RowKey, ManifestRow] = {}
    for line in path.read_text(**_READ).split("\n"):  # splitlines() would also split at U+2028 in a name
        try:
            values = json.loads(line)
            if "file" in values:
                head = values
            else:
                row = ManifestRow.from_json(values)
                rows[key_of(row)] = row
        except (ValueError, KeyError, TypeError):
            if line.strip():
                logger.warning("%s has a torn line; what it said is found out again.", path)
    return Journal(source, head["file"], head["name"], rows) if head is not None else None


def write_journal(layout: Layout, journal: Journal) -> None:
    """Replace a journal in one step."""
    lines = [json.dumps({"file": journal.file, "name": journal.name}, ensure_ascii=False)]
    lines += [json.dumps(row.to_json(), ensure_ascii=False) for row in journal.rows.values()]
    write_text(layout.journal(journal.source), "\n".join(lines) + "\n", errors=_UNENCODABLE, durable=True)


def append_row(layout: Layout, row: ManifestRow) -> None:
    """Add a row; it is on the disk when this returns. Processes may append to one journal at the same time."""
    line = (json.dumps(row.to_json(), ensure_ascii=False) + "\n").encode("utf-8", _UNENCODABLE)
    journal = layout.journal(row.clip.source)
    with FileLock(journal.with_name("append.lock")), journal.open("r+b") as stream:
        end = stream.seek(0, os.SEEK_END)
        if end:
            stream.seek(end - 1)
            line = line if stream.read(1) == b"\n" else b"\n" + line
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


def _parse_file_record(path: Path) -> FileRecord | None:
    try:
        return FileRecord(**json.loads(path.read_text(**_READ)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        logger.warning("%s is damaged; what it said is found out again.", path)
        return None
