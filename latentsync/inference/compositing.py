"""Generated faces back into their frames, in order, on two threads where the work allows it.

What is measured on a face to fit it into its frame is noisy, so it is smoothed over the frames around it: as many
before as after, so that nothing lags behind, and within one shot. A frame depends on no frame further away than that,
so an excerpt of a result shows what the whole shows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np

from latentsync.face.box import longer_side
from latentsync.face.color_match import mean_fit
from latentsync.face.compat import paste_compat
from latentsync.face.paste import FaceFit, FacePaster
from latentsync.face.paste_settings import PasteSettings
from latentsync.inference.enhance import enhanced, load_enhancer
from latentsync.inference.joins import GeneratedFrame, JoinedFrame
from latentsync.inference.record import StageClock
from latentsync.inference.scene import OUTSIDE
from latentsync.inference.windows import PassedFrame, is_cut
from latentsync.stream import deal, parallel_map
from latentsync.types import Compat, Frame

PASTE_WORKERS = 2
FIT_REACH = 6  # frames before and after that the fit of a face is smoothed with
Row = tuple[JoinedFrame, ...]  # one frame as it is for each role of the run


@dataclass(frozen=True, slots=True)
class FittedFrame:
    """A generated frame with what brings its face into it; of a frame that passes through there is no fit.
    ``colored``: whether its own colors were compared."""

    member: JoinedFrame
    fit: FaceFit | None
    colored: bool = True


def with_steady_fits(
    frames: Iterator[JoinedFrame], measure: Callable[[GeneratedFrame, bool], FaceFit], ahead: int = FIT_REACH
) -> Iterator[FittedFrame]:
    """Each frame with its fit, smoothed over ``FIT_REACH`` frames before and ``ahead`` frames after it, for which it
    waits.

    ``measure`` gives the fit of a frame alone, with its colors or without them: they are compared in every other frame
    of the source, and wherever the frame before was none of those (``_compares_colors``). No fit is smoothed across a
    cut. Colors are taken from a straight line, fitted with weights that fall with the distance in time (local
    regression, Cleveland 1979). The movement of the jaw is not averaged: it is the largest of the movements around,
    each times its weight, so the outline reaches where the jaw is, and does not jump.
    """
    around: deque[FittedFrame] = deque()  # up to FIT_REACH frames that were given out, then those that wait
    given_out = 0
    for member in frames:
        if around and is_cut(around[-1].member, member):
            for position in range(given_out, len(around)):
                yield _smoothed(around, position)
            around.clear()
            given_out = 0
        if isinstance(member, PassedFrame):
            around.append(FittedFrame(member, None))
        else:
            colored = _compares_colors(member, around[-1] if around else None)
            around.append(FittedFrame(member, measure(member, colored), colored))
        if len(around) - given_out > ahead:
            yield _smoothed(around, given_out)
            given_out += 1
            if given_out > FIT_REACH:
                around.popleft()
                given_out -= 1
    for position in range(given_out, len(around)):
        yield _smoothed(around, position)


def _compares_colors(member: GeneratedFrame, before: FittedFrame | None) -> bool:
    """Whether the colors of a frame are compared, whose predecessor in the shot is ``before``.

    It is for the numbers of these two frames to say, so that an excerpt compares the same frames as the whole.
    """
    if before is None or before.fit is None:
        return True
    return member.frame.index % 2 == 0 or before.member.frame.index % 2 == 1


def _smoothed(around: deque[FittedFrame], position: int) -> FittedFrame:
    """The frame at ``position`` with the fit of those around it."""
    member, own = around[position].member, around[position].fit
    if own is None:
        return around[position]
    near = range(max(0, position - FIT_REACH), min(len(around), position + FIT_REACH + 1))
    known = [(k - position, fit) for k in near if (fit := around[k].fit) is not None]
    distances = np.array([distance for distance, _ in known], dtype=np.float64)
    weights = 1 - np.abs(distances) / (FIT_REACH + 1)
    jaws = weights * [fit.jaw for _, fit in known]
    colored = np.array([around[position + distance].colored for distance, _ in known])
    colors = [fit.color for (_, fit), is_colored in zip(known, colored, strict=True) if is_colored]
    color = mean_fit(colors, _line_weights(distances[colored], weights[colored]))
    return FittedFrame(member, replace(own, color=color, jaw=float(jaws[np.abs(jaws).argmax()])))


def _nearness(fitted: FittedFrame) -> float:
    """The nearer a face is to the camera, the larger it is: the size of its box in pixels."""
    member = fitted.member
    return 0.0 if isinstance(member, PassedFrame) else float(longer_side(member.source.observation.box))


def lead_of(row: Row) -> JoinedFrame:
    """The member of a row that stands for the frame in reports: the first one that is dubbed, else the first one that
    has a segment there, whose reason says why the frame is left alone."""
    dubbed = (member for member in row if isinstance(member, GeneratedFrame))
    spoken = (member for member in row if isinstance(member, PassedFrame) and member.reason != OUTSIDE)
    return next(dubbed, None) or next(spoken, row[0])


def _line_weights(distances: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What values at ``distances`` (n,) count for in the value at 0 of the straight line through them.

    The line is fitted by least squares with ``weights`` (n,). With as many values before as after, that is their
    weighted mean; at the ends of a shot it is not late for a drift, which a mean would be.
    """
    total, first, second = (float((weights * distances**power).sum()) for power in range(3))
    spread = total * second - first**2
    if spread <= 1e-9:
        return weights / total
    return weights * (second - first * distances) / spread


class Compositor:
    """Pastes the mouths of one run. ``keep_mask`` (1, R, R) float32, 1 = keep; ``compat``: paste as that release does,
    whatever the ``settings`` say. ``ahead``: frames after its own that a frame may wait for; None: as many as are good
    for it, and for the second thread."""

    def __init__(
        self,
        keep_mask: np.ndarray,
        settings: PasteSettings,
        compat: Compat | None,
        clock: StageClock,
        ahead: int | None = None,
    ) -> None:
        self._keep_mask = keep_mask
        self._compat = compat
        self._paster = FacePaster(keep_mask, settings)
        self._settings = settings
        self._enhancer = None if compat is not None else load_enhancer(settings)
        self._clock = clock
        self._ahead = ahead

    def paste(self, rows: Iterator[Row], roles: int = 1) -> Iterator[Frame]:
        """Frames in order, each with the faces of all ``roles``; what passes through for all of them is the decoded
        frame, untouched."""
        if self._compat is not None:
            compat = self._compat
            return parallel_map(lambda row: self._paste_compat(row[0], compat), rows, PASTE_WORKERS)
        branches = deal(rows, roles) if roles > 1 else [rows]
        reach = FIT_REACH if self._ahead is None else self._ahead
        fitted = [
            with_steady_fits(self._enhanced(map(itemgetter(role), branch)), self.measure, reach)
            for role, branch in enumerate(branches)
        ]
        whole = zip(*fitted, strict=True)
        if self._ahead is not None:
            return map(self.paste_all, whole)
        return parallel_map(self.paste_all, whole, PASTE_WORKERS)

    def _enhanced(
        self, frames: Iterator[GeneratedFrame | PassedFrame]
    ) -> Iterator[GeneratedFrame | PassedFrame]:
        for member in frames:
            if self._enhancer is None or isinstance(member, PassedFrame):
                yield member
                continue
            with self._clock.measure("enhance"):
                face = enhanced(member.face, self._enhancer, self._settings.enhance_strength)
            yield replace(member, face=face)

    def measure(self, generated: GeneratedFrame, colors: bool = True) -> FaceFit:
        """The fit of a frame alone, with or without its colors."""
        source = generated.source
        with self._clock.measure("paste"):
            landmarks = source.observation.landmarks
            return self._paster.fit(generated.face, source.face, source.frame.shape, landmarks, colors=colors)

    def paste_all(self, fitted: tuple[FittedFrame, ...]) -> Frame:
        """The frame with its faces, the nearest last; may run in any thread."""
        frame = fitted[0].member.frame
        for each in sorted(fitted, key=_nearness):
            frame = self._paste_one(each, frame)
        return frame

    def _paste_one(self, fitted: FittedFrame, frame: Frame) -> Frame:
        member, fit = fitted.member, fitted.fit
        if isinstance(member, PassedFrame) or fit is None:
            return frame
        source = member.source
        with self._clock.measure("paste"):
            return self._paster.paste(
                frame,
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
