"""How far apart two results are where faces were generated, frame by frame, before any encoding.

Only the surroundings of the generated area are kept, in a file, so that comparing costs neither memory nor much time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from latentsync.face.align import FaceAligner
from latentsync.face.similarity import invert, transform
from latentsync.face.tracks import FaceTracks
from latentsync.metrics.fidelity import mean_squared_error, psnr_of, ssim
from latentsync.types import Frame, VideoSource

MARGIN = 6  # px around the area: SSIM compares a pixel with its surroundings


class Mouths:
    """Where the generated area lies in each frame of a video; frames without a face have none."""

    def __init__(self, video: VideoSource, tracks: FaceTracks, keep_mask: np.ndarray) -> None:
        """``keep_mask`` (1, R, R), 1 = keep."""
        self._hole = (keep_mask[0] < 0.5).astype(np.uint8)
        aligner = FaceAligner(keep_mask.shape[-1])
        self._matrices = {
            target.frame.index: aligner.matrix(target.face.landmarks)
            for target in tracks.follow(video.frames())
            if target.face is not None
        }
        self._size = video.info.width, video.info.height

    def keep(self, path: Path, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Pass ``frames`` on, writing the mouths of those that have one to ``path``."""
        with path.open("wb") as file:
            for frame in frames:
                if frame.index in self._matrices:
                    np.save(file, np.array(frame.index))
                    np.save(file, frame.pixels[self._box(frame.index)])
                yield frame

    def compare(self, one: Path, other: Path) -> dict[str, float]:
        """Mean and worst SSIM, PSNR (dB) and largest difference (grey levels) inside the area, over the frames that
        both files have."""
        likeness, errors, difference = [], [], 0
        for (index, a), (same, b) in zip(_read(one), _read(other), strict=False):
            if index != same:
                raise ValueError(f"frame {index} of one result is beside frame {same} of the other")
            inside = self._inside(index)
            likeness.append(ssim(a, b, inside))
            errors.append(mean_squared_error(a, b, inside))
            difference = max(difference, int(np.abs(a.astype(int) - b)[inside].max()))
        psnr = psnr_of(float(np.mean(errors)))
        return {
            "frames": len(likeness),
            "ssim": float(np.mean(likeness)),
            "worst_ssim": float(min(likeness)),
            "psnr": None if np.isinf(psnr) else psnr,  # JSON knows no infinity
            "max_difference": difference,
        }

    def _box(self, index: int) -> tuple[slice, slice]:
        """Rows and columns of the frame."""
        rows, columns = (np.flatnonzero(self._hole.any(axis=axis)) for axis in (1, 0))
        corners = np.array([(x, y) for x in columns[[0, -1]] for y in rows[[0, -1]]], dtype=np.float64)
        seen = transform(invert(self._matrices[index]), corners)
        low = np.maximum(np.floor(seen.min(axis=0)).astype(int) - MARGIN, 0)
        high = np.minimum(np.ceil(seen.max(axis=0)).astype(int) + MARGIN, self._size)
        return slice(low[1], high[1]), slice(low[0], high[0])

    def _inside(self, index: int) -> np.ndarray:
        """(h, w) bool: the generated area in the box of the frame."""
        rows, columns = self._box(index)
        to_box = invert(self._matrices[index])
        to_box[:, 2] -= (columns.start, rows.start)
        size = (columns.stop - columns.start, rows.stop - rows.start)
        return cv2.warpAffine(self._hole, to_box, size, flags=cv2.INTER_NEAREST) > 0


def _read(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    with path.open("rb") as file:
        while file.peek(1):
            yield int(np.load(file)), np.load(file)
