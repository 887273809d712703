"""What a task says whose workers died."""

from __future__ import annotations

import pytest

from latentsync.preprocess.engine.pools import RayPools
from latentsync.preprocess.engine.worker import FileTask, TaskResult
from latentsync.runtime.cluster import Finished

DONE = TaskResult(trace="done")
DEATH = RuntimeError("two\nmore")


@pytest.mark.parametrize(
    "finished, lacked_memory, result",
    [
        (Finished(FileTask("a.mp4"), DONE), False, DONE),
        (Finished(FileTask("a.mp4"), death=DEATH), False, TaskResult(crash="two")),
        (Finished(FileTask("a.mp4"), death=DEATH), True, TaskResult(trace="two")),  # the next run tries it again
    ],
)
def test_the_result_of_a_task(finished, lacked_memory, result):
    class Actors:
        """Actors of which one becomes free before the task is finished."""

        busy, events = True, [None, finished]

        def wait(self):
            event = self.events.pop(0)
            self.busy = bool(self.events)
            return event

    pools = RayPools.__new__(RayPools)
    pools._actors = Actors()
    pools._actors.lacked_memory = lambda found: lacked_memory
    assert pools.wait() == (FileTask("a.mp4"), result)
    assert pools.wait() is None
