"""The faces of one video: detected when a frame is first seen, and looked up when it is seen again."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from latentsync.errors import ConfigError
from latentsync.face.appearance import BY_LOOKS, FaceEmbedder
from latentsync.face.detections_file import Detections, cache_path, read_cache, read_detections, write_detections
from latentsync.face.detector import Detection, FaceDetector
from latentsync.face.identity import People, PeopleFrame
from latentsync.face.photo import most_alike
from latentsync.face.selection import FaceChoice, FaceSelector, PersonFollower, TargetFrame
from latentsync.face.tracking import TrackedFrame, TrackingSettings, track_faces
from latentsync.types import FaceObservation, Frame, VideoSource

__all__ = ["FaceTracks", "PeopleFrame", "TargetFrame"]


INTRODUCED = 12  # frames that somebody is got to know by before the video is followed
_BEFORE = -1_000_000  # number of the first shot of such frames


@dataclass(frozen=True, slots=True)
class KnownFrame:
    """What was found in a frame that was followed: the ``face`` of the first choice, or None and the ``reason``; its
    ``shot``; and all ``faces``."""

    face: FaceObservation | None
    shot: int
    reason: str
    faces: tuple[FaceObservation, ...]


class FaceTracks:
    """The people of one video, and the chosen one, in every frame.

    ``detections``, by frame number, are used where there are any; new ones are added. ``embedder``: what people are
    known by (``identity``); None: only tracks are known, which end with the shot. ``note`` is for the user (a
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
        embedder: FaceEmbedder | None = BY_LOOKS,
    ) -> None:
        self.detections = {} if detections is None else detections
        self.note = note
        self._detector = detector
        self._selectors: tuple[FaceSelector, ...] = (selector or FaceSelector(),)
        self._settings = settings or TrackingSettings()
        self._cache = cache
        self._cached = len(self.detections)
        self._embedder = embedder
        self._people = None if embedder is None else People(embedder)
        self._followers = [PersonFollower(selector.choice) for selector in self._selectors]
        self._prepared = embedder is None
        self._followed: dict[int, tuple[tuple[FaceObservation | None, int, str], ...]] = {}
        self._all_faces: dict[int, tuple[FaceObservation, ...]] = {}
        self._faces: dict[int, Mapping[int, FaceObservation]] = {}  # by person, where people are known
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
        *,
        embedder: FaceEmbedder | None = BY_LOOKS,
    ) -> FaceTracks:
        """With the detections of earlier runs on the same video content; ``save`` adds those of this run."""
        try:
            path = cache_path(video, detector.name, folder)
        except ConfigError as error:
            note = f"Faces are not kept for the next run. {error}"
            return cls(detector, selector, settings, note=note, embedder=embedder)
        detections, note = read_cache(path)
        return cls(detector, selector, settings, detections=detections, cache=path, note=note, embedder=embedder)

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
        cls,
        detections: Detections,
        selector: FaceSelector | None = None,
        settings: TrackingSettings | None = None,
        *,
        embedder: FaceEmbedder | None = BY_LOOKS,
    ) -> FaceTracks:
        """With known faces and no detector: other frames have no face."""
        return cls(_NoDetector(), selector, settings, detections=detections, embedder=embedder)

    @classmethod
    def of_known(cls, frames: Mapping[int, KnownFrame]) -> FaceTracks:
        """Of a video all of whose frames were followed before (``known``), by their numbers; nobody is known there."""
        tracks = cls(_NoDetector(), embedder=None)
        for index, each in frames.items():
            tracks._followed[index] = ((each.face, each.shot, each.reason),)
            tracks._all_faces[index] = each.faces
        tracks._seen = set(frames)
        return tracks

    def known(self) -> dict[int, KnownFrame]:
        """What was found in the frames that were followed, by their numbers."""
        return {index: KnownFrame(*each[0], self._all_faces[index]) for index, each in self._followed.items()}

    @property
    def knows_people(self) -> bool:
        """Whether people are known again, as opposed to tracks that end with the shot."""
        return self._people is not None

    @property
    def is_introduced(self) -> bool:
        """Whether somebody was chosen before the video is followed (``introduce``)."""
        return all(follower.person is not None for follower in self._followers)

    def shows_chosen(self, frame: Frame, number: int = 0) -> bool:
        """Whether a face in ``frame`` looks like the person of choice ``number``."""
        person = self._followers[number].person
        if self._people is None or self._embedder is None or person is None:
            return False
        self.detect([frame])
        faces = [face.landmarks for face in self.detections[frame.index]]
        looks = self._embedder.embed(frame, faces)
        return any(self._people.difference(self._people.known[person], look[None]) <= 1 for look in looks)

    def prepare(self, video: VideoSource) -> None:
        """Find out whom the choice means, where the first frames of ``video`` do not say it: a point in time, a photo.

        What is seen then is not followed. A second call does nothing. Raises ``ConfigError`` for a photo that cannot
        be read, and ``NoFaceError`` if nobody looks like it.
        """
        if self._prepared or self._embedder is None:
            return
        self._prepared = True
        for number, selector in enumerate(self._selectors):
            choice, index = selector.choice, 0
            if choice.photo is not None:
                point, index = most_alike(choice.photo, video, self._detector, self._embedder, self.detections)
                choice = FaceChoice(point=point)
            elif choice.time > 0:
                times = video.times()
                index = max(0, min(bisect_left(times, choice.time), len(times) - 1))
                choice = replace(choice, time=Fraction(0))
            else:
                continue
            self._followers[number] = PersonFollower(choice)
            self._introduce(video.frames(index, index + INTRODUCED), [number])

    def introduce(self, frames: Iterable[Frame]) -> None:
        """Get to know the people of consecutive ``frames``, and who of them is chosen, without following them."""
        self._introduce(frames, range(len(self._selectors)))

    def _introduce(self, frames: Iterable[Frame], numbers: Sequence[int]) -> None:
        if self._people is None:
            raise ValueError("only tracks are known")
        seen = list(self._people.name(self._tracked(frames, _BEFORE)))
        for number in numbers:
            for _ in self._selectors[number].follow(seen, self._followers[number]):
                pass

    def choose(self, selectors: Sequence[FaceSelector]) -> None:
        """Follow these choices, one or more, in place of the one before; before any frame is followed."""
        if self._seen or not selectors:
            raise ValueError("whom to follow is said before the first frame")
        self._selectors = tuple(selectors)
        self._followers = [PersonFollower(selector.choice) for selector in selectors]
        self._prepared = self._embedder is None

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
            yield PeopleFrame(target.frame, self._faces[target.frame.index], target.shot)

    def faces_in(self, index: int) -> tuple[FaceObservation, ...]:
        """All faces of a frame that was followed, by its number."""
        return self._all_faces[index]

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

        tracked = self._shots_counted(self._tracked(distinct(), self._shots))
        for targets in self._selected(tracked):
            index = targets[0].frame.index
            self._followed[index] = tuple((target.face, target.shot, target.reason) for target in targets)
            yield targets
            for frame in repetitions.pop(index, ()):
                yield tuple(replace(target, frame=frame) for target in targets)

    def _selected(self, tracked: Iterable[TrackedFrame]) -> Iterator[tuple[TargetFrame, ...]]:
        """Each frame with its face for every choice."""
        chosen: list[Iterator[TargetFrame]]
        if self._people is None:
            copies = itertools.tee(tracked, len(self._selectors))
            chosen = [selector.select(copy) for selector, copy in zip(self._selectors, copies, strict=True)]
        else:
            named = itertools.tee(self._noted(self._people.name(tracked)), len(self._selectors))
            both = zip(self._selectors, named, self._followers, strict=True)
            chosen = [selector.follow(copy, follower) for selector, copy, follower in both]
        yield from zip(*chosen, strict=True)

    def _tracked(self, frames: Iterable[Frame], first_shot: int) -> Iterator[TrackedFrame]:
        looks = None if self._embedder is None else BY_LOOKS
        for item in track_faces(
            frames,
            self._detector,
            self._settings,
            known=self.detections,
            first_track=self._tracks,
            first_shot=first_shot,
            embedder=looks,
        ):
            self._tracks = max([self._tracks, *(face.track_id + 1 for face in item.faces)])
            yield item

    def _shots_counted(self, tracked: Iterable[TrackedFrame]) -> Iterator[TrackedFrame]:
        for item in tracked:
            self._shots = item.shot + 1
            self._all_faces[item.frame.index] = item.faces
            self._faces[item.frame.index] = {face.track_id: face for face in item.faces}
            yield item

    def _noted(self, people: Iterable[PeopleFrame]) -> Iterator[PeopleFrame]:
        for item in people:
            self._faces[item.frame.index] = item.faces
            yield item


class _NoDetector:
    name = "none"

    def detect(self, frames: list[Frame]) -> list[list[Detection]]:
        return [[] for _ in frames]
