"""The worker beside the page: one set of networks, in turns with visitors, and a clean end."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from latentsync.inference.job.progress import RunControl
from latentsync.media.limits import MediaLimits
from latentsync.page.fair_queue import Visitor
from latentsync.page.jobs import JobQueue
from latentsync.service import runner
from latentsync.service.job import JobStatus
from latentsync.service.page_worker import PageWorker
from latentsync.service.worker import Worker


@pytest.fixture
def beside(stage, monkeypatch):
    """A page's jobs, the worker beside them, and what was done with which networks in which thread, in order."""
    done = []
    monkeypatch.setattr(Worker, "warm_up", lambda worker: done.append(("loaded", worker._runner.networks)))
    jobs = JobQueue({}, MediaLimits(), make_networks=object)
    worker = PageWorker(jobs, partial(Worker, stage.store, stage.settings, stage.models, "worker-0", "cpu"))

    def dub(request, control, networks):
        done.append(("a job", networks, threading.current_thread().name))
        control.check()
        return stand_in(request, control, networks)

    stand_in = runner.dub
    monkeypatch.setattr(runner, "dub", dub)
    yield jobs, worker, done
    worker.end()
    jobs.close()


def until_ended(stage, job):
    while not JobStatus(stage.get(job)["status"]).is_final:
        threading.Event().wait(0.01)
    return stage.get(job)


def test_networks_are_loaded_once_and_jobs_take_turns_with_visitors(stage, beside, dubbed):
    jobs, worker, done = beside
    worker.start()
    begun, go_on = threading.Event(), threading.Event()

    def visit():
        begun.set()
        go_on.wait()
        done.append(("a visit", jobs.networks, threading.current_thread().name))

    first = jobs._dubs.enter(Visitor("eve"), "job", RunControl(), visit)
    more = [jobs._dubs.enter(Visitor("eve"), kind, RunControl(), visit) for kind in ("preview", "another")]
    begun.wait()
    job = stage.send()
    worker.wake()
    while len(jobs) < 4:  # the job has its place among the visitors'
        threading.Event().wait(0.01)
    assert stage.get(job)["status"] == "PENDING"
    go_on.set()
    assert until_ended(stage, job)["status"] == "COMPLETED"
    first.future.result()
    more[1].future.result()
    networks = jobs.networks
    assert done[0] == ("loaded", networks) and {each[1] for each in done} == {networks}
    assert [each[0] for each in done] == ["loaded", "a visit", "a visit", "a job", "a visit"], "in turns"
    assert len({each[2] for each in done[1:]}) == 1 and worker.alive() == 1


def test_networks_that_a_fault_has_left_are_renewed_for_both(stage, beside, dubbed):
    jobs, worker, _ = beside

    def fail(request, control):
        raise ZeroDivisionError

    dubbed.before = fail
    before = jobs.networks
    worker.start()
    assert until_ended(stage, stage.send())["status"] == "FAILED"
    assert jobs.networks is not before and jobs.networks is worker._worker._runner.networks


def test_it_ends_while_a_visitor_is_at_work_and_its_job_waits_again(stage, beside, dubbed):
    jobs, worker, done = beside
    worker.start()
    begun, go_on = threading.Event(), threading.Event()
    jobs._dubs.enter(Visitor("eve"), "job", RunControl(), lambda: begun.set() or go_on.wait())
    begun.wait()
    job = stage.send()
    worker.wake()
    while len(jobs) < 2:
        threading.Event().wait(0.01)
    worker.end()
    assert worker.alive() == 0 and stage.get(job)["status"] == "PENDING" and len(done) == 1
    go_on.set()
