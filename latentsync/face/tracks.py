"""The faces of one video: detected when a frame is first seen, and looked up when it is seen again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from latentsync.errors import ConfigError
from latentsync.face.detections_file import Detections, cache_path, read_cache, read_detections, write_detections
from latentsync.face.detector import Detection, FaceDetector
from latentsync.face.identity import PeopleFrame
from latentsync.face.selection import FaceSelector, TargetFrame
from latentsync.face.tracking import TrackedFrame, TrackingSettings, track_faces
from latentsync.types import FaceObservation, Frame

__all__ = ["FaceTracks", "PeopleFrame", "TargetFrame"]


class FaceTracks:
    """The chosen face in every frame of one video.

    ``detections``, by frame number, are used where there are any; new ones are added. ``note`` is for the user (a
    damaged cache). Memory grows by about 3 kB a frame, for frames that are shown again.
    """

    def __init__(
        self,
        detector: FaceDetector,
        selector: FaceSelector | None = None,
        settings: TrackingSettings | None = None,
        *,
        detections: Detections | None = None,
        cache: Path | None = None,
        note: str = "",
    ) -> None:
        self.detections = {} if detections is None else detections
        self.note = note
        self._detector = detector
        self._selectors: tuple[FaceSelector, ...] = (selector or FaceSelector(),)
        self._settings = settings or TrackingSettings()
        self._cache = cache
        self._cached = len(self.detections)
        self._followed: dict[int, tuple[tuple[FaceObservation | None, int, str], ...]] = {}
        self._faces: dict[int, tuple[FaceObservation, ...]] = {}
        self._seen: set[int] = set()
        self._shots = 0
        self._tracks = 0

    @classmethod
    def cached(
        cls,
        video: Path,
        detector: FaceDetector,
        selector: FaceSelector | None = None,
        settings: TrackingSettings | None = None,
        folder: Path | None = None,
    ) -> FaceTracks:
        """With the detections of earlier runs on the same video content; ``save`` adds those of this run."""
        try:
            path = cache_path(video, detector.name, folder)
        except ConfigError as error:
            return cls(detector, selector, settings, note=f"Faces are not kept for the next run. {error}")
        detections, note = read_cache(path)
        return cls(detector, selector, settings, detections=detections, cache=path, note=note)

    @classmethod
    def from_file(
        cls, path: Path, selector: FaceSelector | None = None, settings: TrackingSettings | None = None
    ) -> FaceTracks:
        """With the faces in a user's file (see ``detections_file``) and no detector: other frames have no face.

        Raises ``ConfigError`` if the file cannot be used.
        """
        return cls.given(read_detections(path), selector, settings)

    @classmethod
    def given(
        cls, detections: Detections, selector: FaceSelector | None = None, settings: TrackingSettings | None = None
    ) -> FaceTracks:
        """With known faces and no detector: other frames have no face."""
        return cls(_NoDetector(), selector, settings, detections=detections)

    def choose(self, selectors: Sequence[FaceSelector]) -> None:
        """Follow these choices, one or more, in place of the one before; before any frame is followed."""
        if self._seen or not selectors:
            raise ValueError("whom to follow is said before the first frame")
        self._selectors = tuple(selectors)

    def follow(self, frames: Iterable[Frame]) -> Generator[TargetFrame, None, None]:
        """Each frame with the face of the first choice, in the given order; as ``follow_each``."""
        for targets in self.follow_each(frames):
            yield targets[0]

    def follow_each(self, frames: Iterable[Frame]) -> Generator[tuple[TargetFrame, ...], None, None]:
        """Each frame with its face for every choice, in the given order.

        New frames must come in ascending order. Frames that were seen before may come in any order (backwards, again)
        and get the same face. A frame that is repeated in a row counts as one frame.
        """
        for known, group in itertools.groupby(frames, key=self._recogniser()):
            if known:
                for frame in group:
                    yield tuple(TargetFrame(frame, *followed) for followed in self._followed[frame.index])
            else:
                yield from self._follow_new(group)

    def people(self, frames: Iterable[Frame]) -> Generator[PeopleFrame, None, None]:
        """Each frame with all its people, in the given order; frames come as they do to ``follow``."""
        for target in self.follow(frames):
            faces = {face.track_id: face for face in self._faces[target.frame.index]}
            yield PeopleFrame(target.frame, faces, target.shot)

    def faces_in(self, index: int) -> tuple[FaceObservation, ...]:
        """All faces of a frame that was followed, by its number."""
        return self._faces[index]

    def detect(self, frames: Iterable[Frame]) -> None:
        """Find the faces of frames that may come in any order, without following them."""
        unknown = (frame for frame in frames if frame.index not in self.detections)
        while group := list(itertools.islice(unknown, self._settings.batch)):
            found = self._detector.detect(group)
            self.detections.update((frame.index, faces) for frame, faces in zip(group, found, strict=True))

    def save(self) -> str:
        """Keep the detections for the next run, if there is a cache and anything new in them.

        Returns a note for the user if they cannot be kept: a finished run does not fail because of that.
        """
        if self._cache is None or len(self.detections) <= self._cached:
            return ""
        try:
            write_detections(self._cache, dict(self.detections))  # a copy: a run that was stopped may still detect
        except OSError as error:
            return f"The faces could not be kept for the next run: {self._cache.parent}: {error.strerror}."
        self._cached = len(self.detections)
        return ""

    def _recogniser(self) -> Callable[[Frame], bool]:
        last: tuple[int, bool] | None = None

        def seen_before(frame: Frame) -> bool:
            nonlocal last
            if last is None or frame.index != last[0]:
                last = frame.index, frame.index in self._seen
                self._seen.add(frame.index)
            return last[1]

        return seen_before

    def _follow_new(self, frames: Iterable[Frame]) -> Iterator[tuple[TargetFrame, ...]]:
        repetitions: dict[int, list[Frame]] = {}

        def distinct() -> Iterator[Frame]:
            last: int | None = None
            for frame in frames:
                if frame.index == last:
                    repetitions.setdefault(frame.index, []).append(frame)
                else:
                    last = frame.index
                    yield frame

        tracked = track_faces(
            distinct(),
            self._detector,
            self._settings,
            known=self.detections,
            first_track=self._tracks,
            first_shot=self._shots,
        )
        copies = itertools.tee(self._counted(tracked), len(self._selectors))
        chosen = (selector.select(copy) for selector, copy in zip(self._selectors, copies, strict=True))
        for targets in zip(*chosen, strict=True):
            index = targets[0].frame.index
            self._followed[index] = tuple((target.face, target.shot, target.reason) for target in targets)
            yield targets
            for frame in repetitions.pop(index, ()):
                yield tuple(replace(target, frame=frame) for target in targets)

    def _counted(self, tracked: Iterable[TrackedFrame]) -> Iterator[TrackedFrame]:
        for item in tracked:
            self._faces[item.frame.index] = item.faces
            self._shots = item.shot + 1
            self._tracks = max([self._tracks, *(face.track_id + 1 for face in item.faces)])
            yield item


class _NoDetector:
    name = "none"

    def detect(self, frames: list[Frame]) -> list[list[Detection]]:
        return [[] for _ in frames]
