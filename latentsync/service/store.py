"""The jobs of the service in SQLite: who waits, in which order, what became of each; it survives the process.

One file, in WAL mode, shared by the server and its workers, which are processes. What is true of a job under work is
decided by the lock and the journal of its folder (``job.folder``), as in a batch: a job that is ``PROCESSING`` while
nobody holds its lock belongs to a process that was killed, and whoever comes by goes on with it.

Why no library: ``huey`` deletes a task from its table before the work begins, so a kill loses it, knows one order for
all (priority, then age) and no owners, and states and webhooks would still need tables of ours, in other transactions.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from latentsync.errors import OutputError
from latentsync.service.job import Job, JobStatus
from latentsync.service.keys import Key
from latentsync.service.turns import DAY, ahead_of, count, next_turn, one, refuse_excess_of, take_turn

_BUSY_SECONDS = 30.0  # that a process waits for another one's transaction
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, key TEXT NOT NULL, status TEXT NOT NULL, request TEXT NOT NULL, base_url TEXT NOT NULL,
    created REAL NOT NULL, turn INTEGER NOT NULL, fetched INTEGER NOT NULL, stopped INTEGER NOT NULL DEFAULT 0,
    begun REAL, ended REAL, worker TEXT NOT NULL DEFAULT '', stage TEXT NOT NULL DEFAULT '',
    done INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0, seconds REAL, error TEXT, notes TEXT);
CREATE INDEX IF NOT EXISTS jobs_in_order ON jobs (status, turn, created);
CREATE INDEX IF NOT EXISTS jobs_of_a_key ON jobs (key, created);
CREATE TABLE IF NOT EXISTS webhooks (
    job TEXT PRIMARY KEY REFERENCES jobs ON DELETE CASCADE, attempts INTEGER NOT NULL DEFAULT 0,
    due REAL, delivered REAL, error TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS counts (name TEXT, label TEXT, value REAL NOT NULL, PRIMARY KEY (name, label));
CREATE TABLE IF NOT EXISTS workers (
    name TEXT PRIMARY KEY, device TEXT NOT NULL, pid INTEGER NOT NULL, state TEXT NOT NULL, seen REAL NOT NULL);
"""
_LATER = {"priority": "REAL NOT NULL DEFAULT 0", "deadline": "REAL"}  # columns that older files do not have
_COLUMNS = ", ".join(each.name for each in fields(Job))


@dataclass(frozen=True, slots=True)
class DueWebhook:
    """A message that is to be sent: of which job, and how often it was tried."""

    job: Job
    attempts: int


class JobStore:
    """All methods may be called from any thread. Raises ``OutputError`` where there can be no such file."""

    def __init__(self, path: Path) -> None:
        self._lock, self._reading = threading.Lock(), threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer, self._reader = self._connect(path), self._connect(path)
            with self.writing() as db:
                db.executescript(_SCHEMA)
            with self.writing() as db:
                there = {row["name"] for row in db.execute("PRAGMA table_info(jobs)")}
                for name in _LATER.keys() - there:
                    db.execute(f"ALTER TABLE jobs ADD COLUMN {name} {_LATER[name]}")
        except (OSError, sqlite3.Error) as error:
            raise OutputError(
                f"{path} cannot be written: {error}.", remedy="Choose another folder with --data."
            ) from error

    @staticmethod
    def _connect(path: Path) -> sqlite3.Connection:
        db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA foreign_keys = ON")
        return db

    def close(self) -> None:
        """Nothing may be called after it."""
        with self._lock, self._reading:
            self._writer.close()
            self._reader.close()

    @contextmanager
    def writing(self, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction: whole or not at all, and alone. It survives the process in any case; unless ``durable``, a
        power cut may undo it, and nobody waits for the disk."""
        with self._lock:
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            if self._writer.in_transaction:
                self._writer.execute("COMMIT")

    def read(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """The rows of a query."""
        with self._reading:
            return self._reader.execute(query, values).fetchall()

    # Clients

    def add(
        self,
        id: str,
        key: Key,
        request: Mapping[str, Any],
        *,
        waiting: int,
        base_url: str = "",
        fetched: bool = True,
        priority: float = 0.0,
        deadline: float | None = None,
    ) -> Job:
        """A new job, with the key's next turn. Raises ``RequestRefusedError`` (429) if as many jobs wait as may, or the
        key has as many as it may."""
        now = time.time()
        with self.writing() as db:
            refuse_excess_of(db, key, waiting, now)
            turn = next_turn(db, key)
            db.execute(
                "INSERT INTO jobs (id, key, status, request, base_url, created, turn, fetched, priority, deadline)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    id,
                    key.name,
                    JobStatus.PENDING,
                    json.dumps(request),
                    base_url,
                    now,
                    turn,
                    fetched,
                    priority,
                    deadline,
                ),
            )
            count(db, f"day {int(now // DAY)}", key.name)
            db.execute("DELETE FROM counts WHERE name LIKE 'day %' AND name != ?", (f"day {int(now // DAY)}",))
        return Job(
            id,
            key.name,
            JobStatus.PENDING,
            request,
            base_url,
            now,
            turn,
            fetched,
            priority=priority,
            deadline=deadline,
        )

    def refuse_excess(self, key: Key, waiting: int) -> None:
        """Raise as ``add`` would now: before the body of a request is read."""
        with self._reading:
            refuse_excess_of(self._reader, key, waiting, time.time())

    def get(self, id: str, key: Key | None = None) -> Job | None:
        """The job, if it is there, and that key's if one is given."""
        rows = self.read(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", id)
        job = _job(rows[0]) if rows else None
        if job is None or (key is not None and (job.key != key.name or job.stopped)):
            return None
        return job

    def jobs_of(self, key: Key, statuses: set[str], ids: set[str], limit: int) -> list[Job]:
        """The latest jobs of a key; empty sets: of any status, of any id."""
        rows = self.read(
            f"SELECT {_COLUMNS} FROM jobs WHERE key = ?1 AND NOT stopped"
            " AND (?2 = '[]' OR status IN (SELECT value FROM json_each(?2)))"
            " AND (?3 = '[]' OR id IN (SELECT value FROM json_each(?3))) ORDER BY created DESC, rowid DESC LIMIT ?4",
            key.name,
            json.dumps(sorted(statuses)),
            json.dumps(sorted(ids)),
            limit,
        )
        return [_job(row) for row in rows]

    def ahead(self, job: Job) -> int:
        """How many jobs come before one that waits: those that have a turn before the one that its key will spend on
        it."""
        with self._reading:
            return ahead_of(self._reader, job)

    def ahead_of_new(self, key: Key, priority: float, deadline: float | None) -> int:
        """How many jobs would come before one that is added now."""
        with self._reading:
            turn = next_turn(self._reader, key)
        return self.ahead(
            Job("", key.name, JobStatus.PENDING, {}, "", time.time(), turn, priority=priority, deadline=deadline)
        )

    def seconds_before(self, ahead: int, usual: float) -> float:
        """About how long a job waits that so many come before: for them and for what is left of those under work.
        ``usual``: seconds of a job, for a service that has completed none."""
        latest = "SELECT ended - begun AS seconds FROM jobs WHERE status = 'COMPLETED' ORDER BY ended DESC LIMIT 20"
        seconds = self.read(f"SELECT avg(seconds) FROM ({latest})")[0][0] or usual
        left = sum(1 - job.share for job in self.under_work())
        workers = max(1, self.read("SELECT count(*) FROM workers")[0][0])
        return float(seconds * (ahead + left) / workers)

    def remove(self, id: str) -> bool:
        """Delete a job. False if it is worked on: it is hidden then, and its worker is told to end it."""
        with self.writing() as db:
            gone = db.execute("DELETE FROM jobs WHERE id = ? AND status != 'PROCESSING'", (id,)).rowcount
            if not gone:
                db.execute("UPDATE jobs SET stopped = 1 WHERE id = ?", (id,))
        return bool(gone)

    # Workers

    def claim(self, worker: str) -> Job | None:
        """The job whose turn it is, which is the worker's from now on; None if none waits."""
        with self.writing(durable=False) as db:
            found = take_turn(db)
            if found is None:
                return None
            db.execute(
                "UPDATE jobs SET status = 'PROCESSING', worker = ?, begun = coalesce(begun, ?) WHERE id = ?",
                (worker, time.time(), found),
            )
        return self.get(found)

    def has_work(self) -> bool:
        """Whether there may be a job to work on."""
        query = "SELECT 1 FROM jobs WHERE status = 'PROCESSING' OR (status = 'PENDING' AND fetched) LIMIT 1"
        return bool(self.read(query))

    def under_work(self) -> list[Job]:
        """Jobs that some process works on, or worked on when it was killed."""
        return [_job(row) for row in self.read(f"SELECT {_COLUMNS} FROM jobs WHERE status = 'PROCESSING'")]

    def report(self, id: str, stage: str, done: int, total: int) -> bool:
        """How far a job is; whether it shall go on."""
        with self.writing(durable=False) as db:
            db.execute("UPDATE jobs SET stage = ?, done = ?, total = ? WHERE id = ?", (stage, done, total, id))
            return not one(db, "SELECT coalesce(max(stopped), 1) FROM jobs WHERE id = ?", id)

    def put_back(self, id: str) -> None:
        """A job whose worker ends waits again, at its place."""
        with self.writing() as db:
            db.execute("UPDATE jobs SET status = 'PENDING', worker = '' WHERE id = ? AND NOT stopped", (id,))

    def set_fetched(self, id: str) -> None:
        """The inputs of a job are here: its time may come."""
        with self.writing() as db:
            db.execute("UPDATE jobs SET fetched = 1 WHERE id = ?", (id,))

    def finish(
        self,
        id: str,
        status: JobStatus,
        *,
        error: Mapping[str, Any] | None = None,
        seconds: float | None = None,
        notes: tuple[str, ...] = (),
        stages: Mapping[str, float] | None = None,
        only_waiting: bool = False,
    ) -> bool:
        """What became of a job, and in the same transaction that its webhook is to be called. False if it is not there
        any more, or somebody deleted it meanwhile: then whoever calls removes it. ``only_waiting``: unless somebody has
        begun to work on it."""
        now = time.time()
        with self.writing() as db:
            query = "SELECT stopped, status, request, created, begun FROM jobs WHERE id = ?"
            found = db.execute(query, (id,)).fetchone()
            if found is None or found["stopped"] or (only_waiting and found["status"] != JobStatus.PENDING):
                return False
            db.execute(
                "UPDATE jobs SET status = ?, ended = ?, error = ?, seconds = ?, notes = ? WHERE id = ?",
                (status, now, json.dumps(error) if error else None, seconds, json.dumps(notes), id),
            )
            if json.loads(found["request"]).get("webhookUrl"):
                db.execute("INSERT OR IGNORE INTO webhooks (job, due) VALUES (?, ?)", (id, now))
            count(db, "jobs", status)
            if error:
                count(db, "failures", str(error["class"]))
            count(db, "seconds", "queue", (found["begun"] or now) - found["created"])
            for stage, taken in (stages or {}).items():
                count(db, "seconds", stage, taken)
        return True

    def drop(self, id: str) -> None:
        """Remove a job whatever its status, once nobody works on it."""
        with self.writing() as db:
            db.execute("DELETE FROM jobs WHERE id = ?", (id,))

    def seen(self, worker: str, device: str, pid: int, state: str) -> None:
        """A worker is alive, and does ``state``."""
        with self.writing(durable=False) as db:
            db.execute(
                "INSERT OR REPLACE INTO workers VALUES (?, ?, ?, ?, ?)", (worker, device, pid, state, time.time())
            )

    def forget_workers(self) -> None:
        """Those of a server that has ended."""
        with self.writing() as db:
            db.execute("DELETE FROM workers")

    # The server's own

    def unfetched(self) -> list[Job]:
        """Jobs whose inputs are still to be fetched, the next one first."""
        query = f"SELECT {_COLUMNS} FROM jobs WHERE status = 'PENDING' AND NOT fetched ORDER BY turn, created"
        return [_job(row) for row in self.read(query)]

    def overdue(self, now: float) -> list[Job]:
        """Jobs that wait beyond their deadlines."""
        query = f"SELECT {_COLUMNS} FROM jobs WHERE status = 'PENDING' AND deadline <= ?"
        return [_job(row) for row in self.read(query, now)]

    def due_webhooks(self, now: float) -> list[DueWebhook]:
        """Messages whose time has come, the oldest first."""
        query = (
            "SELECT jobs.*, attempts AS tried FROM jobs JOIN webhooks ON job = id WHERE due <= ? ORDER BY due LIMIT 20"
        )
        return [DueWebhook(_job(row), row["tried"]) for row in self.read(query, now)]

    def webhook_sent(self, id: str, *, error: str = "", due: float | None = None) -> None:
        """What came of an attempt: delivered, or ``error``, and then when it is ``due`` again (None: given up)."""
        delivered = None if error else time.time()
        with self.writing() as db:
            db.execute(
                "UPDATE webhooks SET attempts = attempts + 1, due = ?, delivered = ?, error = ? WHERE job = ?",
                (due, delivered, error, id),
            )
            if due is None:
                count(db, "webhooks", "given up" if error else "delivered")

    def webhook(self, id: str) -> Mapping[str, Any] | None:
        """Attempts, and when the message of a job was delivered; None if there is none."""
        rows = self.read("SELECT attempts, due, delivered, error FROM webhooks WHERE job = ?", id)
        return dict(rows[0]) if rows else None

    def expired(self, before: float) -> list[str]:
        """Jobs that ended before that time, and those that were deleted under work."""
        query = "SELECT id FROM jobs WHERE ended < ? OR stopped AND status != 'PROCESSING'"
        return [row["id"] for row in self.read(query, before)]


def open_store(folder: Path) -> JobStore:
    """The jobs of a service's folder."""
    return JobStore(folder / "service.db")


def _job(row: sqlite3.Row) -> Job:
    values = {each.name: row[each.name] for each in fields(Job)}
    return Job(
        **values
        | {
            "status": JobStatus(row["status"]),
            "request": json.loads(row["request"]),
            "fetched": bool(row["fetched"]),
            "stopped": bool(row["stopped"]),
            "error": json.loads(row["error"]) if row["error"] else None,
            "notes": tuple(json.loads(row["notes"])) if row["notes"] else (),
        }
    )
