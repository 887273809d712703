"""Groups of generated windows back into frames in order, without a jump from one window to the next.

Windows are generated on their own, so what two of them give for the same frame differs. Neighbouring windows of a run
share a few frames (``WindowPlan.overlap``), where that difference can be seen. It fades in equal steps from frame to
frame: over the shared frames, and over ``WindowPlan.reach`` frames before and after them, which only one window has
and where the difference at the nearest shared frame stands for their own. So one shared frame makes a join as smooth
as a blend over many, for a fifteenth of the work more. docs/experiments/joins.md compares this with other ways.

Of a group only the last few frames wait for the next one. Where none may wait (``WindowPlan.at_once``), a shared frame
shows what the earlier window gave, and the difference fades over the ``reach`` frames after it. R face side
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from latentsync.inference.batching import GeneratedGroup
from latentsync.inference.windows import FaceFrame, PassedFrame, WindowPlan
from latentsync.types import Frame


@dataclass(frozen=True, slots=True)
class GeneratedFrame:
    """A frame with its generated face (3, R, R) float32 in [-1, 1]."""

    source: FaceFrame
    face: np.ndarray

    @property
    def frame(self) -> Frame:
        """The frame of the source."""
        return self.source.frame

    @property
    def shot(self) -> int:
        """Its number."""
        return self.source.shot


JoinedFrame = GeneratedFrame | PassedFrame
_Members = list[JoinedFrame | None]  # of one group; None for a face that only the group before has


def frames_of(groups: Iterator[GeneratedGroup], refused: Mapping[int, str], plan: WindowPlan) -> Iterator[JoinedFrame]:
    """Take the groups apart again, frame by frame in order, each frame once.

    ``refused``: number of a window that must not be shown -> what the network gave; its frames pass through, and the
    window beside it fades in or out where the two would have been joined. It is asked when a group arrives. A group
    whose neighbour is missing, at the edge of an excerpt, is not joined there.
    """
    if plan.at_once:
        yield from _frames_at_once(groups, refused, plan)
        return
    held: _Members = []  # the last frames of the group before, if the next one shares some of them
    for generated in groups:
        group = generated.group
        members = _members(generated, refused)
        first = 0
        if held and group.before:
            _join(held, members, plan)
            first = group.before
        yield from filter(None, held)
        last = len(members) - (group.after + plan.reach if group.after else 0)
        yield from filter(None, members[first:last])
        held = members[last:]
    yield from filter(None, held)


def _frames_at_once(
    groups: Iterator[GeneratedGroup], refused: Mapping[int, str], plan: WindowPlan
) -> Iterator[JoinedFrame]:
    """The same where no frame waits for the group after its own."""
    shown: _Members = []  # of the frames that two groups share, what the earlier one gave
    for generated in groups:
        group = generated.group
        members = _members(generated, refused)
        if shown and group.before:
            _join_after(shown, members, plan)
        yield from filter(None, members[group.before :])
        shown = members[len(members) - plan.shared :] if group.after else []


def _join_after(shown: _Members, members: _Members, plan: WindowPlan) -> None:
    """Bring ``members`` near to the shared frames as these were ``shown``: less and less over ``reach`` frames.

    Beside a window that was refused the mouth fades in. It cannot fade out, because those frames have been shown.
    """
    shared, reach, stride = plan.shared, plan.reach, plan.stride
    for position in range(shared, min(shared + reach, len(members))):
        nearest = shared - stride + position % stride  # dealt to the same two windows
        earlier, later = shown[nearest], members[nearest]
        share = (shared + reach - position) / (reach + 1)  # of the difference
        if isinstance(earlier, GeneratedFrame) and isinstance(later, GeneratedFrame):
            members[position] = _shifted(members[position], np.float32(share) * (earlier.face - later.face))
        elif isinstance(earlier, PassedFrame) and isinstance(later, GeneratedFrame):
            members[position] = _faded(members[position], 1 - share)


def _members(generated: GeneratedGroup, refused: Mapping[int, str]) -> _Members:
    found: _Members = []
    slots = iter(generated.group.slots)
    for member in generated.group.frames:
        if isinstance(member, PassedFrame):
            found.append(member)
            continue
        slot = next(slots)
        if slot is None:
            found.append(None)
            continue
        window, position = slot
        fault = refused.get(generated.group.windows[window].number)
        if fault is None:
            found.append(GeneratedFrame(member, generated.faces[window][position]))
        else:
            found.append(PassedFrame(member.frame, member.shot, f"the network gave {fault}"))
    return found


def _join(held: _Members, members: _Members, plan: WindowPlan) -> None:
    """Join two groups in place: ``held`` ends with the shared frames, which ``members`` begins with.

    Each frame takes the difference at the nearest shared frame that was dealt to the same two windows.
    """
    shared, reach, stride = plan.shared, plan.reach, plan.stride
    pairs = list(zip(held[reach:], members[:shared], strict=True))
    for position in range(-reach, min(shared + reach, len(members))):  # 0: the first shared frame
        earlier, later = pairs[min(max(position, position % stride), shared - stride + position % stride)]
        frames, index = (held, reach + position) if position < shared else (members, position)
        if isinstance(earlier, GeneratedFrame) and isinstance(later, GeneratedFrame):
            weight = (position + reach + 1) / (shared + 2 * reach + 1)  # of the later window
            share = weight if position < shared else weight - 1  # of the difference, that the frame's own window lacks
            frames[index] = _shifted(frames[index], np.float32(share) * (later.face - earlier.face))
        elif isinstance(earlier, GeneratedFrame) and isinstance(later, PassedFrame) and position < shared:
            frames[index] = _faded(frames[index], (shared - position) / (shared + reach + 1))
        elif isinstance(earlier, PassedFrame) and isinstance(later, GeneratedFrame) and position >= 0:
            shown = later if position < shared else members[position]
            frames[index] = _faded(shown, (position + 1) / (shared + reach + 1))


def _shifted(member: JoinedFrame | None, difference: np.ndarray) -> JoinedFrame | None:
    return replace(member, face=member.face + difference) if isinstance(member, GeneratedFrame) else member


def _faded(member: JoinedFrame | None, share: float) -> JoinedFrame | None:
    """With only a ``share`` in (0, 1) of the generated mouth."""
    if not isinstance(member, GeneratedFrame):
        return member
    return replace(member, source=replace(member.source, strength=member.source.strength * share))
