"""What a run notes down while it goes on: seconds of work per stage, and the frames that pass through unchanged."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Protocol, TypeVar

from latentsync.inference.visibility import SeenSpans
from latentsync.inference.windows import FrameGroup, PassedFrame, WindowPlan, is_cut
from latentsync.types import Frame

T = TypeVar("T")


class HasFrame(Protocol):
    """A frame with what is known of it."""

    @property
    def frame(self) -> Frame:
        """The frame itself."""
        ...


class HasGroup(Protocol):
    """A group of frames with what was made of it."""

    @property
    def group(self) -> FrameGroup:
        """The group itself."""
        ...


M = TypeVar("M", bound=HasFrame)
G = TypeVar("G", bound=HasGroup)


class StageClock:
    """Adds up the seconds that each named stage works. Stages run side by side, so the sum can exceed the wall time."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._at_work: Counter[str] = Counter()
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Count the time of the block for ``stage``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            with self._lock:
                self._seconds[stage] += elapsed

    @contextmanager
    def measure_once(self, stage: str) -> Iterator[None]:
        """Count the time of the block for ``stage``; the time in which several such blocks run counts once."""
        with self._lock:
            if not self._at_work[stage]:
                self._since[stage] = time.perf_counter()
            self._at_work[stage] += 1
        try:
            yield
        finally:
            with self._lock:
                self._at_work[stage] -= 1
                if not self._at_work[stage]:
                    self._seconds[stage] += time.perf_counter() - self._since[stage]

    def each(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        """Pass ``items`` on, counting the time that producing each takes."""
        iterator = iter(items)
        try:
            while True:
                with self.measure(stage):
                    try:
                        item = next(iterator)
                    except StopIteration:
                        return
                yield item
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    def seconds(self) -> dict[str, float]:
        """Stage -> seconds so far."""
        with self._lock:
            return dict(self._seconds)


@dataclass(slots=True)
class FrameRange:
    """Frames ``first`` to ``last`` of the result (both included) that show the source unchanged, and why."""

    first: int
    last: int
    reason: str


@dataclass(frozen=True, slots=True)
class PrecisionChange:
    """At window number ``window`` the network gave ``fault``: from there on it ran in ``precision``, and ``windows``
    windows were generated again. ``hindrance``: why that could not be done, or empty."""

    window: int
    fault: str
    precision: str
    windows: int
    hindrance: str = ""

    def describe(self) -> str:
        """One sentence for the terminal."""
        if self.hindrance:
            return f"the network gave {self.fault} in window {self.window}. {self.hindrance}"
        return f"the network gave {self.fault} in window {self.window}; from there on it ran in {self.precision}"


@dataclass(frozen=True, slots=True)
class SyncVerdict:
    """``cosine`` of lips and audio, 0 to 1; ``confidence``: what it has above the median over all shifts of the audio.
    ``offset``: frames by which the audio would have to come earlier to fit best. ``in_sync``: whether all of that is as
    it should be."""

    cosine: float
    confidence: float
    offset: int
    in_sync: bool


@dataclass(frozen=True, slots=True)
class JudgedStretch:
    """Seconds ``start`` to ``stop`` of the result with their verdict. ``first_try``: the verdict on what was made
    before, if the stretch was made again."""

    start: Fraction
    stop: Fraction
    verdict: SyncVerdict
    first_try: SyncVerdict | None = None

    def describe(self) -> str:
        """One sentence about a stretch that is out of sync, without its full stop."""
        tried = ", also when it was made again" if self.first_try is not None else ""
        return (
            f"From {float(self.start):.1f} to {float(self.stop):.1f} s the mouth does not follow the audio{tried} "
            f"(confidence {self.verdict.confidence:.2f}, best with the audio {self.verdict.offset} frames earlier)"
        )


@dataclass(slots=True)
class WindowPlaces:
    """Where the groups of windows lie in the result, in its frames: ``length`` frames each, the last ``shared`` of
    which are the first ones of the next. ``starts``: first frames of all groups; ``joins``: of those that go on where
    the one before ends, or share frames with it, and do not begin after a cut or a gap."""

    length: int = 0
    shared: int = 0
    starts: list[int] = field(default_factory=list)
    joins: list[int] = field(default_factory=list)
    _coming: deque[tuple[Fraction, bool]] = field(default_factory=deque)  # times of first frames; whether it is a join

    def follow(self, groups: Iterable[G], plan: WindowPlan) -> Iterator[G]:
        """Pass the groups on, and expect their first frames."""
        self.length, self.shared = plan.group_length, plan.shared
        before: FrameGroup | None = None
        for each in groups:
            group = each.group
            if group.windows:
                goes_on = before is not None and (group.before > 0 or not is_cut(before.frames[-1], group.frames[0]))
                self._coming.append((group.frames[0].frame.time, goes_on))
            before = group if group.windows else None
            yield each

    def note(self, number: int, time: Fraction) -> None:
        """Frame ``number`` of the result is that of a ``time``; times ascend."""
        while self._coming and self._coming[0][0] <= time:
            start, is_join = self._coming.popleft()
            if start == time:
                self.starts.append(number)
                if is_join:
                    self.joins.append(number)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"length": self.length, "shared": self.shared, "starts": self.starts, "joins": self.joins}


@dataclass(slots=True)
class RunRecord:
    """What the pipeline notes down while it runs; complete when its last frame is out."""

    clock: StageClock = field(default_factory=StageClock)
    frames: int = 0
    passed_through: list[FrameRange] = field(default_factory=list)
    batch_reductions: list[int] = field(default_factory=list)  # numbers of windows that did not fit into memory
    precision_changes: list[PrecisionChange] = field(default_factory=list)
    windows_refused: dict[int, str] = field(default_factory=dict)  # number -> what the network gave instead of faces
    judged: list[JudgedStretch] = field(default_factory=list)  # by a sync network, in order
    windows: WindowPlaces = field(default_factory=WindowPlaces)  # of the first person
    others: dict[str, WindowPlaces] = field(default_factory=dict)  # of a scene's further people, by their names
    seen: SeenSpans = field(default_factory=SeenSpans)  # how certain each face was, and what was left alone

    def noting(self, members: Iterator[M], shows: Callable[[Frame], bool] | None = None) -> Iterator[M]:
        """Pass ``members`` on and count those that the result ``shows`` (None: all), with the ranges that pass."""
        for member in members:
            if shows is None or shows(member.frame):
                if isinstance(member, PassedFrame):
                    self._note_passed(member.reason)
                source: Any = getattr(member, "source", member)
                self.seen.add(self.frames, source)
                for places in (self.windows, *self.others.values()):
                    places.note(self.frames, member.frame.time)
                self.frames += 1
            yield member

    def windows_of(self, name: str, number: int) -> WindowPlaces:
        """Where the windows of person ``number`` of the run are noted; 0 is the first."""
        return self.windows if number == 0 else self.others.setdefault(name, WindowPlaces())

    def note_refused(self, window: int, fault: str) -> None:
        """The frames of window number ``window`` stay as they were, because the network gave a ``fault``."""
        self.windows_refused[window] = fault

    def _note_passed(self, reason: str) -> None:
        last = self.passed_through[-1] if self.passed_through else None
        if last is not None and last.last == self.frames - 1 and last.reason == reason:
            last.last = self.frames
        else:
            self.passed_through.append(FrameRange(self.frames, self.frames, reason))

    @property
    def frames_passed_through(self) -> int:
        """Number of frames that show the source unchanged."""
        return sum(span.last - span.first + 1 for span in self.passed_through)

    @property
    def out_of_sync(self) -> list[JudgedStretch]:
        """The stretches whose mouth does not follow the audio, whatever was tried."""
        return [stretch for stretch in self.judged if not stretch.verdict.in_sync]

    def _redone_in(self, precision: str) -> int:
        return sum(change.windows for change in self.precision_changes if change.precision == precision)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        others = {name: places.to_dict() for name, places in self.others.items()}
        return {
            "frames": self.frames,
            "frames_passed_through": self.frames_passed_through,
            "passed_through": [asdict(span) for span in self.passed_through],
            "seen": self.seen.to_list(),
            "batch_reductions": self.batch_reductions,
            "windows_redone_in_fp32": self._redone_in("float32"),
            "windows_redone_in_bf16": self._redone_in("bfloat16"),
            "precision_changes": [asdict(change) for change in self.precision_changes],
            "windows_refused": self.windows_refused,
            "windows": self.windows.to_dict() | ({"others": others} if others else {}),
            "sync": [
                asdict(stretch) | {"start": float(stretch.start), "stop": float(stretch.stop)}
                for stretch in self.judged
            ],
            "seconds_by_stage": {stage: round(seconds, 3) for stage, seconds in self.clock.seconds().items()},
        }
