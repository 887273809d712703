"""Which faces are left alone because of how they are seen: turned away, too small, cut by the edge of the frame; and
what a report says of how all of them were seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from latentsync.face.tracks import TargetFrame
from latentsync.face.visibility import LIMITS, assess
from latentsync.inference.options import SyncOptions
from latentsync.inference.windows import AlignedFrame, PassedFrame
from latentsync.types import VideoInfo

OCCLUDED = "something before the face"
FADING = "fading beside a gap"
_TOLERANCE = 0.5  # of confidence within a span
_MOST_SPANS = 1000  # before confidence no longer separates spans


class VisibilityLimits:
    """The limits of ``options.visibility`` in one video; none with ``compat``.

    ``ramps``: reason of a frame that passes -> frames over which the mouth fades beside it (``windows.ramp_at_gaps``).
    """

    def __init__(self, options: SyncOptions, info: VideoInfo) -> None:
        self._settings = options.visibility
        self._size = (info.width, info.height)
        self._pixel_aspect = info.sample_aspect_ratio
        self._apply = options.compat is None and self._settings.has_limits
        self.ramps: Mapping[str, int] = {}
        if self._apply:
            self.ramps = {reason: max(options.ramp, self._settings.fade) for reason in LIMITS}

    @property
    def reach(self) -> int:
        """Frames before and after its own that decide how much of a generated mouth is shown."""
        return max(self.ramps.values(), default=0)

    def apply(self, targets: Iterator[TargetFrame]) -> Iterator[TargetFrame]:
        """The targets with their confidence; without a face where it is beyond a limit, so nothing is generated."""
        for target in targets:
            if target.face is None:
                yield replace(target, confidence=0.0)
            elif self._apply:
                seen = assess(target.face, self._size, self._settings, self._pixel_aspect)
                face = None if seen.reason else target.face
                yield replace(target, face=face, reason=seen.reason, confidence=seen.confidence)
            else:
                yield replace(target, confidence=target.face.score)


@dataclass(slots=True)
class SeenSpan:
    """Frames ``first`` to ``last`` of the result (both included) that were seen alike.

    ``reason``: why the generated mouth is not shown as it is there, or empty. ``confidence``: mean over the frames, 0
    to 1, and ``lowest``.
    """

    first: int
    last: int
    reason: str
    confidence: float
    lowest: float

    def takes(self, other: SeenSpan, tolerance: float) -> bool:
        """Whether a span that follows was taken in, because it is alike."""
        if other.reason != self.reason or abs(other.confidence - self.confidence) > tolerance:
            return False
        mine, theirs = self.last - self.first + 1, other.last - other.first + 1
        self.confidence = (self.confidence * mine + other.confidence * theirs) / (mine + theirs)
        self.last, self.lowest = other.last, min(self.lowest, other.lowest)
        return True


class SeenSpans:
    """How all frames of a run were seen, in few spans."""

    def __init__(self) -> None:
        self.spans: list[SeenSpan] = []
        self._tolerance = _TOLERANCE

    def add(self, number: int, member: AlignedFrame) -> None:
        """The next frame of the result."""
        reason, confidence = seen_as(member)
        self._append(SeenSpan(number, number, reason, confidence, confidence))
        if len(self.spans) > _MOST_SPANS and self._tolerance < 1:
            self._tolerance, spans, self.spans = 1.0, self.spans, []
            for span in spans:
                self._append(span)

    def _append(self, span: SeenSpan) -> None:
        if not self.spans or not self.spans[-1].takes(span, self._tolerance):
            self.spans.append(span)

    def to_list(self) -> list[dict[str, Any]]:
        """Plain values, for JSON."""
        return [
            asdict(span) | {"confidence": round(span.confidence, 3), "lowest": round(span.lowest, 3)}
            for span in self.spans
        ]


def seen_as(member: AlignedFrame) -> tuple[str, float]:
    """Why the generated mouth of a frame is not shown as it is, or empty; and the confidence, 0 to 1."""
    if isinstance(member, PassedFrame):
        return member.reason, 0.0
    reason = OCCLUDED if member.visible is not None else FADING if member.strength < 1 else ""
    return reason, member.confidence
