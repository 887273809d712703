"""Work of many visitors, one piece at a time, in turns: who asks for much waits for who asks for little."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from latentsync.errors import BusyError
from latentsync.inference.job.progress import RunControl


class RepeatedError(BusyError):
    """The visitor has such work waiting or running already: a second click on the same button."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """``address``: who they are, as far as one can tell (a name that they logged in with, or where they call from);
    ``session``: one open page, or one client of a program. Both may be any text."""

    address: str = ""
    session: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Work that has not begun, because ``ahead`` others come first."""

    ahead: int


@dataclass(eq=False, slots=True)
class Ticket:
    """Work that waits or runs. ``turn``: when its time comes, in turns of all visitors, fixed when it enters.

    Whoever stops ``control`` ends it; ``future`` has what it gives.
    """

    visitor: Visitor
    kind: str
    turn: int
    control: RunControl
    work: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)


class FairQueue:
    """One thread does the work; ``places`` pieces wait or run, ``places_per_visitor`` of one address, and one of a kind
    of one session.

    Turns are those of start-time fair queueing (Goyal, Vin, Cheng 1996) with equal weights: who has n pieces here gets
    the turn n + 1 after the one that is on. So nobody's second piece comes before anybody's first, and since turns are
    fixed and only rise, no piece waits for ever.
    """

    def __init__(self, name: str, places: int, places_per_visitor: int) -> None:
        self._places, self._places_per_visitor = places, places_per_visitor
        self._lock = threading.Lock()
        self._tickets: list[Ticket] = []  # in the order in which their time comes; the first may run
        self._turn = 0  # of what began last
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    def __len__(self) -> int:
        return len(self._tickets)

    def run_first(self, work: Callable[[], None]) -> None:
        """Do something in the thread of the work, before what enters later."""
        self._thread.submit(work)

    def enter(
        self, visitor: Visitor, kind: str, control: RunControl, work: Callable[[], Any], bounded: bool = True
    ) -> Ticket:
        """Take a place. Raises ``BusyError`` and ``RepeatedError``, unless not ``bounded``: for who has a queue of
        their own and takes one place at a time."""
        with self._lock:
            alive = [each for each in self._tickets if not each.control.stopped]
            if bounded:
                self._refuse_excess(visitor, kind, alive)
            last = max((each.turn for each in alive if each.visitor.address == visitor.address), default=0)
            ticket = Ticket(visitor, kind, max(self._turn, last) + 1, control, work)
            self._tickets.append(ticket)
            self._tickets.sort(key=lambda each: each.turn)  # in a turn, who came first
            self._thread.submit(self._work_on_next)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give the place up: what runs ends at its next look at ``control``, what waits does not begin."""
        with self._lock:
            self._remove(ticket)
        ticket.control.stop()
        ticket.future.cancel()

    def ahead(self, ticket: Ticket) -> int:
        """How many come first. 0 for what runs, and for what has left."""
        with self._lock:
            return self._tickets.index(ticket) if ticket in self._tickets else 0

    def hand_over(self, ticket: Ticket, visitor: Visitor) -> None:
        """The work is another session's from now on: its visitor has opened the page again."""
        with self._lock:
            ticket.visitor = visitor

    def stop(self, session: str, kind: str | None = None) -> None:
        """End what waits or runs for a session; of one kind, if that is given."""
        with self._lock:
            found = [each for each in self._tickets if each.visitor.session == session and kind in (None, each.kind)]
        for ticket in found:
            ticket.control.stop()

    def close(self) -> None:
        """End everything."""
        with self._lock:
            tickets = list(self._tickets)
        for ticket in tickets:
            self.leave(ticket)
        self._thread.shutdown(cancel_futures=True)

    def _refuse_excess(self, visitor: Visitor, kind: str, alive: list[Ticket]) -> None:
        if any(each.visitor == visitor and each.kind == kind for each in alive):
            raise RepeatedError(f"Your last {kind} is not done yet.", remedy="Wait for it, or stop it.")
        if sum(each.visitor.address == visitor.address for each in alive) >= self._places_per_visitor:
            raise BusyError(
                f"{self._places_per_visitor} of your jobs wait or run already; the other places are for others.",
                remedy="Come back when one of them is done.",
            )
        if len(alive) >= self._places:
            raise BusyError(
                f"{self._places - 1} jobs are waiting already; no more are taken.", remedy="Come back in a few minutes."
            )

    def _work_on_next(self) -> None:
        """Submitted once for each place that is taken; after somebody has left, one of them finds nothing to do."""
        with self._lock:
            ticket = next((each for each in self._tickets if each.future.set_running_or_notify_cancel()), None)
            if ticket is None:
                return
            self._turn = ticket.turn
        try:
            ticket.future.set_result(ticket.work())
        except BaseException as error:  # noqa: BLE001  whoever waits for it gets it
            ticket.future.set_exception(error)
        finally:
            with self._lock:
                self._remove(ticket)

    def _remove(self, ticket: Ticket) -> None:
        if ticket in self._tickets:
            self._tickets.remove(ticket)
