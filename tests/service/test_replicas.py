"""Workers of a cluster: what they ask the server's store, whom the server asks for work, and the end of either side."""

from __future__ import annotations

import threading

import pytest

from latentsync.errors import LatentSyncError
from latentsync.inference.job.folder import JobFolder
from latentsync.service.replicas import ELSEWHERE, Calls, Count, RemoteStore, StoreAccess
from latentsync.service.worker import Worker


class Lines:
    """Between a worker and a server: ``broken`` while there is no server."""

    def __init__(self, stage):
        self.access, self.broken, self.asked = StoreAccess(stage.settings.folder), False, []

    def ask(self, name, values, options):
        if self.broken:
            raise ConnectionError("the actor is dead")
        self.asked.append(name)
        return self.access.call(name, values, options)


@pytest.fixture
def far(stage):
    """A worker elsewhere, and its line to the server."""
    lines = Lines(stage)
    store = RemoteStore(lines.ask, lambda: worker.end())
    worker = Worker(store, stage.settings, stage.models, "replica-1", "cpu", make_networks=lambda: None)
    yield worker, lines
    lines.access._store.close()


def test_a_worker_elsewhere_does_jobs_of_the_servers_store(stage, dubbed, far):
    worker, lines = far
    job = stage.send()
    assert worker.look() and not worker.look()
    done = stage.get(job)
    assert done["status"] == "COMPLETED" and stage.client.get(done["outputUrl"]).content.startswith(b"dubbed")
    assert {"claim", "report", "finish", "seen"} <= set(lines.asked)
    assert [tuple(row) for row in stage.store.read("SELECT name, pid FROM workers")] == [("replica-1", ELSEWHERE)]
    with pytest.raises(AttributeError):
        lines.access.call("forget_workers", (), {})


def test_when_the_server_ends_the_job_waits_again(stage, dubbed, far):
    worker, lines = far
    job = stage.send()

    def end(request, control):
        lines.access.end()
        control.enter("writing")
        control.check()

    dubbed.before = end
    worker.look()
    assert stage.get(job)["status"] == "PENDING"
    assert JobFolder(stage.settings.job_folder(job["id"])).read().state == "waiting"


def test_when_the_server_is_lost_the_next_one_goes_on(stage, dubbed, far):
    worker, lines = far
    job = stage.send()

    def lose(request, control):
        lines.broken = True
        control.enter("writing")
        control.check()

    dubbed.before = lose
    with pytest.raises(LatentSyncError, match="server"):
        worker.look()
    place = JobFolder(stage.settings.job_folder(job["id"]))
    assert place.read().state == "waiting" and stage.get(job)["status"] == "PROCESSING"
    dubbed.before = lambda request, control: None
    assert stage.worker().work_on_one() and stage.get(job)["status"] == "COMPLETED"


def test_a_cluster_that_does_not_answer_has_no_workers():
    answer, asked = threading.Event(), []

    def ask():
        asked.append(None)
        assert answer.wait(60)
        if len(asked) == 2:
            raise OSError("the cluster has gone")
        return 3

    count = Count(ask, 0.01)
    assert count.now() == count.now() == 0 and len(asked) == 1, "it is asked once while it does not answer"
    waiting = count._asked
    answer.set()
    assert waiting.result(60) == 3
    count._seconds = 60
    assert [count.now(), count.now()] == [0, 3] and len(asked) == 3


def test_whom_the_server_asks():
    looks, lock, woken = [True, OSError("a replica died"), True, False], threading.Lock(), threading.Event()

    def look():
        with lock:
            found = looks.pop(0) if looks else woken.set()
        if isinstance(found, Exception):
            raise found
        return bool(found)

    calls = Calls(look, 1)
    calls._ending.wait = lambda seconds: False  # no pause after a fault
    calls.start()
    while looks:
        calls.wake()
        threading.Event().wait(0.01)
    calls.wake()
    assert woken.wait(60)
    calls.end()
    assert not any(thread.is_alive() for thread in calls._threads)
