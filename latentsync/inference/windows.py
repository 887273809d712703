"""Cutting a stream of aligned faces into the windows of F frames that the network generates together.

A window has a face for every frame. A frame without a face takes the nearest face of its window, and what is generated
for it is thrown away; where no frame has a face, there is no window. A window never spans a cut. The last window is
filled up by repeating its last frame, because the network's group norms see all frames of a window together, so a
shorter window gives other values (the published code does run it shorter: ``WindowPlan.for_compat``).

Above 37.5 fps neighbouring frames are closer in time than the frames that the motion modules were trained on. The
frames of a group are then dealt out to several windows: at 50 fps the even ones to one, the odd ones to another, so
that each window has 25 fps.

Each window is generated on its own, so the mouth jumps a little from the last frame of one to the first of the next.
Neighbouring windows of a run (frames without a cut between them) therefore overlap: a frame or more that both hold are
generated twice, and show what has to be smoothed (``joins``).

The network sees every face twice: masked, and whole as the reference. In the published code both are the same frame,
whose mouth moves, and a little of that movement comes through. A steady reference is the first face of the shot
instead: nothing moves in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from types import MappingProxyType
from typing import Protocol

import numpy as np

from latentsync.constants import MODEL_FPS, WINDOW_FRAMES
from latentsync.errors import ConfigError
from latentsync.types import AlignedFace, AudioWindows, Compat, FaceObservation, Frame, Window

REACH = 5  # frames of a window, on either side of those that it shares with a neighbour


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
    """A frame in playing order that passes through unchanged, and the ``reason``.

    ``fades``: over how many frames the generated mouth fades out towards it, and in after it; None: as is usual for the
    reason (``ramp_at_gaps``).
    """

    frame: Frame
    shot: int
    reason: str
    fades: tuple[int | None, int | None] = (None, None)


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
    that window), or None where only the group before has one. The first ``before`` frames are the last ones of the
    group before, the last ``after`` frames the first ones of the group after. ``role``: number of the person whose face
    it is about (``inference.scene``).
    """

    frames: tuple[AlignedFrame, ...]
    windows: tuple[Window, ...]
    slots: tuple[tuple[int, int] | None, ...]
    before: int = 0
    after: int = 0
    role: int = 0


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """How frames are cut into windows.

    ``length``: frames per window. ``stride``: windows that the frames of a group are dealt out to. ``fill_last``:
    repeat the last frame to fill up a window. ``split_at_cuts``: no window spans a cut. ``steady_reference``: one
    reference for a whole shot; needs ``split_at_cuts``. ``overlap``: frames that a window has in common with the next
    one of a run, at most half of ``length``. ``at_once``: no frame waits for the window after its own, so what sets
    two windows apart fades in the later one alone (``joins``). Raises ``ConfigError`` for another overlap.
    """

    length: int = WINDOW_FRAMES
    stride: int = 1
    fill_last: bool = True
    split_at_cuts: bool = True
    steady_reference: bool = False
    overlap: int = 0
    at_once: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= self.length // 2:
            raise ConfigError(
                f"Windows of {self.length} frames cannot overlap by {self.overlap}.",
                remedy=f"Give a whole number from 0 to {self.length // 2} as --overlap.",
            )

    @classmethod
    def for_run(
        cls, compat: Compat | None, fps: Fraction, length: int, steady_reference: bool, overlap: int | None = None
    ) -> WindowPlan:
        """The plan for the networks' ``length`` and ``steady_reference``, as ``compat`` asks for; then windows do not
        overlap. ``overlap`` None: ``default_overlap``."""
        if compat is not None:
            return cls.for_compat(length)
        overlap = default_overlap(length) if overlap is None else overlap
        return cls.for_rate(fps, length, steady_reference, overlap)

    @classmethod
    def for_rate(
        cls, fps: Fraction, length: int = WINDOW_FRAMES, steady_reference: bool = False, overlap: int = 0
    ) -> WindowPlan:
        """The plan for a video of ``fps`` frames per second."""
        stride = max(1, round(fps / MODEL_FPS))
        return cls(length=length, stride=stride, steady_reference=steady_reference, overlap=overlap)

    @classmethod
    def for_compat(cls, length: int = WINDOW_FRAMES) -> WindowPlan:
        """As in all published releases: consecutive frames, a shorter last window, cuts ignored."""
        return cls(length=length, fill_last=False, split_at_cuts=False)

    @property
    def group_length(self) -> int:
        """Frames of a group whose windows are full."""
        return self.length * self.stride

    @property
    def shared(self) -> int:
        """Frames that a group has in common with the next one of a run."""
        return self.overlap * self.stride

    @property
    def step(self) -> int:
        """Frames from the start of a group to that of the next one of a run."""
        return self.group_length - self.shared

    @property
    def reach(self) -> int:
        """Frames before and after the shared ones of two groups that are joined too; so few that no frame belongs to
        two joins."""
        return self.stride * min(REACH, (self.length - 2 * self.overlap) // 2) if self.overlap else 0

    def windows_in(self, frames: int) -> int:
        """How many windows a run of ``frames`` frames has, all with a face."""
        more = max(0, frames - self.group_length)  # than the first group holds
        if not more:
            return min(self.stride, frames)
        further = ceil(more / self.step)
        return further * self.stride + min(self.stride, more - (further - 1) * self.step)


def default_overlap(length: int) -> int:
    """Frames, for windows of ``length`` frames (docs/experiments/joins.md)."""
    return min(1, length // 2)


def group_frames(
    frames: Iterator[AlignedFrame],
    audio: AudioWindows,
    plan: WindowPlan,
    begins: Callable[[Frame, Frame], bool] = lambda before, after: False,
) -> Iterator[FrameGroup]:
    """Groups of up to ``plan.group_length`` frames with their windows, in order.

    Every frame is in one group, or in two where these overlap. ``begins(before, after)``: whether a run begins
    between two frames although there is no cut.
    """
    pending: list[AlignedFrame] = []
    number = before = 0
    reference: FaceFrame | None = None
    for aligned in frames:
        if pending:
            ends = begins(pending[-1].frame, aligned.frame) or (plan.split_at_cuts and is_cut(pending[-1], aligned))
            if ends or len(pending) == plan.group_length:
                after = 0 if ends else plan.shared
                reference = _reference_of(pending, reference, plan)
                group = _make_group(pending, reference, audio, plan, number, before, after)
                number += len(group.windows)
                yield group
                pending, before = pending[len(pending) - after :], after
        pending.append(aligned)
    if pending:
        yield _make_group(pending, _reference_of(pending, reference, plan), audio, plan, number, before, 0)


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
    before: int,
    after: int,
) -> FrameGroup:
    windows: list[Window] = []
    slots: dict[int, tuple[int, int] | None] = {}  # by position in the group
    for phase in range(plan.stride):
        positions = range(phase, len(members), plan.stride)
        chosen = [members[position] for position in positions]
        known = {k: member.face for k, member in enumerate(chosen) if isinstance(member, FaceFrame)}
        if all(positions[k] < before for k in known):  # the group before has them all
            slots |= dict.fromkeys(positions[k] for k in known)
            continue
        for k in known:
            slots[positions[k]] = (len(windows), k)
        faces = [known[_nearest(k, known)] for k in range(len(chosen))]
        tokens = [audio.window(member.frame.time) for member in reversed(chosen)][::-1]  # see ``AudioWindows``
        if plan.fill_last:
            missing = plan.length - len(chosen)
            faces += [faces[-1]] * missing
            tokens += [tokens[-1]] * missing
        keys = tuple(face.key for face in faces)
        windows.append(
            Window(
                number + len(windows),
                np.stack([face.pixels for face in faces]),
                np.stack(tokens),
                None if reference is None else reference.face.pixels,
                keys if all(keys) else (),
                b"" if reference is None else reference.face.key,
            )
        )
    by_position = tuple(slots[position] for position in sorted(slots))
    return FrameGroup(tuple(members), tuple(windows), by_position, before, after)


def _nearest(position: int, known: Iterable[int]) -> int:
    """The one of ``known`` that is nearest to ``position``; of two, the first."""
    return min(known, key=lambda other: abs(other - position))


def ramp_at_gaps(
    frames: Iterator[AlignedFrame], length: int, longer: Mapping[str, int] = MappingProxyType({})
) -> Iterator[AlignedFrame]:
    """Fade the generated mouth out towards a gap and in after it, over ``length`` frames on each side.

    So nothing jumps where the face is lost in the middle of a shot. There is no ramp at cuts and at the ends of the
    video. ``longer``: reason of a ``PassedFrame`` -> length of the ramps beside it, or the longest one where the frame
    itself says it (``PassedFrame.fades``). Looks as many frames ahead as the longest ramp; lengths of 0 change nothing.
    """
    furthest = max([length, *longer.values()])
    waiting: deque[AlignedFrame] = deque()
    behind: deque[AlignedFrame] = deque(maxlen=furthest)

    def ramp_beside(gap: PassedFrame, side: int) -> int:
        own = gap.fades[side]
        return longer.get(gap.reason, length) if own is None else own

    def emit() -> AlignedFrame:
        member = waiting.popleft()
        if isinstance(member, FaceFrame):
            before = _gaps_beside(member, reversed(behind), lambda near, far: is_cut(far, near))
            after = _gaps_beside(member, waiting, is_cut)
            gaps = [*((*gap, 1) for gap in before), *((*gap, 0) for gap in after)]
            levels = [distance / (ramp_beside(gap, side) + 1) for distance, gap, side in gaps]
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
