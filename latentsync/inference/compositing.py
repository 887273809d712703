"""Generated faces back into their frames, in order, on two threads where the work allows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from latentsync.face.color_match import ColorFit, ColorSmoother
from latentsync.face.compat import paste_compat
from latentsync.face.paste import FacePaster
from latentsync.face.paste_settings import PasteSettings
from latentsync.inference.batching import GeneratedGroup
from latentsync.inference.record import StageClock
from latentsync.inference.windows import FaceFrame, PassedFrame
from latentsync.stream import parallel_map
from latentsync.types import Compat, Frame

PASTE_WORKERS = 2


@dataclass(frozen=True, slots=True)
class GeneratedFrame:
    """A frame with its generated face (3, R, R) float32 in [-1, 1]."""

    source: FaceFrame
    face: np.ndarray

    @property
    def frame(self) -> Frame:
        """The frame of the source."""
        return self.source.frame


def frames_of(groups: Iterator[GeneratedGroup], refused: Mapping[int, str]) -> Iterator[GeneratedFrame | PassedFrame]:
    """Take the groups apart again, frame by frame in order.

    ``refused``: number of a window that must not be shown -> what the network gave; its frames pass through. It is
    asked when a group arrives.
    """
    for generated in groups:
        slots = iter(generated.group.slots)
        for member in generated.group.frames:
            if isinstance(member, PassedFrame):
                yield member
                continue
            window, position = next(slots)
            fault = refused.get(generated.group.windows[window].number)
            if fault is None:
                yield GeneratedFrame(member, generated.faces[window][position])
            else:
                yield PassedFrame(member.frame, member.shot, f"the network gave {fault}")


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

    def paste(self, frames: Iterator[GeneratedFrame | PassedFrame]) -> Iterator[Frame]:
        """Frames in order; those that pass through are the decoded ones, untouched."""
        if self._compat is None:
            return parallel_map(self._paste, self._with_steady_colors(frames), PASTE_WORKERS)
        compat = self._compat
        return parallel_map(lambda frame: self._paste_compat(frame, compat), frames, PASTE_WORKERS)

    def _with_steady_colors(
        self, frames: Iterator[GeneratedFrame | PassedFrame]
    ) -> Iterator[tuple[GeneratedFrame, ColorFit] | PassedFrame]:
        """Each generated frame with the correction of its colors, smoothed over the frames before it."""
        smoother = ColorSmoother()
        for generated in frames:
            if isinstance(generated, PassedFrame):
                yield generated
                continue
            source = generated.source
            with self._clock.measure("paste"):
                fit = self._paster.compare(generated.face, source.face, source.frame.shape)
            yield generated, smoother.next(fit, source.shot)

    def _paste(self, job: tuple[GeneratedFrame, ColorFit] | PassedFrame) -> Frame:
        if isinstance(job, PassedFrame):
            return job.frame
        generated, color = job
        source = generated.source
        with self._clock.measure("paste"):
            return self._paster.paste(
                source.frame, generated.face, source.face.matrix, color, source.strength, source.visible
            )

    def _paste_compat(self, generated: GeneratedFrame | PassedFrame, compat: Compat) -> Frame:
        if isinstance(generated, PassedFrame):
            return generated.frame
        source = generated.source
        with self._clock.measure("paste"):
            canvas = generated.face * (1 - self._keep_mask) + source.face.pixels * self._keep_mask
            pixels = paste_compat(source.frame.pixels, canvas, source.face.matrix, compat)
        return source.frame.patched((0, 0, pixels.shape[1], pixels.shape[0]), pixels)
