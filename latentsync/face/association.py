"""Which detection continues which track, by the predicted place of the face, its size and its shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentsync.face.box import span_size
from latentsync.face.detector import Detection

REACH = 0.6  # face sizes between the predicted place and the detection in the next frame, at most
REACH_GROWTH = 0.1  # face sizes more for every frame without a detection
MAX_SIZE_RATIO = 1.6
MAX_SHAPE_DIFFERENCE = 0.6  # RMS over the landmarks, in face sizes
VELOCITY_MEMORY = 0.5
COAST_FRAMES = 25  # a track without a detection for longer ends
REFUSED = 1e6  # cost of a pair that cannot be one face


@dataclass(slots=True)
class _Track:
    number: int
    position: int  # of the frame it was last seen in
    landmarks: np.ndarray  # (68, 2) float64
    velocity: np.ndarray  # (2,) px per frame


class Associator:
    """Numbers the tracks of the detections in consecutive frames. No number is used twice."""

    def __init__(self, first_number: int = 0) -> None:
        self._next = first_number
        self._tracks: list[_Track] = []

    def cut(self) -> None:
        """Forget all tracks: the next frame begins another shot."""
        self._tracks.clear()

    def update(self, position: int, detections: list[Detection]) -> list[int]:
        """The track number of each detection in frame number ``position``; positions ascend."""
        self._tracks = [track for track in self._tracks if position - track.position <= COAST_FRAMES]
        numbers = [-1] * len(detections)
        if self._tracks and detections:
            costs = np.array([[_cost(track, position, found) for found in detections] for track in self._tracks])
            for row, column in _assign(costs):
                if costs[row, column] < REFUSED:
                    numbers[column] = self._tracks[row].number
                    _continue(self._tracks[row], position, detections[column])
        for column, found in enumerate(detections):
            if numbers[column] < 0:
                numbers[column] = self._next
                landmarks = found.landmarks.astype(np.float64)
                self._tracks.append(_Track(self._next, position, landmarks, np.zeros(2)))
                self._next += 1
        return numbers


def _assign(costs: np.ndarray) -> list[tuple[int, int]]:
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


def _continue(track: _Track, position: int, found: Detection) -> None:
    landmarks = found.landmarks.astype(np.float64)
    step = (landmarks.mean(axis=0) - track.landmarks.mean(axis=0)) / (position - track.position)
    track.velocity = VELOCITY_MEMORY * track.velocity + (1 - VELOCITY_MEMORY) * step
    track.position, track.landmarks = position, landmarks
