"""The manifest on disk: what is known of input files, and a journal of rows for each recording; and how the result of a
step becomes part of it, all of it or nothing, at whatever moment the process dies.

Nothing here depends on how many recordings there are: each has files of its own. Journals are only appended to, a whole
line at a time; a line that a power cut left torn is passed over, and its work is done again.

A step writes into a scratch folder of its own. Once its result is laid down there (``row.json``) it counts: files are
moved into place and the row into the journal, now or by the next run. A scratch folder without it is thrown away.
Locks see to it that one run at a time does so, and none while workers of a killed run are still busy.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from latentsync.atomic import flush, is_disk_full, link_or_copy, write_text
from latentsync.errors import DiskFullError, OutputError
from latentsync.preprocess.clip_record import MadeClip, ManifestRow
from latentsync.preprocess.engine.layout import Layout

logger = logging.getLogger(__name__)

_READ = {"encoding": "utf-8", "errors": "surrogateescape"}
_UNENCODABLE = "backslashreplace"  # file names may be any bytes: JSON's escapes for those

RowKey = tuple[str, str, int, int]  # step, settings, first frame, number of frames
_RESULT = "row.json"
_WORKERS = "workers"  # folder of locks, one for each process at work
_WAIT_SECONDS = 60.0  # for workers of an earlier run


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


@contextmanager
def exclusive_run(folder: Path) -> Iterator[None]:
    """The only run on the manifest ``folder``. Raises ``OutputError`` if there is another, or its workers do not end.
    """
    with _locked(folder / "run.lock", 0.0, f"Another run is at work on {folder.parent}."):
        deadline = time.monotonic() + _WAIT_SECONDS
        for path in sorted((folder / _WORKERS).glob("*.lock")):
            left = max(0.0, deadline - time.monotonic())
            with _locked(path, left, f"Workers of an earlier run are still at work on {folder.parent}."):
                pass
            path.unlink(missing_ok=True)
        yield


def hold_worker_lock(folder: Path) -> FileLock:
    """Let later runs wait for this process; the lock lasts until the process ends, or what is returned is dropped."""
    (folder / _WORKERS).mkdir(exist_ok=True)
    lock = FileLock(folder / _WORKERS / f"{uuid.uuid4().hex}.lock", thread_local=False)
    lock.acquire()
    return lock


def output_error(folder: Path, error: OSError) -> OutputError:
    """What to tell about ``error`` while results were written to ``folder``."""
    if is_disk_full(error):
        remedy = "Free some space and start again; it goes on."
        return DiskFullError(f"There is not enough room in {folder}.", remedy=remedy)
    remedy = "Set output_dir to a folder that can be written."
    return OutputError(f"Results cannot be written to {folder}: {error}.", remedy=remedy)


def commit(layout: Layout, row: ManifestRow, made: Sequence[MadeClip], given: Path) -> None:
    """Put the files of ``made`` into the step's directory and ``row`` into the journal; ``given`` was the input."""
    folder = layout.scratch / row.scratch
    files = [each.file.name if each.file is not None else None for each in made]
    for name in filter(None, files):
        flush(folder / name)
    write_text(folder / _RESULT, json.dumps({"row": row.to_json(), "files": files, "given": str(given)}), durable=True)
    _put_in_place(layout, folder)
    append_row(layout, row)
    shutil.rmtree(folder)


def recover(layout: Layout) -> None:
    """Finish what an earlier run had completed but not put into place, and throw its unfinished work away."""
    for folder in sorted(layout.scratch.iterdir()):
        if (folder / _RESULT).is_file():
            source = json.loads((folder / _RESULT).read_text("utf-8"))["row"]["clip"]["source"]
            journal = read_journal(layout, source)
            if journal is not None:  # else somebody has removed it, and with it what this result belongs to
                row = _put_in_place(layout, folder)
                known = journal.rows.get(key_of(row))
                if known is None or known.scratch != row.scratch:
                    append_row(layout, row)
        shutil.rmtree(folder)


def _put_in_place(layout: Layout, folder: Path) -> ManifestRow:
    """Move the files of a completed result to where they belong, as far as they are not there yet; returns the row."""
    result = json.loads((folder / _RESULT).read_text("utf-8"))
    row = ManifestRow.from_json(result["row"])
    for clip, name in zip(row.made, result["files"], strict=True):
        target = layout.file(row.step, clip)
        if name is None:
            link_or_copy(Path(result["given"]), target)
        elif (folder / name).exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            (folder / name).replace(target)
    return row


@contextmanager
def _locked(path: Path, seconds: float, message: str) -> Iterator[None]:
    """Hold the lock ``path``; raises ``OutputError`` with ``message`` if somebody else does for ``seconds``."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=seconds)
    except Timeout as error:
        raise OutputError(message, remedy="Wait for it, end it, or name another output_dir.") from error
    try:
        yield
    finally:
        lock.release()
