"""How many workers a cluster gets, and a batch that is done by them."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

import pytest

from latentsync.errors import DeviceError
from latentsync.inference.job.folder import JobState, State
from latentsync.runtime.cluster import ActorShares, Finished, shares_of
from latentsync.service.batch import run as run_module
from latentsync.service.batch.results import SharedFolder
from latentsync.service.batch.run import Batch
from latentsync.service.runner import Settled
from tests.service.batch.test_outlook import make_jobs


def node(alive=True, **resources):
    return {"Alive": alive, "Resources": resources}


GPUS = [node(CPU=16.0, GPU=2.0), node(CPU=4.0, GPU=1.0), node(CPU=64.0), node(False, CPU=8.0, GPU=8.0)]


@pytest.mark.parametrize(
    "nodes, device, shares",
    [
        (GPUS, "auto", ActorShares(3, "cuda", 4, 1)),
        (GPUS, "cuda", ActorShares(3, "cuda", 4, 1)),
        (GPUS, "cpu", ActorShares(21, "cpu", 4, 0)),
        ([node(CPU=2.0), node(CPU=2.0), node()], "auto", ActorShares(2, "cpu", 2, 0)),
    ],
)
def test_an_actor_for_each_device(nodes, device, shares):
    assert shares_of(nodes, device) == shares


@pytest.mark.parametrize("nodes, device", [([node(CPU=2.0)], "cuda"), ([node()], "auto")])
def test_a_cluster_that_has_nothing_to_work_with(nodes, device):
    with pytest.raises(DeviceError):
        shares_of(nodes, device)


class PlayedActors:
    """Two of them; ``end(job)`` says what comes of a job."""

    def __init__(self, end):
        self.end, self.under_way, self.given, self.most = end, deque(), [], 0

    @property
    def busy(self):
        return bool(self.under_way)

    def has_room(self):
        return len(self.under_way) < 2

    def close(self):
        self.closed = True

    def submit(self, job):
        self.given.append(job.name)
        self.under_way.append(job)
        self.most = max(self.most, len(self.under_way))

    def wait(self):
        return self.end(self.take()) if self.under_way else None

    def take(self):
        return self.under_way.popleft()


def test_jobs_are_given_out_one_at_a_time_and_those_of_others_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "POLL_SECONDS", 0.0)
    held = {"job 1": 2}  # looks at it until the other process is done

    def end(job):
        if held.get(job.name, 0) > 0:
            held[job.name] -= 1
            return Finished(job, None)
        if job.name == "job 3":
            return Finished(job, death=RuntimeError("The node died.\nmore"))
        return Finished(job, Settled(JobState(), "1.0 s"))

    said, actors = [], PlayedActors(end)
    batch = Batch(make_jobs(5), SharedFolder(tmp_path), say=said.append, make_networks=lambda: SimpleNamespace())
    (tmp_path / ".jobs" / "job 3").mkdir(parents=True)
    batch.work_on(actors)
    assert actors.given == ["job 0", "job 1", "job 2", "job 3", "job 4", "job 1", "job 1"] and actors.most == 2
    assert len(said) == 5 and said[-1].startswith("5/5 job 1: 1.0 s")
    assert "Its worker died 4 times: The node died." in batch.outcomes()[3].error


def test_ctrl_c_counts_as_no_attempt_of_the_jobs_under_way(tmp_path):
    def end(job):
        raise KeyboardInterrupt

    actors, results = PlayedActors(end), SharedFolder(tmp_path)
    batch = Batch(make_jobs(3), results, make_networks=lambda: SimpleNamespace())
    running = batch.jobs[1]
    with results.folder(running).hold():
        results.folder(running).write(JobState(State.RUNNING, "of this", 2, batch.run))
    with pytest.raises(KeyboardInterrupt):
        batch.work_on(actors)
    found = results.folder(running).read()
    assert (found.state, found.made_of) == (State.WAITING, "of this") and actors.closed
