"""Which detection continues which track, by the predicted place of the face, its size and its shape; where there is a
choice, also by what it looks like (``appearance``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentsync.face.appearance import FaceEmbedder
from latentsync.face.box import span_size
from latentsync.face.detector import Detection
from latentsync.types import Frame

REACH = 0.6  # face sizes between the predicted place and the detection in the next frame, at most
REACH_GROWTH = 0.1  # face sizes more for every frame without a detection
MAX_SIZE_RATIO = 1.6
MAX_SHAPE_DIFFERENCE = 0.6  # RMS over the landmarks, in face sizes
VELOCITY_MEMORY = 0.5
COAST_FRAMES = 25  # a track without a detection for longer ends
LOOK_WEIGHT = 0.6  # of a difference of looks
MOST_DIFFERENCE = 2.5  # of looks that counts
GAP_DIFFERENCE = 1.3  # of looks, after a frame without a detection, at most
LOOK_AGAIN = 5  # frames between two looks at a face that is alone
LOOK_MEMORY = 0.8
REFUSED = 1e6  # cost of a pair that cannot be one face


@dataclass(slots=True)
class _Track:
    number: int
    position: int  # of the frame it was last seen in
    landmarks: np.ndarray  # (68, 2) float64
    velocity: np.ndarray  # (2,) px per frame
    look: np.ndarray | None = None  # (D,), the mean of the last ones


class Associator:
    """Numbers the tracks of the detections in consecutive frames. No number is used twice.

    Without an ``embedder`` place, size and shape decide alone.
    """

    def __init__(self, first_number: int = 0, embedder: FaceEmbedder | None = None) -> None:
        self._next = first_number
        self._tracks: list[_Track] = []
        self._embedder = embedder

    def cut(self) -> None:
        """Forget all tracks: the next frame begins another shot."""
        self._tracks.clear()

    def update(self, position: int, detections: list[Detection], frame: Frame | None = None) -> list[int]:
        """The track number of each detection in frame number ``position``; positions ascend."""
        self._tracks = [track for track in self._tracks if position - track.position <= COAST_FRAMES]
        looks = self._looks(position, detections, frame)
        numbers = [-1] * len(detections)
        if self._tracks and detections:
            costs = np.array([[_cost(track, position, found) for found in detections] for track in self._tracks])
            costs += self._differences(position, looks)
            for row, column in assign(costs):
                if costs[row, column] < REFUSED:
                    numbers[column] = self._tracks[row].number
                    _continue(self._tracks[row], position, detections[column], looks[column])
        for column, found in enumerate(detections):
            if numbers[column] < 0:
                numbers[column] = self._next
                landmarks = found.landmarks.astype(np.float64)
                self._tracks.append(_Track(self._next, position, landmarks, np.zeros(2), looks[column]))
                self._next += 1
        return numbers

    def _looks(self, position: int, detections: list[Detection], frame: Frame | None) -> list[np.ndarray | None]:
        """Of all detections, where there is a choice, and now and then."""
        nobody: list[np.ndarray | None] = [None] * len(detections)
        if self._embedder is None or frame is None or not detections:
            return nobody
        alone = len(detections) == len(self._tracks) == 1 and self._tracks[0].position == position - 1
        if alone and position % LOOK_AGAIN:
            return nobody
        faces = [found.landmarks for found in detections]
        return list(self._embedder.embed(frame, faces, faces))

    def _differences(self, position: int, looks: list[np.ndarray | None]) -> np.ndarray:
        """(tracks, detections): what the looks add to the costs."""
        added = np.zeros((len(self._tracks), len(looks)))
        if self._embedder is None:
            return added
        for row, track in enumerate(self._tracks):
            for column, look in enumerate(looks):
                if look is None or track.look is None:
                    continue
                difference = float(self._embedder.differences(track.look[None], look[None])[0, 0])
                added[row, column] = LOOK_WEIGHT * min(difference, MOST_DIFFERENCE)
                if position > track.position + 1 and difference > GAP_DIFFERENCE:
                    added[row, column] = REFUSED
        return added


def assign(costs: np.ndarray) -> list[tuple[int, int]]:
    """(row, column) pairs of the cheapest assignment for costs (tracks, detections), as many as can be paired."""
    if 1 in costs.shape:
        return [divmod(int(costs.argmin()), costs.shape[1])]
    from scipy.optimize import linear_sum_assignment  # here: it takes a second to import, and one face needs no choice

    return [(int(row), int(column)) for row, column in zip(*linear_sum_assignment(costs), strict=True)]


def _cost(track: _Track, position: int, found: Detection) -> float:
    elapsed = position - track.position
    size, found_size = span_size(track.landmarks), span_size(found.landmarks)
    centre, found_centre = track.landmarks.mean(axis=0), found.landmarks.mean(axis=0)
    distance = float(np.linalg.norm(found_centre - centre - elapsed * track.velocity)) / size
    ratio = max(size, found_size) / min(size, found_size)
    shape = (track.landmarks - centre) / size - (found.landmarks - found_centre) / found_size
    difference = float(np.sqrt((shape**2).sum(axis=1).mean()))
    if distance > REACH + REACH_GROWTH * (elapsed - 1) or ratio > MAX_SIZE_RATIO or difference > MAX_SHAPE_DIFFERENCE:
        return REFUSED
    return distance + np.log(ratio) + difference


def _continue(track: _Track, position: int, found: Detection, look: np.ndarray | None) -> None:
    if look is not None:
        before = look if track.look is None else np.where(np.isfinite(track.look), track.look, look)
        track.look = LOOK_MEMORY * before + (1 - LOOK_MEMORY) * np.where(np.isfinite(look), look, before)
    landmarks = found.landmarks.astype(np.float64)
    step = (landmarks.mean(axis=0) - track.landmarks.mean(axis=0)) / (position - track.position)
    track.velocity = VELOCITY_MEMORY * track.velocity + (1 - VELOCITY_MEMORY) * step
    track.position, track.landmarks = position, landmarks
