"""Whose turn it is: the order of the jobs that wait, and how many of them there may be; in transactions of ``store``.

Turns are those of start-time fair queueing (Goyal, Vin, Cheng 1996) with equal weights, as on the page: who has n jobs
here gets the turn n + 1 after the one that is on. So nobody's second job comes before anybody's first. A turn of a key
goes to that of its jobs that has the highest priority, among these the earliest deadline, and then is the oldest: so a
priority takes no turn from anybody else.
"""

from __future__ import annotations

import math
import sqlite3
from typing import Any

from latentsync.service.job import Job, RequestRefusedError
from latentsync.service.keys import Key

DAY = 24 * 3600  # s
_DEADLINE = "coalesce(deadline, 9e999)"


def take_turn(db: sqlite3.Connection) -> str | None:
    """The id of the job whose turn it is, which has that turn now; None if none waits."""
    waiting = "SELECT id, key, turn FROM jobs WHERE status = 'PENDING' AND fetched"
    turn = db.execute(f"{waiting} ORDER BY turn, created LIMIT 1").fetchone()
    if turn is None:
        return None
    found = db.execute(
        f"{waiting} AND key = ? ORDER BY priority DESC, {_DEADLINE}, created, rowid LIMIT 1", (turn["key"],)
    ).fetchone()
    db.execute("UPDATE jobs SET turn = ? WHERE id = ?", (found["turn"], turn["id"]))  # they change places
    db.execute("UPDATE jobs SET turn = ? WHERE id = ?", (turn["turn"], found["id"]))
    db.execute("INSERT OR REPLACE INTO counts VALUES ('turn', '', ?)", (turn["turn"],))
    return str(found["id"])


def ahead_of(db: sqlite3.Connection, job: Job) -> int:
    """How many turns come before the one that its key will spend on the job, which waits or would be added now."""
    urgency = (-job.priority, math.inf if job.deadline is None else job.deadline, job.created)
    sooner = one(
        db,
        "SELECT count(*) FROM jobs WHERE status = 'PENDING' AND key = ? AND id != ?"
        f" AND (-priority, {_DEADLINE}, created) < (?, ?, ?)",
        *(job.key, job.id, *urgency),
    )
    turn = db.execute(
        "SELECT turn, created FROM jobs WHERE status = 'PENDING' AND key = ? AND id != ?"
        " UNION ALL SELECT ?, ? ORDER BY turn, created LIMIT 1 OFFSET ?",
        (job.key, job.id, job.turn, job.created, sooner),
    ).fetchone()
    others = "SELECT count(*) FROM jobs WHERE status = 'PENDING' AND id != ? AND (turn, created) < (?, ?)"
    return int(one(db, others, job.id, *turn)) + ((job.turn, job.created) < tuple(turn))


def refuse_excess_of(db: sqlite3.Connection, key: Key, waiting: int, now: float) -> None:
    """Raise ``RequestRefusedError`` (429) if as many jobs wait as may, or the key has as many as it may."""
    active = "SELECT count(*) FROM jobs WHERE key = ? AND status IN ('PENDING', 'PROCESSING') AND NOT stopped"
    if one(db, "SELECT count(*) FROM jobs WHERE status = 'PENDING'") >= waiting:
        raise RequestRefusedError(
            f"{waiting} jobs are waiting already; no more are taken.",
            remedy="Send it again later.",
            status=429,
            retry_after=10,
        )
    if one(db, active, key.name) >= key.jobs:
        raise RequestRefusedError(
            f"{key.jobs} of your jobs wait or are worked on already; this key may have no more at one time.",
            remedy="Send it again when one of them is done.",
            status=429,
            retry_after=10,
        )
    today = "SELECT value FROM counts WHERE name = ? AND label = ?"
    if (one(db, today, f"day {int(now // DAY)}", key.name) or 0) >= key.jobs_per_day:
        raise RequestRefusedError(
            f"You have sent {key.jobs_per_day} jobs today; this key may send no more.",
            remedy="Send it again tomorrow (UTC).",
            status=429,
            retry_after=DAY - now % DAY,
        )


def next_turn(db: sqlite3.Connection, key: Key) -> int:
    """The turn of a key's next job."""
    last = one(db, "SELECT max(turn) FROM jobs WHERE key = ? AND status = 'PENDING'", key.name) or 0
    return 1 + int(max(last, one(db, "SELECT value FROM counts WHERE name = 'turn'") or 0))


def one(db: sqlite3.Connection, query: str, *values: Any) -> Any:
    """The first value of the first row of a query; None if there is none."""
    row = db.execute(query, values).fetchone()
    return None if row is None else row[0]


def count(db: sqlite3.Connection, name: str, label: str, more: float = 1) -> None:
    """Count something in the table of counts."""
    db.execute(
        "INSERT INTO counts VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = value + ?3", (name, label, more)
    )
