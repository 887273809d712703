"""Whoever speaks is dubbed: a look at the whole video says who that is when, and their turns are segments of a scene.

Who speaks is told by the video's own audio (``metrics.active_speaker``). Where it cannot be told, nobody is dubbed, and
the report says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from latentsync.audio.voice_activity import SAMPLES_PER_FRAME, speaking_frames
from latentsync.constants import MODEL_FPS
from latentsync.errors import ConfigError, NoFaceError, WeightsMissingError
from latentsync.face.align import FaceAligner
from latentsync.face.box import box_centre, longer_side
from latentsync.face.selection import LARGEST, MIN_SCORE, MIN_SIZE, SPEAKING
from latentsync.face.tracks import FaceTracks, PeopleFrame
from latentsync.inference.job.request import DubRequest
from latentsync.inference.weights import WeightPaths
from latentsync.levels import to_image
from latentsync.media.audio import audio_seconds
from latentsync.media.video import VideoFile
from latentsync.scene.model import PersonChoice, Scene, Segment, SegmentAudio
from latentsync.stream import prefetch

if TYPE_CHECKING:
    import torch

    from latentsync.metrics.active_speaker import Speaking
    from latentsync.metrics.stable_sync import StableSync

BLOCK, MARGIN = 250, 50  # frames that are judged together, and around them that are looked at; multiples of 5
PAUSE = 5  # verdicts (1 s) of silence inside a turn, at most
DOUBT = 2  # unsure verdicts inside a turn, at most
LEAST = 2  # verdicts that a turn has
SILENT, UNSURE = -1, -2  # in place of a person's number
NO_NETWORK = "who speaks was told by the movement of the mouths alone: there is no sync network"


@dataclass(frozen=True, slots=True)
class Turn:
    """Seconds ``start`` to ``stop`` in which ``person`` (a number, ``face.identity``) speaks; ``confidence`` 0 to 1."""

    person: int
    start: Fraction
    stop: Fraction
    confidence: float


@dataclass(frozen=True, slots=True)
class Turns:
    """The ``turns`` of a video in order, the ``unsure`` seconds in which somebody speaks and nobody can tell who, and
    person -> face in the syntax of ``face.selection``. ``by_network``: whether a sync network looked."""

    turns: tuple[Turn, ...]
    unsure: tuple[tuple[Fraction, Fraction], ...]
    faces: Mapping[int, str]
    by_network: bool

    @property
    def notes(self) -> list[str]:
        """For the user."""
        notes = [] if self.by_network else [NO_NETWORK]
        for person, face in self.faces.items():
            own = [each for each in self.turns if each.person == person]
            when = ", ".join(_shown(each.start, each.stop) for each in own)
            if own:
                notes.append(f"person {person} ({face}) speaks {when} s")
        if self.unsure:
            notes.append(f"unsure who speaks, left alone: {', '.join(_shown(*each) for each in self.unsure)} s")
        return notes

    def to_list(self) -> list[dict[str, Any]]:
        """Plain values, for JSON."""
        told = [
            {"person": t.person, "face": self.faces[t.person], "from": float(t.start), "to": float(t.stop)}
            | {"confidence": round(t.confidence, 3)}
            for t in self.turns
        ]
        unsure = [{"person": None, "from": float(start), "to": float(stop)} for start, stop in self.unsure]
        return sorted(told + unsure, key=lambda each: each["from"])

    def scene(self, scene: Scene, video: VideoFile) -> Scene:
        """The scene with a segment for each turn in place of those of whoever speaks. Raises ``NoFaceError`` if none
        is left."""
        segments = [part for segment in scene.segments for part in self._parts(scene, segment, video)]
        if not segments:
            raise NoFaceError(
                f"{video.info.path}: nobody was seen to speak its audio.", remedy="Name the person with --face."
            )
        others = [person for person in scene.people if person.face != SPEAKING]
        found = [PersonChoice(_name(number), face) for number, face in self.faces.items()]
        return replace(scene, people=(*others, *found), segments=tuple(segments))

    def _parts(self, scene: Scene, segment: Segment, video: VideoFile) -> Iterator[Segment]:
        audio = scene.audio_of(segment)
        if scene.person(segment.person).face != SPEAKING or audio is None:
            yield segment
            return
        over = audio_seconds(audio.file, audio.track) if audio.end is None else audio.end
        end = min(segment.end_in(video.info.duration), segment.start + over - audio.start)
        for turn in self.turns:
            start, stop = max(turn.start, segment.start), min(turn.stop, end)
            if start < stop:
                own = None if segment.audio is None else segment.audio.from_second(start - segment.start)
                yield replace(segment, start=start, end=stop, person=_name(turn.person), audio=own)


def whoever_speaks(scene: Scene | None) -> bool:
    """Whether a scene has a person who is whoever speaks."""
    return scene is not None and any(person.face == SPEAKING for person in scene.speakers())


def as_scene(request: DubRequest) -> DubRequest:
    """The request; `--face speaking` becomes the scene of one segment. Raises ``ConfigError`` with ``compat``."""
    options = request.options
    if request.scene is not None or options.face != SPEAKING:
        return request
    if options.compat is not None:
        raise ConfigError("No release finds out who speaks.", remedy="Leave out --compat, or name the person.")
    segment, audio = Segment(Fraction(0), None, SPEAKING), SegmentAudio(request.audio, request.audio_track)
    scene = Scene((PersonChoice(SPEAKING, SPEAKING),), (segment,), audio)
    return replace(request, scene=scene, audio_track=None, options=replace(options, face=LARGEST))


def without_look(request: DubRequest) -> DubRequest:
    """The request with the largest face in place of whoever speaks: for an estimate, which has no time to look at the
    whole video. The result is as long; whoever is silent is not dubbed in it, so it may take less."""
    scene = as_scene(request).scene
    if scene is None:
        return request
    people = tuple(replace(each, face=LARGEST) if each.face == SPEAKING else each for each in scene.people)
    return replace(as_scene(request), scene=replace(scene, people=people))


def sync_at_hand(weights: WeightPaths, device: torch.device) -> StableSync | None:
    """The sync network that belongs to the weights, if it is there."""
    from latentsync.inference.job.sync_judge import load_sync  # here: it imports torch, which takes seconds

    try:
        sync = load_sync(weights, device)
    except WeightsMissingError:
        return None
    return sync if sync.view.fps == MODEL_FPS else None


def find_turns(
    video: VideoFile,
    tracks: FaceTracks,
    waveform: np.ndarray,
    sync: StableSync | None,
    check: Callable[[], None] = lambda: None,
) -> Turns:
    """Who speaks when in the whole video, by its audio (n,) float32 at 16 kHz from the first frame on.

    ``tracks`` are those of this look alone. Memory does not grow with the length, but for the tracks. ``check`` is
    called for each frame; what it raises ends the look.
    """
    looks = _Looks(video, sync, check)
    labels: list[int] = []
    confidences: list[float] = []
    with closing(tracks.people(prefetch(video.frames()))) as people:
        for verdicts, numbers in looks.verdicts(_at_model_rate(people, video.info.duration), waveform):
            for each in verdicts:
                label = SILENT if not each.is_speech else UNSURE if each.face is None else numbers[each.face]
                labels.append(label)
                confidences.append(each.confidence)
    labels = smoothed(labels)
    turns: list[Turn] = []
    unsure: list[tuple[Fraction, Fraction]] = []
    place = 0
    per_verdict = looks.step / MODEL_FPS
    for label, run in groupby(labels):
        first, place = place, place + len(list(run))
        start, stop = first * per_verdict, min(place * per_verdict, video.info.duration)
        if label == UNSURE:
            unsure.append((start, stop))
        elif label != SILENT and start < stop:
            turns.append(Turn(label, start, stop, float(np.mean(confidences[first:place]))))
    faces = {number: looks.clearest[number][1] for number in sorted({turn.person for turn in turns})}
    return Turns(tuple(turns), tuple(unsure), faces, sync is not None)


class _Looks:
    """The aligned faces and mouths of a video, judged block by block. ``clearest``: person -> (quality, choice)."""

    def __init__(self, video: VideoFile, sync: StableSync | None, check: Callable[[], None]) -> None:
        from latentsync.metrics import active_speaker  # here: it imports torch, which takes seconds

        self._judge, self._sync, self._check = active_speaker, sync, check
        self.step = active_speaker.STEP
        self.clearest: dict[int, tuple[float, str]] = {}
        side = 1 if sync is None else sync.view.resolution
        self._aligner = FaceAligner(side, None, video.info.sample_aspect_ratio)

    def verdicts(
        self, people: Iterator[PeopleFrame], waveform: np.ndarray
    ) -> Iterator[tuple[list[Speaking], list[int]]]:
        """The verdicts of each block, and the people whose numbers in it they name."""
        seen: list[dict[int, tuple[np.ndarray, float]]] = []
        first = done = 0  # frame of the first one that is kept; frames whose verdicts are given
        speaks = speaking_frames(waveform, -(-len(waveform) // SAMPLES_PER_FRAME))
        for item in people:
            self._check()
            seen.append(self._look(item))
            if first + len(seen) == done + BLOCK + MARGIN:
                yield self._verdicts_of(seen, first, done, done + BLOCK, waveform, speaks)
                done += BLOCK
                kept = max(0, done - MARGIN)
                first, seen = kept, seen[kept - first :]
        if first + len(seen) > done:
            yield self._verdicts_of(seen, first, done, first + len(seen), waveform, speaks)

    def _look(self, item: PeopleFrame) -> dict[int, tuple[np.ndarray, float]]:
        from latentsync.metrics.mouth import mouth_opening

        found = {}
        for number, face in item.faces.items():
            if face.score < MIN_SCORE or longer_side(face.box) < MIN_SIZE:
                continue
            image = np.zeros((1, 1, 3), np.uint8)
            if self._sync is not None:
                image = to_image(self._aligner.align(item.frame, face.landmarks).pixels)
            found[number] = image, float(mouth_opening(face.landmarks[None])[0])
            quality = longer_side(face.box) * face.score
            if quality > self.clearest.get(number, (0.0, ""))[0]:
                x, y = box_centre(face.box)
                seconds = math.floor(item.frame.time * 1000) / 1000
                self.clearest[number] = quality, f"{max(x, 0):.0f},{max(y, 0):.0f}@{seconds:.3f}"
        return found

    def _verdicts_of(
        self,
        seen: Sequence[Mapping[int, tuple[np.ndarray, float]]],
        first: int,
        start: int,
        stop: int,
        waveform: np.ndarray,
        speaks: np.ndarray,
    ) -> tuple[list[Speaking], list[int]]:
        """Of frames ``start`` to ``stop``; ``first`` is the first of those that were ``seen``."""
        numbers = sorted({number for frame in seen for number in frame})
        judge, samples = self._judge, waveform[first * SAMPLES_PER_FRAME :]
        if not numbers:
            silent = judge.Speaking(0, None, 0.0, False, ())
            return [silent] * -(-(stop - start) // judge.STEP), []
        around = speaks[first : first + len(seen)]
        around = np.pad(around, (0, len(seen) - len(around)))
        tracks = [_track(judge.FaceTrack, seen, number) for number in numbers]
        heard = samples[: (len(seen) + MARGIN) * SAMPLES_PER_FRAME]
        told = judge.who_speaks(tracks, heard, self._sync, around)
        return [each for each in told if start <= first + each.frame < stop], numbers


def _track(kind: Any, seen: Sequence[Mapping[int, tuple[np.ndarray, float]]], number: int) -> Any:
    blank = np.zeros_like(next(frame[number][0] for frame in seen if number in frame))
    images = np.stack([frame[number][0] if number in frame else blank for frame in seen])
    present = np.array([number in frame for frame in seen])
    opening = np.array([frame[number][1] if number in frame else np.nan for frame in seen])
    return kind(images, present, opening)


def _at_model_rate(people: Iterator[PeopleFrame], duration: Fraction) -> Iterator[PeopleFrame]:
    """What is seen at each 25th of a second."""
    held: PeopleFrame | None = None
    count = 0
    for item in people:
        while held is not None and count / MODEL_FPS < item.frame.time:
            yield held
            count += 1
        held = item
    while held is not None and count / MODEL_FPS < duration:
        yield held
        count += 1


def smoothed(labels: list[int]) -> list[int]:
    """Verdicts, in which short pauses and doubts inside a turn belong to it, a single verdict is no turn, and a turn
    has a verdict's time of the silence before and after it."""
    runs = [(label, len(list(run))) for label, run in groupby(labels)]
    runs = [(UNSURE if label >= 0 and n < LEAST else label, n) for label, n in runs]
    labels = [label for label, n in runs for _ in range(n)]
    runs = [(label, len(list(run))) for label, run in groupby(labels)]
    joined: list[int] = []
    for k, (label, n) in enumerate(runs):
        inside = 0 < k < len(runs) - 1 and runs[k - 1][0] == runs[k + 1][0] >= 0
        short = (label == SILENT and n <= PAUSE) or (label == UNSURE and n <= DOUBT)
        joined += [runs[k - 1][0] if inside and short else label] * n
    wide = list(joined)
    for k, label in enumerate(joined):
        if label == SILENT:
            before, after = joined[k - 1] if k else SILENT, joined[k + 1] if k + 1 < len(joined) else SILENT
            wide[k] = after if after >= 0 else before if before >= 0 else SILENT
    return wide


def _name(number: int) -> str:
    return f"person {number}"


def _shown(start: Fraction, stop: Fraction) -> str:
    return f"{float(start):.1f}-{float(stop):.1f}"
