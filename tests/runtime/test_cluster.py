"""What becomes of a task whose actor dies, and of a cluster that is not there, with a Ray that only plays at it."""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace

import pytest

from latentsync.errors import ConfigError, DeviceError
from latentsync.runtime.cluster import Finished, RayActors, connect


class ActorError(Exception):
    pass


class NodeError(Exception):
    pass


class MemoryLackError(Exception):
    pass


class PlayedRay:
    """Every task of an actor ends as the next of ``ends`` says: a result, or an error to raise; and every start of one
    as the next of ``starts`` does: an error, '' for well, None for never; well when there is no next one."""

    exceptions = SimpleNamespace(RayActorError=ActorError, NodeDiedError=NodeError, OutOfMemoryError=MemoryLackError)

    def __init__(self, *ends, starts=()):
        self.ends, self.starts, self.started, self.never, self.starting = list(ends), list(starts), 0, set(), {}

    def start(self, pool):
        self.started += 1
        reference = object()
        self.starting[reference] = end = self.starts.pop(0) if self.starts else ""
        if end is None:
            self.never.add(reference)
        give = lambda: reference  # noqa: E731
        return SimpleNamespace(
            work=SimpleNamespace(remote=lambda task: object()), __ray_ready__=SimpleNamespace(remote=give)
        )

    def wait(self, references, num_returns, timeout=None):
        ready = [each for each in references if each not in self.never]
        assert ready or timeout == 0, "would wait for ever"
        return ready[:1], [each for each in references if each not in ready[:1]]

    def get(self, reference):
        end = self.starting[reference] if reference in self.starting else self.ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end


@pytest.fixture
def play(monkeypatch):
    def made(*ends, starts=(), size=1):
        ray = PlayedRay(*ends, starts=starts)
        monkeypatch.setitem(sys.modules, "ray", ray)
        return ray, RayActors(ray.start, {"pool": size}, tries=2)

    return made


def drive(actors, tasks):
    """What came of ``tasks``, each given to an actor as soon as one has room."""
    found, left = [], list(tasks)
    while left or actors.busy:
        while left and actors.has_room("pool"):
            actors.submit("pool", left.pop(0))
        if (finished := actors.wait()) is not None:
            found.append(finished)
    return found


@pytest.mark.parametrize("error", [ActorError, NodeError, MemoryLackError])
def test_a_worker_that_dies_once_is_replaced(play, error):
    ray, actors = play(error("dead"), "done")
    assert drive(actors, ["a"]) == [Finished("a", "done")]
    assert ray.started == 2


def test_a_task_that_kills_two_workers_is_to_blame(play):
    lack, death = MemoryLackError("two"), ActorError("two")
    ray, actors = play(ActorError("one"), death, ActorError("one"), lack, "done")
    killer, starving, fine = drive(actors, [["a"], ["b"], ["c"]])
    assert (killer, starving) == (Finished(["a"], death=death), Finished(["b"], death=lack))
    assert fine == Finished(["c"], "done")
    assert actors.lacked_memory(starving) and not actors.lacked_memory(killer) and ray.started == 5


def test_a_lost_machine_gives_its_task_to_another_one(play):
    """The replacement finds no room in the cluster: nothing waits for it."""
    ray, actors = play(NodeError("lost"), "second", "first", "third", starts=["", "", None], size=2)
    found = drive(actors, ["a", "b", "c"])
    assert {each.task for each in found} == {"a", "b", "c"} and not any(each.death for each in found)
    assert ray.started == 3


def test_one_that_is_not_there_yet_gets_no_task(play):
    ray, actors = play("a", "b", "c", starts=[None, ""], size=2)
    assert [each.task for each in drive(actors, "abc")] == ["a", "b", "c"]


def test_workers_that_cannot_start_are_a_named_error(play):
    _, actors = play(starts=[ActorError(f"No module named latentsync\n{n}") for n in range(3)])
    with pytest.raises(DeviceError, match="do not start: No module named latentsync"):
        drive(actors, ["a"])


def test_ray_that_does_not_start_is_a_named_error(monkeypatch):
    def start(*arguments: object, **options: object) -> None:
        raise Exception("The current node timed out during startup.\nmore")

    closed = []
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=start, shutdown=lambda: closed.append(1)))
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(DeviceError, match="timed out during startup") as caught:
        connect(None, 2, otherwise="--workers 0")
    assert "--workers 0" in str(caught.value)
    assert closed


class TokenError(Exception):
    pass


def refusal(monkeypatch: pytest.MonkeyPatch, address: str, error: Exception | None) -> str:
    """What ``connect`` says when Ray cannot join the cluster at ``address``; without ``error`` it must not be asked."""

    def start(*arguments: object, **options: object) -> None:
        assert error is not None
        raise error

    played = SimpleNamespace(init=start, exceptions=SimpleNamespace(AuthenticationError=TokenError))
    monkeypatch.setitem(sys.modules, "ray", played)
    with pytest.raises(ConfigError) as caught:
        connect(address, 2)
    return str(caught.value)


@pytest.mark.parametrize("error", [ConnectionError("Nobody."), ValueError("Nobody."), TokenError("Nobody.\nmore")])
def test_a_cluster_that_cannot_be_joined_is_a_named_error(monkeypatch, error):
    message = refusal(monkeypatch, "auto", error)
    assert "cluster to work on at auto: Nobody.\n" in message
    assert "RAY_AUTH_MODE=token" in message


def test_an_address_where_nobody_listens_is_named_at_once(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert f"at {address}: [Errno" in refusal(monkeypatch, address, None)
