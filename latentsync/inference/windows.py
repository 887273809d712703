"""Cutting a stream of aligned faces into the windows of F frames that the network generates together.

A window never holds a blank: a frame without a face inside a window lends the nearest face and its result is thrown
away; a stretch without any face makes no window. A window never spans a cut. The last window is filled up by repeating
its last frame, because the network's group norms see all frames of a window together, so a shorter one gives other
values (the published code does run it shorter: ``WindowPlan.published``).

Above 37.5 fps neighbouring frames are closer in time than the motion modules have ever seen, so the frames of a group
are dealt out to several windows: at 50 fps the even ones to one, the odd ones to another, each a 25 fps view.

The network is shown every face twice: with the mouth hidden, and whole, for the looks of it. As published the second
one is of the same frame, whose mouth moves, and a little of that movement comes through. A steady reference is the
first face of the shot instead: nothing moves in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from latentsync.constants import MODEL_FPS, WINDOW_FRAMES
from latentsync.types import AlignedFace, AudioWindows, Frame, Window


@dataclass(frozen=True, slots=True)
class AlignedFrame:
    """A frame in playing order, with the face to be changed in it or the reason why there is none.

    ``strength`` in [0, 1] is how much of the generated mouth the paste shows (ramps beside a gap).
    """

    frame: Frame
    face: AlignedFace | None
    shot: int
    reason: str | None = None
    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class FrameGroup:
    """Consecutive frames and the windows made of them.

    ``slots`` says for each frame where its face will be: (index into ``windows``, frame of that window), or None for a
    frame that passes through.
    """

    frames: tuple[AlignedFrame, ...]
    windows: tuple[Window, ...]
    slots: tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """How windows are cut: frames each, windows dealt side by side, filling up the last, splitting at cuts; and whether
    a shot, which no window leaves then, has one reference."""

    length: int = WINDOW_FRAMES
    stride: int = 1
    fill_last: bool = True
    split_at_cuts: bool = True
    steady_reference: bool = False

    @classmethod
    def for_rate(cls, fps: Fraction, length: int = WINDOW_FRAMES, steady_reference: bool = False) -> WindowPlan:
        """The default plan for a video of ``fps`` frames per second."""
        return cls(length=length, stride=max(1, round(fps / MODEL_FPS)), steady_reference=steady_reference)

    @classmethod
    def published(cls, length: int = WINDOW_FRAMES) -> WindowPlan:
        """Consecutive frames, a shorter last window, cuts ignored."""
        return cls(length=length, fill_last=False, split_at_cuts=False)


def group_frames(frames: Iterator[AlignedFrame], audio: AudioWindows, plan: WindowPlan) -> Iterator[FrameGroup]:
    """Groups of up to ``length * stride`` frames with their windows, in order; every frame is in exactly one group."""
    pending: list[AlignedFrame] = []
    number = 0
    reference: AlignedFrame | None = None
    for aligned in frames:
        full = len(pending) == plan.length * plan.stride
        if pending and (full or (plan.split_at_cuts and _is_cut(pending[-1], aligned))):
            reference = _reference_of(pending, reference, plan)
            group = _make_group(pending, reference, audio, plan, number)
            number += len(group.windows)
            yield group
            pending = []
        pending.append(aligned)
    if pending:
        yield _make_group(pending, _reference_of(pending, reference, plan), audio, plan, number)


def _reference_of(members: list[AlignedFrame], before: AlignedFrame | None, plan: WindowPlan) -> AlignedFrame | None:
    """The first frame with a face in the shot of ``members``, where ``before`` is the one of the group before."""
    if not plan.steady_reference:
        return None
    if before is not None and before.shot == members[0].shot:
        return before
    return next((member for member in members if member.face is not None), None)


def _is_cut(before: AlignedFrame, after: AlignedFrame) -> bool:
    """A new shot, or a jump of the playing order (a loop starts again)."""
    return after.shot != before.shot or after.frame.index < before.frame.index - 1


def _make_group(
    members: list[AlignedFrame],
    reference: AlignedFrame | None,
    audio: AudioWindows,
    plan: WindowPlan,
    number: int,
) -> FrameGroup:
    windows: list[Window] = []
    whole = None if reference is None else reference.face.pixels
    slots: list[tuple[int, int] | None] = [None] * len(members)
    for phase in range(plan.stride):
        positions = range(phase, len(members), plan.stride)
        chosen = [members[position] for position in positions]
        found = [k for k, member in enumerate(chosen) if member.face is not None]
        if not found:
            continue
        for k in found:
            slots[positions[k]] = (len(windows), k)
        donors = [min(found, key=lambda other: abs(other - k)) for k in range(len(chosen))]
        faces = [chosen[donor].face.pixels for donor in donors]
        tokens = [audio.window(member.frame.time) for member in chosen]
        if plan.fill_last:
            missing = plan.length - len(chosen)
            faces += [faces[-1]] * missing
            tokens += [tokens[-1]] * missing
        windows.append(Window(number + len(windows), np.stack(faces), np.stack(tokens), whole))
    return FrameGroup(tuple(members), tuple(windows), tuple(slots))


def ramp_at_gaps(frames: Iterator[AlignedFrame], length: int) -> Iterator[AlignedFrame]:
    """Fade the generated mouth out towards a gap and in after it, over ``length`` frames on each side.

    So nothing pops where the face is lost in the middle of a shot. Cuts and the ends of the video do not ramp. Looks
    ``length`` frames ahead. ``length`` 0 changes nothing.
    """
    waiting: deque[AlignedFrame] = deque()
    since_gap = length  # frames with a face since the last one without, in this shot
    previous: AlignedFrame | None = None

    def emit() -> AlignedFrame:
        nonlocal since_gap, previous
        member = waiting.popleft()
        if previous is not None and _is_cut(previous, member):
            since_gap = length
        previous = member
        if member.face is None:
            since_gap = 0
            return member
        until_gap = _frames_until_gap(member, waiting, length)
        strength = (min(since_gap, until_gap, length) + 1) / (length + 1)
        since_gap = min(since_gap + 1, length)
        return replace(member, strength=strength) if strength < 1 else member

    for member in frames:
        waiting.append(member)
        if len(waiting) > length:
            yield emit()
    while waiting:
        yield emit()


def _frames_until_gap(member: AlignedFrame, following: Iterable[AlignedFrame], length: int) -> int:
    last = member
    for distance, other in enumerate(following):
        if _is_cut(last, other):
            break
        if other.face is None:
            return distance
        last = other
    return length
