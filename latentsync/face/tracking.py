"""From detections in single frames to faces that keep their number, have no short gaps and do not tremble.

One pass in frame order with a bounded look-ahead: detections come in batches, tracks are joined frame by frame, and a
frame leaves once all that its smoothed landmarks depend on has been seen.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from latentsync.face.association import Associator
from latentsync.face.detections_file import Detections
from latentsync.face.detector import Detection, FaceDetector
from latentsync.face.shots import mark_cuts
from latentsync.face.smoothing import smooth_points
from latentsync.types import FaceObservation, Frame


@dataclass(frozen=True, slots=True)
class TrackingSettings:
    """``batch``: frames detected together. ``max_gap``: missing frames that are filled in, inside a shot.

    ``smoothing``: neighbours on each side that a landmark is smoothed by; 0 = none (for the published geometries).
    ``one_shot``: the frames are known to have no cut, so none is looked for.
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
    """A frame on its way through the look-ahead: the raw faces by track number."""

    shot: int
    time: float
    frame: Frame | None  # None once it has left
    faces: dict[int, Detection] = field(default_factory=dict)


def track_faces(
    frames: Iterable[Frame],
    detector: FaceDetector,
    settings: TrackingSettings | None = None,
    *,
    known: Detections | None = None,
    first_track: int = 0,
    first_shot: int = 0,
) -> Iterator[TrackedFrame]:
    """The same frames in the same order, each with its faces; ``FaceObservation`` holds smoothed values.

    Detections in ``known`` (by frame number) are used instead of the detector, and new ones are added to it. Numbers of
    tracks and shots count from ``first_track`` and ``first_shot``.
    Holds at most ``smoothing + max_gap + batch`` frames plus three. Errors of the detector pass through.
    """
    settings = settings or TrackingSettings()
    marked = ((frame, False) for frame in frames) if settings.one_shot else mark_cuts(frames)
    detected = _detected(marked, detector, settings.batch, {} if known is None else known)
    items = _joined(detected, Associator(first_track), settings.max_gap, first_shot)
    for _, shot in itertools.groupby(items, key=lambda item: item.shot):
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
) -> Iterator[_Item]:
    """Items with their tracks; short gaps of earlier items are filled in when the face is seen again.

    The filling reaches back into items that were already yielded, so a consumer must hold ``max_gap + 1`` of them.
    """
    shot = first_shot
    recent: deque[_Item] = deque(maxlen=max_gap + 2)
    for position, (frame, cut, detections) in enumerate(detected):
        if cut:
            shot += 1
            associator.cut()
            recent.clear()
        item = _Item(shot, float(frame.time), frame)
        recent.append(item)
        for number, detection in zip(associator.update(position, detections), detections, strict=True):
            item.faces[number] = detection
            _fill_gap(recent, number)
        yield item


def _fill_gap(recent: deque[_Item], number: int) -> None:
    """Interpolate the track linearly over the items between its last two observations, if both are at hand."""
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


def _smoothed(shot: Iterable[_Item], settings: TrackingSettings) -> Iterator[TrackedFrame]:
    """The items of one shot as finished frames."""
    look_ahead = settings.smoothing + settings.max_gap + 1
    window: deque[_Item] = deque()  # up to ``smoothing`` items that have left, then those that wait
    waiting = 0
    for item in shot:
        window.append(item)
        waiting += 1
        if waiting > look_ahead:
            yield _finish(window, len(window) - waiting, settings.smoothing)
            waiting -= 1
            if len(window) - waiting > settings.smoothing:
                window.popleft()
    while waiting:
        yield _finish(window, len(window) - waiting, settings.smoothing)
        waiting -= 1


def _finish(window: deque[_Item], position: int, smoothing: int) -> TrackedFrame:
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
    finished = TrackedFrame(item.frame, tuple(faces), item.shot)
    item.frame = None
    return finished


def _observe(item: _Item, number: int, run: list[_Item], position: int) -> FaceObservation:
    times = np.array([neighbour.time for neighbour in run])
    found = [neighbour.faces[number] for neighbour in run]
    points = np.array([np.concatenate([face.box.reshape(2, 2), face.landmarks]) for face in found], dtype=np.float64)
    smoothed = smooth_points(times, points, position).astype(np.float32)
    score = item.faces[number].score
    return FaceObservation(item.frame.index, number, smoothed[:2].ravel(), smoothed[2:], score)
