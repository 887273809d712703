"""What becomes of a task whose worker dies, with a Ray that only plays at it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from latentsync.errors import ConfigError, DeviceError
from latentsync.preprocess.engine.pools import CPU, RayPools, connect
from latentsync.preprocess.engine.worker import FileTask, TaskResult


class ActorError(Exception):
    pass


class NodeError(Exception):
    pass


class MemoryLackError(Exception):
    pass


class PlayedRay:
    """Every task of an actor ends as the next of ``ends`` says: a result, or an error to raise."""

    exceptions = SimpleNamespace(RayActorError=ActorError, NodeDiedError=NodeError, OutOfMemoryError=MemoryLackError)

    def __init__(self, *ends: TaskResult | Exception) -> None:
        self.ends, self.started = list(ends), 0

    def remote(self, actor_class: type) -> SimpleNamespace:
        return SimpleNamespace(options=lambda **shares: SimpleNamespace(remote=self._start))

    def _start(self, *arguments: object) -> SimpleNamespace:
        self.started += 1
        return SimpleNamespace(work=SimpleNamespace(remote=lambda task: object()))

    @staticmethod
    def wait(references: list[object], num_returns: int) -> tuple[list[object], list[object]]:
        return references[:1], references[1:]

    def get(self, reference: object) -> TaskResult:
        end = self.ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end


def outcome(monkeypatch: pytest.MonkeyPatch, *ends: TaskResult | Exception) -> tuple[TaskResult, int]:
    """What a pool of one worker says of one task, and how many workers were started for it."""
    ray = PlayedRay(*ends)
    monkeypatch.setitem(sys.modules, "ray", ray)
    pools = RayPools({CPU: 1}, 1, lambda pool: None, Path())
    pools.submit(CPU, FileTask("a.mp4"))
    task, result = pools.wait()
    assert task == FileTask("a.mp4")
    assert not ray.ends
    assert pools.has_room(CPU)
    assert pools.wait() is None
    return result, ray.started


def test_ray_that_does_not_start_is_a_named_error(monkeypatch):
    def start(*arguments: object, **options: object) -> None:
        raise Exception("The current node timed out during startup.\nmore")

    closed = []
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=start, shutdown=lambda: closed.append(1)))
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(DeviceError, match="timed out during startup") as caught:
        connect(None, 2)
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


DONE = TaskResult(trace="done")


@pytest.mark.parametrize("error", [ActorError, NodeError, MemoryLackError])
def test_a_worker_that_dies_once_is_replaced(monkeypatch, error):
    assert outcome(monkeypatch, error("dead"), DONE) == (DONE, 2)


def test_a_task_that_kills_two_workers_is_to_blame(monkeypatch):
    assert outcome(monkeypatch, ActorError("one"), ActorError("two\nmore")) == (TaskResult(crash="two"), 3)


def test_a_lack_of_memory_is_tried_again_by_the_next_run(monkeypatch):
    found = outcome(monkeypatch, MemoryLackError("one"), MemoryLackError("no memory"))
    assert found == (TaskResult(trace="no memory"), 3)
