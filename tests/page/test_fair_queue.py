"""Turns: who comes when, who is refused, and that everybody's time comes."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest

from latentsync.errors import BusyError
from latentsync.inference.job.progress import RunControl
from latentsync.page.fair_queue import FairQueue, RepeatedError, Visitor
from tests.page.stage import wait_until


@pytest.fixture
def queue():
    queue = FairQueue("work", places=9, places_per_visitor=4)
    yield queue
    queue.close()


class Hall:
    """Puts work into a queue, held back until ``open``; ``done`` has the names in the order in which they were done."""

    def __init__(self, queue):
        self.queue, self.done, self._open = queue, [], threading.Event()

    def enter(self, name, address, kind="dub"):
        return self.queue.enter(Visitor(address, name), kind, RunControl(), lambda: self._work(name))

    def _work(self, name):
        self._open.wait(300)
        self.done.append(name)

    @contextmanager
    def all_before_the_first(self):
        """Nobody's turn comes in the block: which turn is on decides about who enters later."""
        entered = threading.Event()
        self.queue.run_first(lambda: entered.wait(300))
        yield
        entered.set()

    def open(self):
        self._open.set()
        wait_until(lambda: not len(self.queue))
        return self.done


@pytest.fixture
def hall(queue):
    hall = Hall(queue)
    yield hall
    hall._open.set()


def test_who_asks_for_much_waits_for_who_asks_for_little(hall):
    with hall.all_before_the_first():
        for number in range(4):
            hall.enter(f"much {number}", "a")
        hall.enter("little 0", "b")
        hall.enter("little 1", "b")
        hall.enter("one", "c")
    assert hall.open() == ["much 0", "little 0", "one", "much 1", "little 1", "much 2", "much 3"]


def test_the_number_of_those_ahead_is_that_of_the_turns(hall):
    with hall.all_before_the_first():
        tickets = {name: hall.enter(name, name[0]) for name in ("a0", "a1", "a2", "b0")}
    wait_until(lambda: tickets["a0"].future.running())
    assert {name: hall.queue.ahead(ticket) for name, ticket in tickets.items()} == {"a0": 0, "b0": 1, "a1": 2, "a2": 3}
    hall.queue.leave(tickets["a1"])
    assert hall.queue.ahead(tickets["a2"]) == 2


def test_nobody_waits_for_ever(queue):
    """Somebody's third piece comes although others bring a new one whenever one of theirs is done."""
    order, ended = [], threading.Event()
    held = threading.Event()

    def busy(name):
        def work():
            held.wait(300)
            order.append(name)
            if not ended.is_set() and len(order) < 100:
                queue.enter(Visitor(name, f"{name} {len(order)}"), "dub", RunControl(), busy(name))

        return work

    for name in ("b", "c"):
        queue.enter(Visitor(name, name), "dub", RunControl(), busy(name))
    for number in range(3):
        queue.enter(Visitor("a", str(number)), "dub", RunControl(), lambda: order.append("a"))
    held.set()
    wait_until(lambda: order.count("a") == 3)
    ended.set()
    assert order[: order.index("a") + 1].count("b") <= 2
    last = len(order) - 1 - order[::-1].index("a")
    assert last <= 3 * 3  # three turns of three visitors


def test_leaving_and_coming_back_costs_no_turn(hall):
    hall.enter("first", "x")
    for number in range(20):
        hall.queue.leave(hall.enter(f"try {number}", "a"))
    hall.enter("a", "a")
    hall.enter("b0", "b")
    hall.enter("b1", "b")
    assert hall.open() == ["first", "a", "b0", "b1"]


def test_one_of_a_kind_for_a_session_and_a_share_for_an_address(hall):
    ticket = hall.enter("page", "a")
    with pytest.raises(RepeatedError, match="Your last dub is not done yet"):
        hall.enter("page", "a")
    hall.enter("page", "a", "preview")
    hall.enter("page", "b")  # somebody else whose browser says the same
    for number in range(2):
        hall.enter(f"other page {number}", "a")
    with pytest.raises(BusyError, match="4 of your jobs wait or run already") as refused:
        hall.enter("one page too many", "a")
    assert not isinstance(refused.value, RepeatedError)
    for number in range(4):
        hall.enter(f"page {number}", f"address {number}")
    with pytest.raises(BusyError, match="8 jobs are waiting already"):
        hall.enter("page", "c")
    hall.queue.leave(ticket)
    hall.enter("page", "a")


def test_what_was_stopped_takes_no_place(hall):
    running = hall.enter("page", "a")
    wait_until(running.future.running)
    hall.queue.stop("page", "preview")
    assert not running.control.stopped
    hall.queue.stop("page", "dub")
    assert running.control.stopped
    hall.enter("page", "a")  # although the first has not noticed yet


def test_an_error_is_whose_work_it_was(queue):
    def fail():
        raise ValueError("broken")

    first = queue.enter(Visitor("a", "a"), "dub", RunControl(), fail)
    second = queue.enter(Visitor("b", "b"), "dub", RunControl(), lambda: 5)
    assert second.future.result(300) == 5
    with pytest.raises(ValueError, match="broken"):
        first.future.result(300)
    wait_until(lambda: not len(queue))
