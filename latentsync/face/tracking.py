"""From detections in single frames to tracks: faces with a number, without short gaps, with smoothed landmarks.

The frames are read once, in order, with a bounded look-ahead: detections come in batches, tracks are joined frame by
frame, and a frame is yielded once all that its smoothed landmarks depend on has been seen.

Smoothing has zero phase. Every point is fitted twice by local regression (Savitzky & Golay 1964; Cleveland 1979): a
line through many neighbours averages the detector's noise away, and a parabola through few follows what a head can do.
Where the two differ by no more than the noise explains, the line counts; where they differ by much more, the parabola
(shrinkage in the manner of James & Stein 1961). Both use as many frames before as after, within one track and shot.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from latentsync.face.appearance import FaceEmbedder
from latentsync.face.association import Associator
from latentsync.face.detections_file import Detections
from latentsync.face.detector import Detection, FaceDetector
from latentsync.face.shots import mark_cuts
from latentsync.types import FaceObservation, Frame

CLOSE = 3  # neighbours on each side for the parabola
TOLERANCE = 3.0  # times the variance that noise alone gives to the difference of the two fits
THIRD_DIFFERENCE_GAIN = 20.0  # 1 + 9 + 9 + 1: variance of a third difference of white noise


@dataclass(frozen=True, slots=True)
class TrackingSettings:
    """``batch``: frames detected together. ``max_gap``: missing frames that are filled in, inside a shot.

    ``smoothing``: neighbours on each side that a landmark is smoothed with; 0 = no smoothing (for ``compat``).
    ``one_shot``: the frames are known to have no cut, so cuts are not looked for.
    """

    batch: int = 8
    max_gap: int = 5
    smoothing: int = 10
    one_shot: bool = False


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """A frame with all its faces, ordered by track number. ``shot`` counts from 0."""

    frame: Frame
    faces: tuple[FaceObservation, ...]
    shot: int


@dataclass(slots=True)
class _Item:
    """What is known of a frame in the look-ahead: its unsmoothed faces by track number."""

    shot: int
    index: int
    time: float
    faces: dict[int, Detection] = field(default_factory=dict)


def track_faces(
    frames: Iterable[Frame],
    detector: FaceDetector,
    settings: TrackingSettings | None = None,
    *,
    known: Detections | None = None,
    first_track: int = 0,
    first_shot: int = 0,
    embedder: FaceEmbedder | None = None,
) -> Iterator[TrackedFrame]:
    """The same frames in the same order, each with its faces and their smoothed landmarks.

    Detections in ``known`` (by frame number) are used instead of the detector, and new ones are added to it. Where a
    face could go on with several tracks, the looks that ``embedder`` sees decide as well. Numbers of tracks and shots
    count from ``first_track`` and ``first_shot``. Holds at most ``smoothing + max_gap + batch + 3`` frames. Errors of
    the detector are not caught.
    """
    settings = settings or TrackingSettings()
    marked = ((frame, False) for frame in frames) if settings.one_shot else mark_cuts(frames)
    detected = _detected(marked, detector, settings.batch, {} if known is None else known)
    joined = _joined(detected, Associator(first_track, embedder), settings.max_gap, first_shot)
    for _, shot in itertools.groupby(joined, key=lambda pair: pair[0].shot):
        yield from _smoothed(shot, settings)


def _detected(
    marked: Iterator[tuple[Frame, bool]], detector: FaceDetector, batch: int, known: Detections
) -> Iterator[tuple[Frame, bool, list[Detection]]]:
    while group := list(itertools.islice(marked, batch)):
        unknown = [frame for frame, _ in group if frame.index not in known]
        if unknown:
            found = detector.detect(unknown)
            known.update((frame.index, faces) for frame, faces in zip(unknown, found, strict=True))
        for frame, cut in group:
            yield frame, cut, known[frame.index]


def _joined(
    detected: Iterable[tuple[Frame, bool, list[Detection]]], associator: Associator, max_gap: int, first_shot: int
) -> Iterator[tuple[_Item, Frame]]:
    """Items with their tracks, and their frames.

    When a face is detected again after a short gap, it is filled in for the items of the gap. These were yielded
    already, so a consumer must hold ``max_gap + 1`` of them before it uses one.
    """
    shot = first_shot
    recent: deque[_Item] = deque(maxlen=max_gap + 2)
    for position, (frame, cut, detections) in enumerate(detected):
        if cut:
            shot += 1
            associator.cut()
            recent.clear()
        item = _Item(shot, frame.index, float(frame.time))
        recent.append(item)
        for number, detection in zip(associator.update(position, detections, frame), detections, strict=True):
            item.faces[number] = detection
            _fill_gap(recent, number)
        yield item, frame


def _fill_gap(recent: deque[_Item], number: int) -> None:
    """Interpolate a track linearly between its last two detections, if both are in ``recent``."""
    items = list(recent)
    last = next((i for i in range(len(items) - 2, -1, -1) if number in items[i].faces), None)
    if last is None:
        return
    before, after = items[last].faces[number], items[-1].faces[number]
    span = len(items) - 1 - last
    for i in range(last + 1, len(items) - 1):
        share = np.float32((i - last) / span)
        items[i].faces[number] = Detection(
            before.box + share * (after.box - before.box),
            before.landmarks + share * (after.landmarks - before.landmarks),
            min(before.score, after.score),
        )


def _smoothed(shot: Iterable[tuple[_Item, Frame]], settings: TrackingSettings) -> Iterator[TrackedFrame]:
    """The items of one shot as finished frames."""
    look_ahead = settings.smoothing + settings.max_gap + 1
    window: deque[_Item] = deque()  # up to ``smoothing`` items that were yielded, then those that wait
    waiting: deque[Frame] = deque()  # the frames of those that wait
    for item, frame in shot:
        window.append(item)
        waiting.append(frame)
        if len(waiting) > look_ahead:
            yield _finish(window, waiting, settings.smoothing)
            if len(window) - len(waiting) > settings.smoothing:
                window.popleft()
    while waiting:
        yield _finish(window, waiting, settings.smoothing)


def _finish(window: deque[_Item], waiting: deque[Frame], smoothing: int) -> TrackedFrame:
    """Take the first of ``waiting`` and smooth its faces."""
    position = len(window) - len(waiting)
    item = window[position]
    faces = []
    for number in sorted(item.faces):
        first, last = position, position
        while first > 0 and position - first < smoothing and number in window[first - 1].faces:
            first -= 1
        while last + 1 < len(window) and last - position < smoothing and number in window[last + 1].faces:
            last += 1
        run = [window[i] for i in range(first, last + 1)]
        faces.append(_observe(item, number, run, position - first))
    return TrackedFrame(waiting.popleft(), tuple(faces), item.shot)


def _observe(item: _Item, number: int, run: list[_Item], position: int) -> FaceObservation:
    times = np.array([neighbour.time for neighbour in run])
    found = [neighbour.faces[number] for neighbour in run]
    points = np.array([np.concatenate([face.box.reshape(2, 2), face.landmarks]) for face in found], dtype=np.float64)
    smoothed = smooth_points(times, points, position).astype(np.float32)
    score = item.faces[number].score
    return FaceObservation(item.index, number, smoothed[:2].ravel(), smoothed[2:], score)


def smooth_points(times: np.ndarray, points: np.ndarray, position: int) -> np.ndarray:
    """(p, 2): ``points[position]`` smoothed by its neighbours.

    ``times`` (n,) seconds, ascending; ``points`` (n, p, 2) of one track in consecutive frames. Motion at constant speed
    is not changed, also at the ends.
    """
    if len(times) < 3 or times[0] == times[-1]:
        return points[position]
    calm = _regression_row(times, position, order=1)
    quick = np.zeros(len(times))
    reach = min(CLOSE, position, len(times) - 1 - position)  # shrinks at the ends, down to the point itself
    near = slice(position - reach, position + reach + 1)
    quick[near] = _regression_row(times[near], reach, order=min(2, reach))
    smoothed = np.tensordot(calm, points, axes=1)
    difference = np.tensordot(quick - calm, points, axes=1)
    expected = TOLERANCE * 2 * ((quick - calm) ** 2).sum() * _noise_variance(points)
    squared = (difference**2).sum(axis=-1, keepdims=True)
    return smoothed + difference * np.clip(1 - expected / np.maximum(squared, 1e-12), 0, 1)


def _regression_row(times: np.ndarray, position: int, order: int) -> np.ndarray:
    """(n,) weights whose product with values is their local polynomial fit at ``times[position]``."""
    if len(times) == 1:
        return np.ones(1)
    x = (times - times[position]) / np.abs(times - times[position]).max()
    kernel = 1 - (x * len(times) / (len(times) + 1)) ** 2  # Epanechnikov's, a little short of zero at the ends
    basis = x[:, None] ** np.arange(order + 1)
    weighted = basis * kernel[:, None]
    return np.linalg.solve(basis.T @ weighted, weighted.T)[0]


def _noise_variance(points: np.ndarray) -> float:
    """Variance of the noise in one coordinate, without smooth motion, in px^2: the median over the points."""
    if len(points) < 4:
        return 0.0
    third = np.diff(points, n=3, axis=0)
    return float(np.median((third**2).mean(axis=(0, 2)))) / THIRD_DIFFERENCE_GAIN
