"""Memory of a server that stays: it goes back when the work is over."""

from __future__ import annotations

import pytest

from latentsync.page import memory
from latentsync.page.memory import NOTICED, FreedMemory

MB = 2**20


@pytest.fixture
def machine(monkeypatch):
    """A process of a size that the test sets; what it frees is returned to 100 MB."""

    class Machine:
        resident, returned, idle = 100 * MB, 0, True

    def give_back():
        Machine.returned += 1
        Machine.resident = 100 * MB

    monkeypatch.setattr(FreedMemory, "_resident", lambda self: Machine.resident)
    monkeypatch.setattr(memory, "return_freed_memory", give_back)
    return Machine


def test_memory_is_returned_when_a_job_is_over_and_not_before(machine):
    freed = FreedMemory(lambda: machine.idle)
    machine.resident, machine.idle = 900 * MB, False
    freed.look()
    assert machine.returned == 0
    machine.idle = True
    freed.look()
    freed.look()
    assert machine.returned == 1 and machine.resident == 100 * MB


def test_a_little_more_is_not_worth_it_and_what_stays_is_not_tried_again(machine, monkeypatch):
    freed = FreedMemory(lambda: True)
    machine.resident += NOTICED
    freed.look()
    assert machine.returned == 0
    monkeypatch.setattr(memory, "return_freed_memory", lambda: setattr(machine, "returned", machine.returned + 1))
    machine.resident = 900 * MB  # networks that have been loaded
    for _ in range(3):
        freed.look()
    assert machine.returned == 1
