"""Generated faces back into their frames, in order, on two threads where the work allows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from latentsync.face.color_match import ColorFit, ColorSmoother
from latentsync.face.paste import FacePaster
from latentsync.face.published import RELEASES, paste_published
from latentsync.inference.batching import GeneratedGroup
from latentsync.inference.clock import StageClock
from latentsync.inference.windows import AlignedFrame
from latentsync.stream import parallel_map
from latentsync.types import Frame

PASTE_WORKERS = 2


@dataclass(frozen=True, slots=True)
class GeneratedFrame:
    """A frame with its generated face (3, R, R) float32 in [-1, 1], or None if it passes through."""

    member: AlignedFrame
    face: np.ndarray | None


def frames_of(groups: Iterator[GeneratedGroup]) -> Iterator[GeneratedFrame]:
    """Take the groups apart again, frame by frame in order."""
    for generated in groups:
        for member, slot in zip(generated.group.frames, generated.group.slots, strict=True):
            yield GeneratedFrame(member, None if slot is None else generated.faces[slot[0]][slot[1]])


class Compositor:
    """Pastes the mouths of one run. ``keep_mask`` (1, R, R) float32, 1 = keep; ``geometry`` as in ``face.align``."""

    def __init__(self, keep_mask: np.ndarray, geometry: str, clock: StageClock) -> None:
        self._keep_mask = keep_mask
        self._release = RELEASES.get(geometry)
        self._paster = FacePaster(keep_mask)
        self._clock = clock

    def paste(self, frames: Iterator[GeneratedFrame]) -> Iterator[Frame]:
        """Frames in order; those without a face are the decoded ones, untouched."""
        if self._release is not None:
            yield from parallel_map(self._paste_published, frames, PASTE_WORKERS)
            return
        yield from parallel_map(self._paste, self._steady_colors(frames), PASTE_WORKERS)

    def _steady_colors(
        self, frames: Iterator[GeneratedFrame]
    ) -> Iterator[tuple[AlignedFrame, np.ndarray | None, ColorFit | None]]:
        """Each frame with its generated face and the correction of its colors, which follows those before it."""
        smoother = ColorSmoother()
        for generated in frames:
            member, face, color = generated.member, generated.face, None
            if face is not None:
                with self._clock.measure("paste"):
                    fit = self._paster.compare(face, member.face, member.frame.shape)
                color = smoother.next(fit, member.shot)
            yield member, face, color

    def _paste(self, job: tuple[AlignedFrame, np.ndarray | None, ColorFit | None]) -> Frame:
        member, face, color = job
        if face is None:
            return member.frame
        with self._clock.measure("paste"):
            return self._paster.paste(member.frame, face, member.face.matrix, color, member.strength)

    def _paste_published(self, generated: GeneratedFrame) -> Frame:
        member = generated.member
        if generated.face is None:
            return member.frame
        with self._clock.measure("paste"):
            canvas = generated.face * (1 - self._keep_mask) + member.face.pixels * self._keep_mask
            pixels = paste_published(member.frame.pixels, canvas, member.face.matrix, self._release)
        return member.frame.patched((0, 0, pixels.shape[1], pixels.shape[0]), pixels)
