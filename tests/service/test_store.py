"""The queue: whose turn it is, how many may wait, what outlives a process."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from latentsync.service.job import JobStatus, RequestRefusedError
from latentsync.service.keys import Key
from latentsync.service.store import JobStore

ALICE, BOB = Key("alice"), Key("bob")
WANTED = {"model": "m", "input": [], "webhookUrl": "http://a.example"}


@pytest.fixture
def store(tmp_path):
    made = JobStore(tmp_path / "service.db")
    yield made
    made.close()


def add(store, id, key=ALICE, waiting=50, **values):
    return store.add(id, key, WANTED, waiting=waiting, **values)


def claimed(store):
    return [store.claim("w").id for _ in range(store.read("SELECT count(*) FROM jobs WHERE status = 'PENDING'")[0][0])]


def test_turns_are_fair(store):
    jobs = [add(store, f"alice {number}") for number in range(3)]
    assert store.claim("w").id == "alice 0"
    add(store, "bob 0", BOB)
    add(store, "bob 1", BOB)
    assert [store.ahead(job) for job in jobs[1:]] == [0, 2], "bob's first comes before alice's third"
    assert claimed(store) == ["alice 1", "bob 0", "alice 2", "bob 1"]
    assert store.claim("w") is None


def test_a_priority_orders_the_jobs_of_a_key_and_takes_no_turn_from_others(store):
    late = add(store, "late", deadline=2e12)
    add(store, "soon", deadline=1e12)
    add(store, "bob", BOB)
    urgent = add(store, "urgent", priority=1.0)
    assert [store.ahead(job) for job in (urgent, late)] == [0, 3]
    assert store.ahead_of_new(ALICE, 0.5, None) == 2 and store.ahead_of_new(BOB, 9.0, None) == 1
    assert store.ahead_of_new(BOB, 0.0, None) == 3
    assert claimed(store) == ["urgent", "bob", "soon", "late"]


def test_what_waits_beyond_its_deadline(store):
    add(store, "begun", deadline=100.0)
    add(store, "waiting", deadline=200.0)
    add(store, "patient")
    assert store.claim("w").id == "begun" and [job.id for job in store.overdue(200.0)] == ["waiting"]
    assert not store.finish("begun", JobStatus.FAILED, only_waiting=True) and store.get("begun").ended is None
    assert store.finish("waiting", JobStatus.FAILED, only_waiting=True) and not store.overdue(1e12)


def test_how_long_a_job_would_wait(store):
    assert store.seconds_before(2, 5.0) == 10.0, "as long as the job itself, where nothing is known"
    add(store, "1")
    store.claim("w")
    store.report("1", "dubbing", 3, 4)
    store.seen("w", "cpu", 1, "working")
    store.seen("v", "cpu", 2, "waiting")
    assert store.seconds_before(2, 4.0) == 4.0 * 2.25 / 2


def test_a_file_of_an_older_version(tmp_path):
    JobStore(tmp_path / "old.db").close()
    with closing(sqlite3.connect(tmp_path / "old.db")) as db:
        db.execute("ALTER TABLE jobs DROP COLUMN priority")
        db.execute("ALTER TABLE jobs DROP COLUMN deadline")
    store = JobStore(tmp_path / "old.db")
    add(store, "1", priority=2.0)
    assert store.get("1").priority == 2.0 and store.get("1").deadline is None
    store.close()


def test_what_waits_for_its_inputs_lets_others_pass(store):
    add(store, "fetched later", fetched=False)
    add(store, "here")
    assert [job.id for job in store.unfetched()] == ["fetched later"] and store.claim("w").id == "here"
    assert store.claim("w") is None
    store.set_fetched("fetched later")
    assert store.claim("w").id == "fetched later"


def test_bounds_and_quotas(store):
    key = Key("carol", jobs=2, jobs_per_day=3)
    with pytest.raises(RequestRefusedError, match="0 jobs are waiting"):
        add(store, "0", waiting=0)
    add(store, "1", key)
    add(store, "2", key)
    with pytest.raises(RequestRefusedError, match="2 of your jobs") as refused:
        add(store, "3", key)
    assert refused.value.status == 429 and refused.value.retry_after
    store.remove("1")
    add(store, "4", key)
    store.remove("2")
    with pytest.raises(RequestRefusedError, match="3 jobs today"):
        add(store, "5", key)
    add(store, "6", BOB)


def test_everything_outlives_the_process(store, tmp_path):
    add(store, "1", base_url="http://s")
    job = store.claim("w")
    assert store.report("1", "dubbing", 3, 10)
    store.close()
    again = JobStore(tmp_path / "service.db")
    (found,) = again.under_work()
    assert (found.id, found.begun, found.share, found.worker) == ("1", job.begun, 0.3, "w")
    again.put_back("1")
    assert again.claim("other").begun == job.begun
    assert again.finish("1", JobStatus.COMPLETED, seconds=2.0, notes=("a",), stages={"detect": 1.5})
    assert again.get("1").notes == ("a",) and not again.expired(0) and again.expired(1e12) == ["1"]
    again.close()


def test_a_message_is_due_once(store):
    add(store, "1")
    store.claim("w")
    assert store.finish("1", JobStatus.FAILED, error={"class": "NoFaceError", "message": "no"})
    assert store.finish("1", JobStatus.FAILED, error={"class": "NoFaceError", "message": "no"})
    (due,) = store.due_webhooks(1e12)
    assert due.job.id == "1" and due.attempts == 0 and due.job.error["class"] == "NoFaceError"
    store.webhook_sent("1", error="refused", due=5e11)
    assert not store.due_webhooks(4e11) and store.due_webhooks(6e11)[0].attempts == 1
    store.webhook_sent("1")
    assert not store.due_webhooks(1e12) and store.webhook("1")["delivered"]


def test_deleted_under_work(store):
    add(store, "1")
    store.claim("w")
    assert not store.remove("1"), "it is worked on"
    assert store.get("1", ALICE) is None and not store.report("1", "dubbing", 1, 2)
    assert not store.finish("1", JobStatus.COMPLETED) and not store.due_webhooks(1e12)
    store.drop("1")
    assert not store.under_work() and not store.report("1", "dubbing", 1, 2)
