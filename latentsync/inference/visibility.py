"""Which faces are left alone because of how they are seen: turned away, too small, cut by the edge of the frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from latentsync.face.tracks import TargetFrame
from latentsync.face.visibility import LIMITS, assess
from latentsync.inference.options import SyncOptions
from latentsync.types import VideoInfo


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
