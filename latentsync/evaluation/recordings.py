"""Open: which files make a clip, and each of its videos as all metrics see it.

That is 25 frames per second, with the audio from the first frame on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Mapping, Set
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from latentsync.constants import AUDIO_RATE, MODEL_FPS
from latentsync.errors import AudioError, DataError, LatentSyncError, VideoError
from latentsync.evaluation.settings import RESULT, SOURCE, TRUTH, Setting
from latentsync.media.audio import audio_start, read_audio
from latentsync.media.limits import GENEROUS, MediaLimits
from latentsync.media.rate import at_rate
from latentsync.media.trial import refuse_costly
from latentsync.media.video import VideoFile

_SECONDS_TO_OPEN = 30  # of a processor
SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m4v"})


@dataclass(frozen=True, slots=True)
class ClipFiles:
    """One clip; None where a folder has no file of that name. ``name``: path in the folder, without the suffix."""

    name: str
    result: Path | None
    truth: Path | None
    source: Path | None

    @property
    def dubbed(self) -> str:
        """The row of the video that was dubbed: the source if it says something else than the truth."""
        return SOURCE if self.source != self.truth else TRUTH

    def rows(self) -> dict[str, Path | None]:
        """By row, those first that others are compared with; a source that is the truth is left out."""
        paths = {TRUTH: self.truth, SOURCE: self.source, RESULT: self.result}
        return {row: path for row, path in paths.items() if row != SOURCE or self.dubbed == SOURCE}


def find_pairs(results: Path, truth: Path, source: Path | None) -> list[ClipFiles]:
    """All clips that any of the folders of results and truths names, by name; folders are searched to any depth.

    Without ``source`` the truth is the source. A source that nobody asks for is left out. Raises ``DataError`` for a
    folder that does not exist, for two files of one name, or if there is no video at all.
    """
    found = {each: videos_in(each) for each in dict.fromkeys((results, truth, source or truth))}
    names = sorted(found[results].keys() | found[truth].keys())
    if not names:
        raise DataError(
            f"Neither {results} nor {truth} holds a video.", remedy=f"Videos end in {', '.join(sorted(SUFFIXES))}."
        )
    return [
        ClipFiles(name, found[results].get(name), found[truth].get(name), found[source or truth].get(name))
        for name in names
    ]


def videos_in(folder: Path) -> dict[str, Path]:
    """``files_in`` with the suffixes of videos."""
    return files_in(folder, SUFFIXES)


def files_in(folder: Path, suffixes: Set[str]) -> dict[str, Path]:
    """Name -> file, by name, to any depth. Raises ``DataError`` for a folder that does not exist or two files of one
    name."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.", remedy="Check the path.")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes and path.is_file():
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                raise DataError(
                    f"{path} and {found[name]} have one name.",
                    remedy="Results and truths are matched by it: move one.",
                )
            found[name] = path
    return found


@dataclass(frozen=True, slots=True)
class Recording:
    """``audio`` (n,) float32 at 16 kHz that belongs to the frames, or None and ``no_audio`` why. ``size``: (width,
    height) that frames are brought to."""

    video: VideoFile
    audio: np.ndarray | None
    no_audio: str
    size: tuple[int, int]

    @property
    def n_frames(self) -> int:
        """At 25 frames/s."""
        return max(1, round(self.video.info.duration * MODEL_FPS))

    @property
    def seconds(self) -> float:
        """Length of the video."""
        return float(self.video.info.duration)

    def frames(self) -> Generator[np.ndarray, None, None]:
        """(H, W, 3) uint8 RGB, ``n_frames`` of them, decoded anew at every call; close the iterator."""
        with closing(self.video.frames()) as frames:
            for frame in at_rate(frames, self.n_frames):
                yield self._fit(frame.pixels)

    def _fit(self, pixels: np.ndarray) -> np.ndarray:
        """A frame of the video in the size that is asked for."""
        if (pixels.shape[1], pixels.shape[0]) == self.size:
            return pixels
        shrinking = pixels.shape[0] > self.size[1]
        return cv2.resize(pixels, self.size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)


def open_recording(path: Path, size: tuple[int, int] | None = None, limits: MediaLimits = GENEROUS) -> Recording:
    """``size``: (width, height) to bring its frames to; None keeps their own. Raises ``VideoError``.

    The file is opened for the first time in a process of its own, so that none can hold up the evaluation or end it.
    """
    refuse_costly(path, VideoError, limits.video_formats, limits.pixels, _SECONDS_TO_OPEN)
    video = VideoFile(path, limits=limits)
    audio, no_audio = None, ""
    try:
        audio = _audio_of(video, limits)
    except AudioError as error:
        no_audio = error.message
    return Recording(video, audio, no_audio, size or (video.info.width, video.info.height))


@dataclass(frozen=True, slots=True)
class OpenedClip:
    """The recordings of a clip by row; ``unopened``: row -> why it has none.

    ``dubbed``: the row of the video that was dubbed. Where that is the truth, there is no row of the source.
    ``reference``: the row that frames are compared with.
    """

    recordings: Mapping[str, Recording]
    unopened: Mapping[str, str]
    dubbed: str
    reference: str

    @property
    def expected_audio(self) -> np.ndarray | None:
        """(n,) what should be spoken: the audio of the truth, else that of the result."""
        rows = (self.recordings[row].audio for row in (TRUTH, RESULT) if row in self.recordings)
        return next((audio for audio in rows if audio is not None), None)

    def remarks(self) -> tuple[str, ...]:
        """What sets the files apart before anything is measured, and what their decoders have met so far."""
        result, other = self.recordings.get(RESULT), self.recordings.get(self.reference)
        found = [] if result is None or other is None else differences(result, other)
        return (*found, *(note for each in self.recordings.values() for note in each.video.notes))


def open_clip(files: ClipFiles, setting: Setting, limits: MediaLimits = GENEROUS) -> OpenedClip:
    """Open the recordings; a result is brought to the size of what it is compared with."""
    reference = TRUTH if setting.truth_is_target else files.dubbed
    recordings: dict[str, Recording] = {}
    unopened: dict[str, str] = {}
    for row, path in files.rows().items():
        other = recordings.get(reference) if row == RESULT else None
        if path is None:
            unopened[row] = f"no file of this name among the {'results' if row == RESULT else row + 's'}"
            continue
        try:
            recordings[row] = open_recording(path, None if other is None else other.size, limits)
        except LatentSyncError as error:
            unopened[row] = f"unreadable: {error.message}"
    return OpenedClip(recordings, unopened, files.dubbed, reference)


@dataclass(frozen=True, slots=True)
class WindowJoins:
    """Where a result's windows meet, in frames at 25 per second: ``starts`` of those that go on where another one ends,
    the first ``shared`` frames of which both have."""

    starts: tuple[int, ...]
    shared: int


def report_beside(result: Path) -> Path:
    """Where the report of the dub is looked for that made a result: `clip.report.json` beside `clip.mp4`."""
    return result.with_suffix(".report.json")


def joins_of(result: Path) -> WindowJoins | None:
    """What the report beside a result says of its windows; None if there is no report.

    Raises ``DataError`` for a report that does not say it.
    """
    path = report_beside(result)
    if not path.is_file():
        return None
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        rate, windows = MODEL_FPS / float(report["fps"]), report["windows"]
        starts = tuple(math.floor((int(start) - 0.5) * rate) + 1 for start in windows["joins"])  # as media.rate chooses
        return WindowJoins(starts, math.ceil(int(windows["shared"]) * rate))
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise DataError(
            f"{path} does not say where the windows of {result.name} meet ({error!r}).",
            remedy="Make it again with `latentsync dub --report`, or move it away: then the strongest place counts.",
        ) from error


def differences(result: Recording, truth: Recording) -> list[str]:
    """What sets two files apart, in words."""
    mine, true = result.video.info, truth.video.info
    found = []
    if (mine.width, mine.height) != (true.width, true.height):
        found.append(f"size: {mine.width} x {mine.height} instead of {true.width} x {true.height} px; scaled")
    if mine.fps != true.fps:
        found.append(f"fps: {_rate(mine.fps)} instead of {_rate(true.fps)}; compared at 25 frames/s")
    if abs(mine.duration - true.duration) > Fraction(1, 25):
        found.append(
            f"length: {float(mine.duration):.2f} instead of {float(true.duration):.2f} s; the common part is compared"
        )
    return found + [f"sound: {each.no_audio}" for each in (result, truth) if each.no_audio]


def _audio_of(video: VideoFile, limits: MediaLimits) -> np.ndarray:
    """Shifted so that its first sample belongs to the first frame."""
    path = video.info.path
    waveform = read_audio(path, limits=limits)
    delay = round((audio_start(path) - video.start) * AUDIO_RATE)  # samples by which the audio begins later
    delay = min(delay, math.ceil(video.info.duration * AUDIO_RATE))  # a file may say that it is years
    return np.pad(waveform, (delay, 0)) if delay > 0 else waveform[-delay:]


def _rate(fps: Fraction) -> str:
    return f"{float(fps):.5g}"
