"""Generated faces back into their frames, in order, on two threads where the work allows it.

What is measured on a face to fit it into its frame is noisy, so it is smoothed over the frames around it: as many
before as after, so that nothing lags behind, and within one shot. A frame depends on no frame further away than that,
so an excerpt of a result shows what the whole shows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from latentsync.face.color_match import mean_fit
from latentsync.face.compat import paste_compat
from latentsync.face.paste import FaceFit, FacePaster
from latentsync.face.paste_settings import PasteSettings
from latentsync.inference.joins import GeneratedFrame, JoinedFrame
from latentsync.inference.record import StageClock
from latentsync.inference.windows import PassedFrame, is_cut
from latentsync.stream import parallel_map
from latentsync.types import Compat, Frame

PASTE_WORKERS = 2
FIT_REACH = 6  # frames before and after that the fit of a face is smoothed with


@dataclass(frozen=True, slots=True)
class FittedFrame:
    """A generated frame with what brings its face into it; of a frame that passes through there is no fit."""

    member: JoinedFrame
    fit: FaceFit | None


def with_steady_fits(
    frames: Iterator[JoinedFrame], measure: Callable[[GeneratedFrame], FaceFit]
) -> Iterator[FittedFrame]:
    """Each frame with its fit, smoothed over ``FIT_REACH`` frames before and after it; looks so many frames ahead.

    ``measure`` gives the fit of a frame alone. No fit is smoothed across a cut. The weights fall linearly with the
    distance in time. The movement of the jaw is not averaged: it is the largest of the movements around, each as far as
    its weight goes, so the outline reaches where the jaw is and no jump is left.
    """
    around: deque[FittedFrame] = deque()  # up to FIT_REACH frames that were given out, then those that wait
    given_out = 0
    for member in frames:
        if around and is_cut(around[-1].member, member):
            for position in range(given_out, len(around)):
                yield _smoothed(around, position)
            around.clear()
            given_out = 0
        around.append(FittedFrame(member, None if isinstance(member, PassedFrame) else measure(member)))
        if len(around) - given_out > FIT_REACH:
            yield _smoothed(around, given_out)
            given_out += 1
            if given_out > FIT_REACH:
                around.popleft()
                given_out -= 1
    for position in range(given_out, len(around)):
        yield _smoothed(around, position)


def _smoothed(around: deque[FittedFrame], position: int) -> FittedFrame:
    """The frame at ``position`` with the fit of those around it."""
    member = around[position].member
    if isinstance(member, PassedFrame):
        return around[position]
    near = range(max(0, position - FIT_REACH), min(len(around), position + FIT_REACH + 1))
    weighted = [(1 - abs(k - position) / (FIT_REACH + 1), fit) for k in near if (fit := around[k].fit) is not None]
    weights, fits = zip(*weighted, strict=True)
    jaws = [weight * fit.jaw for weight, fit in weighted]
    lowest, highest = max(0.0, *jaws), min(0.0, *jaws)
    return FittedFrame(
        member, FaceFit(mean_fit([fit.color for fit in fits], weights), lowest if lowest >= -highest else highest)
    )


class Compositor:
    """Pastes the mouths of one run. ``keep_mask`` (1, R, R) float32, 1 = keep; ``compat``: paste as that release does,
    whatever the ``settings`` say."""

    def __init__(
        self, keep_mask: np.ndarray, settings: PasteSettings, compat: Compat | None, clock: StageClock
    ) -> None:
        self._keep_mask = keep_mask
        self._compat = compat
        self._paster = FacePaster(keep_mask, settings)
        self._clock = clock

    def paste(self, frames: Iterator[JoinedFrame]) -> Iterator[Frame]:
        """Frames in order; those that pass through are the decoded ones, untouched."""
        if self._compat is None:
            return parallel_map(self.paste_one, with_steady_fits(frames, self.measure), PASTE_WORKERS)
        compat = self._compat
        return parallel_map(lambda frame: self._paste_compat(frame, compat), frames, PASTE_WORKERS)

    def measure(self, generated: GeneratedFrame) -> FaceFit:
        """The fit of a frame alone."""
        source = generated.source
        with self._clock.measure("paste"):
            return self._paster.fit(generated.face, source.face, source.frame.shape, source.observation.landmarks)

    def paste_one(self, fitted: FittedFrame) -> Frame:
        """The frame with its face; may run in any thread."""
        member, fit = fitted.member, fitted.fit
        if isinstance(member, PassedFrame) or fit is None:
            return member.frame
        source = member.source
        with self._clock.measure("paste"):
            return self._paster.paste(
                source.frame,
                member.face,
                source.face,
                fit,
                landmarks=source.observation.landmarks,
                strength=source.strength,
                visible=source.visible,
            )

    def _paste_compat(self, generated: JoinedFrame, compat: Compat) -> Frame:
        if isinstance(generated, PassedFrame):
            return generated.frame
        source = generated.source
        with self._clock.measure("paste"):
            canvas = generated.face * (1 - self._keep_mask) + source.face.pixels * self._keep_mask
            pixels = paste_compat(source.frame.pixels, canvas, source.face.matrix, compat)
        return source.frame.patched((0, 0, pixels.shape[1], pixels.shape[0]), pixels)
