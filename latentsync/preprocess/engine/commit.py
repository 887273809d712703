"""How the result of a step becomes part of the manifest: all of it or nothing, at whatever moment the process dies.

A step writes into a scratch folder of its own. Once its result is laid down there (``row.json``) it counts: files are
moved into place and the row into the journal, now or by the next run. A scratch folder without it is thrown away.
Locks see to it that one run at a time does so, and none while workers of a killed run are still busy.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from latentsync.atomic import flush, is_disk_full, link_or_copy, write_text
from latentsync.errors import DiskFullError, OutputError
from latentsync.preprocess.clip_record import MadeClip, ManifestRow
from latentsync.preprocess.engine.layout import Layout
from latentsync.preprocess.engine.records import append_row, key_of, read_journal

_RESULT = "row.json"
_WORKERS = "workers"  # folder of locks, one for each process at work
_WAIT_SECONDS = 60.0  # for workers of an earlier run


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
