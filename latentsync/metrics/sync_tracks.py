"""What the published sync score does between face boxes and SyncNet: tracks, smooth crops, and the audio of a track.

Frames are at 25 fps. The rules are those of the published scoring of Chung & Zisserman (2016); their order and every
threshold matter to the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.signal import medfilt

from latentsync.face.box import intersection_over_union
from latentsync.metrics.sync_score import SAMPLES_PER_FRAME
from latentsync.metrics.syncnet_v2 import LIP_SIDE

MIN_SHOT_FRAMES = 50
MIN_OVERLAP = 0.5  # intersection over union of consecutive boxes of one track
MAX_GAP = 25  # frames between two detections of one track
MIN_DETECTIONS = 50  # a track has more than these
MIN_SIDE = 100.0  # pixels; the mean of the wider of width and height is more
MEDIAN_FRAMES = 13
MARGIN = 0.4  # of the box, to the left and right; twice that below
BORDER = 110  # grey level outside the frame


@dataclass(frozen=True, slots=True)
class BoxTrack:
    """One face through one shot. ``boxes`` (n, 4) float64 x0, y0, x1, y1 for every frame from ``first_frame`` on."""

    first_frame: int
    boxes: np.ndarray


def link_tracks(detections: Sequence[np.ndarray], first_frame: int = 0) -> list[BoxTrack]:
    """The faces of one shot that are in it long enough and large enough, in order of their first frame.

    ``detections`` holds, for each frame of the shot, (k, >= 4) boxes x0, y0, x1, y1 in pixels. Frames without a
    detection are filled by linear interpolation.
    """
    if len(detections) < MIN_SHOT_FRAMES:
        return []
    remaining = [[np.asarray(box[:4], dtype=np.float64) for box in boxes] for boxes in detections]
    tracks = []
    for start, boxes in enumerate(remaining):
        while boxes:
            positions, found = _follow(remaining, start)
            track = BoxTrack(first_frame + start, _interpolate(positions, found))
            if len(found) > MIN_DETECTIONS and _mean_side(track.boxes) > MIN_SIDE:
                tracks.append(track)
    return tracks


def crop_path(track: BoxTrack) -> np.ndarray:
    """(n, 3) float64: centre x, centre y and half the longer side of each box, median-filtered over 13 frames.

    The filter sees zeros beyond both ends, so the first and last six values lean towards the smallest around them.
    """
    x0, y0, x1, y1 = track.boxes.T
    values = (x0 + x1) / 2, (y0 + y1) / 2, np.maximum(x1 - x0, y1 - y0) / 2
    return np.stack([medfilt(value, MEDIAN_FRAMES) for value in values], axis=1)


def crop_face(frame: np.ndarray, x: float, y: float, half: float) -> np.ndarray:
    """(224, 224, 3) uint8: the square of 2.8 half-sizes that reaches from the top of the box to below the chin.

    ``frame`` (H, W, 3) uint8; ``x, y, half`` a row of ``crop_path``. Grey where the square leaves the frame. Raises
    ``ValueError`` if the square has no area.
    """
    pad = int(half * (1 + 2 * MARGIN))
    # The published code cuts to whole pixels after it has padded the frame, hence the sums before the truncation.
    top, bottom = int(y + pad - half) - pad, int(y + pad + half * (1 + 2 * MARGIN)) - pad
    left, right = int(x + pad - half * (1 + MARGIN)) - pad, int(x + pad + half * (1 + MARGIN)) - pad
    if bottom <= top or right <= left:
        raise ValueError(f"a face of half size {half} has no area")
    height, width = frame.shape[:2]
    square = np.full((bottom - top, right - left, 3), BORDER, dtype=np.uint8)
    rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
    if rows.start < rows.stop and columns.start < columns.stop:
        inside = frame[rows, columns]
        square[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = inside
    return cv2.resize(square, (LIP_SIDE, LIP_SIDE), interpolation=cv2.INTER_LINEAR)


def audio_of(track: BoxTrack, waveform: np.ndarray) -> np.ndarray:
    """The samples of ``waveform`` (16 kHz, from the first frame of the video) that belong to the track; a view."""
    stop = track.first_frame + len(track.boxes)
    return waveform[track.first_frame * SAMPLES_PER_FRAME : stop * SAMPLES_PER_FRAME]


def _follow(remaining: list[list[np.ndarray]], start: int) -> tuple[list[int], list[np.ndarray]]:
    """Take the first face of frame ``start`` and all that continue it out of ``remaining``: positions and boxes."""
    positions, found = [start], [remaining[start].pop(0)]
    for position in range(start + 1, len(remaining)):
        if position - positions[-1] > MAX_GAP:
            break
        overlaps = [intersection_over_union(box, found[-1]) for box in remaining[position]]
        if overlaps and max(overlaps) > MIN_OVERLAP:
            found.append(remaining[position].pop(int(np.argmax(overlaps))))
            positions.append(position)
    return positions, found


def _interpolate(positions: list[int], found: list[np.ndarray]) -> np.ndarray:
    frames = np.arange(positions[0], positions[-1] + 1)
    return np.stack([np.interp(frames, positions, values) for values in np.stack(found, axis=1)], axis=1)


def _mean_side(boxes: np.ndarray) -> float:
    """The larger of the mean width and the mean height."""
    return float((boxes[:, 2:] - boxes[:, :2]).mean(axis=0).max())
