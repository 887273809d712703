"""Cutting a stream of aligned faces into the windows of F frames that the network generates together.

A window has a face for every frame. A frame without a face takes the nearest face of its window, and what is generated
for it is thrown away; where no frame has a face, there is no window. A window never spans a cut. The last window is
filled up by repeating its last frame, because the network's group norms see all frames of a window together, so a
shorter window gives other values (the published code does run it shorter: ``WindowPlan.for_compat``).

Above 37.5 fps neighbouring frames are closer in time than the frames that the motion modules were trained on. The
frames of a group are then dealt out to several windows: at 50 fps the even ones to one, the odd ones to another, so
that each window has 25 fps.

The network sees every face twice: masked, and whole as the reference. In the published code both are the same frame,
whose mouth moves, and a little of that movement comes through. A steady reference is the first face of the shot
instead: nothing moves in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType
from typing import Protocol

import numpy as np

from latentsync.constants import MODEL_FPS, WINDOW_FRAMES
from latentsync.types import AlignedFace, AudioWindows, Compat, FaceObservation, Frame, Window


@dataclass(frozen=True, slots=True)
class FaceFrame:
    """A frame in playing order, with the aligned face that is generated anew.

    ``observation``: the face in the frame, with its landmarks. ``strength`` in [0, 1] is how much of the generated
    mouth the paste shows: less than 1 beside a gap. ``visible`` (R, R) float32 in [0, 1] on the canvas: where it may be
    painted at all, 0 = something is in front of the face; None = everywhere. ``confidence``: see ``TargetFrame``.
    """

    frame: Frame
    face: AlignedFace
    shot: int
    observation: FaceObservation
    strength: float = 1.0
    visible: np.ndarray | None = None
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class PassedFrame:
    """A frame in playing order that passes through unchanged, and the ``reason``."""

    frame: Frame
    shot: int
    reason: str


AlignedFrame = FaceFrame | PassedFrame


class InShot(Protocol):
    """A frame with the number of its shot."""

    @property
    def frame(self) -> Frame:
        """The frame itself."""

    @property
    def shot(self) -> int:
        """Which shot it belongs to."""


@dataclass(frozen=True, slots=True)
class FrameGroup:
    """Consecutive frames and the windows made of them.

    ``slots`` says for each ``FaceFrame`` in order where its generated face will be: (index into ``windows``, frame of
    that window).
    """

    frames: tuple[AlignedFrame, ...]
    windows: tuple[Window, ...]
    slots: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """How frames are cut into windows.

    ``length``: frames per window. ``stride``: windows that the frames of a group are dealt out to. ``fill_last``:
    repeat the last frame to fill up a window. ``split_at_cuts``: no window spans a cut. ``steady_reference``: one
    reference for a whole shot; needs ``split_at_cuts``.
    """

    length: int = WINDOW_FRAMES
    stride: int = 1
    fill_last: bool = True
    split_at_cuts: bool = True
    steady_reference: bool = False

    @classmethod
    def for_run(cls, compat: Compat | None, fps: Fraction, length: int, steady_reference: bool) -> WindowPlan:
        """The plan for the networks' ``length`` and ``steady_reference``, as ``compat`` asks for."""
        return cls.for_rate(fps, length, steady_reference) if compat is None else cls.for_compat(length)

    @classmethod
    def for_rate(cls, fps: Fraction, length: int = WINDOW_FRAMES, steady_reference: bool = False) -> WindowPlan:
        """The default plan for a video of ``fps`` frames per second."""
        return cls(length=length, stride=max(1, round(fps / MODEL_FPS)), steady_reference=steady_reference)

    @classmethod
    def for_compat(cls, length: int = WINDOW_FRAMES) -> WindowPlan:
        """As in all published releases: consecutive frames, a shorter last window, cuts ignored."""
        return cls(length=length, fill_last=False, split_at_cuts=False)


def group_frames(frames: Iterator[AlignedFrame], audio: AudioWindows, plan: WindowPlan) -> Iterator[FrameGroup]:
    """Groups of up to ``length * stride`` frames with their windows, in order; every frame is in exactly one group."""
    pending: list[AlignedFrame] = []
    number = 0
    reference: FaceFrame | None = None
    for aligned in frames:
        full = len(pending) == plan.length * plan.stride
        if pending and (full or (plan.split_at_cuts and is_cut(pending[-1], aligned))):
            reference = _reference_of(pending, reference, plan)
            group = _make_group(pending, reference, audio, plan, number)
            number += len(group.windows)
            yield group
            pending = []
        pending.append(aligned)
    if pending:
        yield _make_group(pending, _reference_of(pending, reference, plan), audio, plan, number)


def _reference_of(members: list[AlignedFrame], before: FaceFrame | None, plan: WindowPlan) -> FaceFrame | None:
    """The first frame with a face in the shot of ``members``; ``before`` is that of the group before."""
    if not plan.steady_reference:
        return None
    if before is not None and before.shot == members[0].shot:
        return before
    return next((member for member in members if isinstance(member, FaceFrame)), None)


def is_cut(before: InShot, after: InShot) -> bool:
    """A new shot, or a jump of the playing order (a loop starts again)."""
    return after.shot != before.shot or after.frame.index < before.frame.index - 1


def _make_group(
    members: list[AlignedFrame],
    reference: FaceFrame | None,
    audio: AudioWindows,
    plan: WindowPlan,
    number: int,
) -> FrameGroup:
    windows: list[Window] = []
    slots: dict[int, tuple[int, int]] = {}  # by position in the group
    for phase in range(plan.stride):
        positions = range(phase, len(members), plan.stride)
        chosen = [members[position] for position in positions]
        known = {k: member.face for k, member in enumerate(chosen) if isinstance(member, FaceFrame)}
        if not known:
            continue
        for k in known:
            slots[positions[k]] = (len(windows), k)
        faces = [known[_nearest(k, known)] for k in range(len(chosen))]
        tokens = [audio.window(member.frame.time) for member in chosen]
        if plan.fill_last:
            missing = plan.length - len(chosen)
            faces += [faces[-1]] * missing
            tokens += [tokens[-1]] * missing
        windows.append(
            Window(
                number + len(windows),
                np.stack([face.pixels for face in faces]),
                np.stack(tokens),
                None if reference is None else reference.face.pixels,
                tuple(face.key for face in faces),
                b"" if reference is None else reference.face.key,
            )
        )
    return FrameGroup(tuple(members), tuple(windows), tuple(slot for _, slot in sorted(slots.items())))


def _nearest(position: int, known: Iterable[int]) -> int:
    """The one of ``known`` that is nearest to ``position``; of two, the first."""
    return min(known, key=lambda other: abs(other - position))


def ramp_at_gaps(
    frames: Iterator[AlignedFrame], length: int, longer: Mapping[str, int] = MappingProxyType({})
) -> Iterator[AlignedFrame]:
    """Fade the generated mouth out towards a gap and in after it, over ``length`` frames on each side.

    So nothing jumps where the face is lost in the middle of a shot. There is no ramp at cuts and at the ends of the
    video. ``longer``: reason of a ``PassedFrame`` -> length of the ramps beside it. Looks as many frames ahead as the
    longest ramp; lengths of 0 change nothing.
    """
    furthest = max([length, *longer.values()])
    waiting: deque[AlignedFrame] = deque()
    behind: deque[AlignedFrame] = deque(maxlen=furthest)

    def emit() -> AlignedFrame:
        member = waiting.popleft()
        if isinstance(member, FaceFrame):
            before = _gaps_beside(member, reversed(behind), lambda near, far: is_cut(far, near))
            gaps = [*before, *_gaps_beside(member, waiting, is_cut)]
            levels = [distance / (longer.get(gap.reason, length) + 1) for distance, gap in gaps]
            strength = min([member.strength, *levels])
            behind.append(member)
            return replace(member, strength=strength) if strength < member.strength else member
        behind.append(member)
        return member

    for member in frames:
        waiting.append(member)
        if len(waiting) > furthest:
            yield emit()
    while waiting:
        yield emit()


def _gaps_beside(
    member: AlignedFrame, others: Iterable[AlignedFrame], between: Callable[[AlignedFrame, AlignedFrame], bool]
) -> Iterator[tuple[int, PassedFrame]]:
    """The frames without a face among ``others``, which go away from ``member``, up to the next cut; with distances.

    ``between(last, other)``: whether there is a cut between the two.
    """
    last = member
    for distance, other in enumerate(others, 1):
        if between(last, other):
            break
        if isinstance(other, PassedFrame):
            yield distance, other
        last = other
