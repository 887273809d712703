"""The GRID audio-visual sentence corpus (Cooke, Barker, Cunningham, Shao: J. Acoust. Soc. Am. 120, 2006): one talker,
and face crops of him as training clips, with the shape of his mouth as it was measured in every frame.

A folder ``grid_s1`` of videos of 3 s, each a sentence of six words that its name codes ("bbaf2n": bin blue at f two
now), and beside it ``grid_s1_align`` with the times of the words. Which sentences are for training is fixed. The crops
are what dubbing would see: our own detector, tracks and alignment. Each is made once: its name has a hash of the
video's content and of everything that the result depends on.

N frames · R face side
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from latentsync.atomic import atomic_file
from latentsync.constants import MODEL_FPS
from latentsync.data.manifest import TRAIN, VALIDATION, Clip, content_hash, write_manifest
from latentsync.errors import DataError, NoFaceError
from latentsync.face.align import FaceAligner
from latentsync.face.detector import FaceDetector
from latentsync.face.selection import FaceSelector
from latentsync.face.similarity import transform
from latentsync.face.tracking import TrackingSettings, track_faces
from latentsync.levels import to_image
from latentsync.media.audio import audio_delay
from latentsync.media.output_audio import AudioPart
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.metrics.mouth import mouth_opening
from latentsync.types import ArrayFrame, Frame

TEST = "test"  # sentences that no training and no choice of weights may see
TALKER_FOLDER, WORDS_FOLDER = "grid_s1", "grid_s1_align"
SPEAKER = "grid s1"
FILE_RATE = 25_000  # units per second of the times of words

_HELD_OUT = 30  # sentences; the first half of them for validation
_COMMAND = {"b": "bin", "l": "lay", "p": "place", "s": "set"}
_COLOR = {"b": "blue", "g": "green", "r": "red", "w": "white"}
_PREPOSITION = {"a": "at", "b": "by", "i": "in", "w": "with"}
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGIT = dict(zip("z123456789", _DIGITS, strict=True))
_ADVERB = {"a": "again", "n": "now", "p": "please", "s": "soon"}
logger = logging.getLogger(__name__)

MANIFEST, TEST_MANIFEST = "clips.jsonl", "test_clips.jsonl"
CRF = 14  # near-transparent for crops this small

_VERSION = 1
_EYES, _CORNERS = (36, 45), (48, 54)  # of the 68 points: outer corners of the eyes, corners of the mouth
_REST, _WIDEST = 5, 98  # percentiles of a talker's openings: closed, and as wide as he goes
_NARROW, _BROAD = 2, 98  # percentiles of the mouth's width
_KEPT = 1000  # clips whose mouth stays in memory


@dataclass(frozen=True, slots=True)
class GridSentence:
    """One clip. ``split`` is ``TRAIN``, ``VALIDATION`` or ``TEST``."""

    path: Path
    words: str
    split: str

    @property
    def name(self) -> str:
        """The six letters and digits that code the sentence."""
        return self.path.stem


def sentence_of(name: str) -> str:
    """The six words of the sentence that a file's name codes. Raises ``DataError`` for another name."""
    try:
        command, color, preposition, letter, digit, adverb = list(name.lower())
        words = [_COMMAND[command], _COLOR[color], _PREPOSITION[preposition], letter, _DIGIT[digit], _ADVERB[adverb]]
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{name} codes no sentence of the GRID corpus.",
            remedy="Its videos are called as they come, six letters and digits: bbaf2n.mpg.",
        ) from error
    return " ".join(words)


def grid_sentences(people: Path) -> tuple[GridSentence, ...]:
    """The clips in ``people``/grid_s1 by name, each on its side: 15 each for validation and test, the rest to train.

    The sides follow from the names alone. Raises ``DataError`` if there are none, or too few to hold any out.
    """
    files = sorted((people / TALKER_FOLDER).glob("*.mpg"))
    if len(files) <= _HELD_OUT:
        raise DataError(
            f"{people / TALKER_FOLDER} holds {len(files)} videos; more than {_HELD_OUT} are needed.",
            remedy="people=DIR names a folder with grid_s1 in it, see docs/train_builtin.md; or leave it away.",
        )
    ranked = sorted(files, key=lambda file: hashlib.blake2b(file.stem.encode(), digest_size=8).digest())
    sides = dict.fromkeys(files, TRAIN)
    sides |= {file: VALIDATION if k < _HELD_OUT // 2 else TEST for k, file in enumerate(ranked[:_HELD_OUT])}
    return tuple(GridSentence(file, sentence_of(file.stem), sides[file]) for file in files)


def word_times(people: Path, sentence: GridSentence) -> list[tuple[str, float, float]]:
    """The words and silences ("sil") of a sentence with start and end in s, as the corpus gives them.

    Raises ``DataError`` for a file that is missing or says something else.
    """
    path = people / WORDS_FOLDER / f"{sentence.name}.align"
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [(word, int(start) / FILE_RATE, int(end) / FILE_RATE) for start, end, word in rows]
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} does not give the times of words: {error}.", remedy="Lay the file there again, or none."
        ) from error


def make_grid_crops(people: Path, detector: FaceDetector, resolution: int, folder: Path) -> Path:
    """Make what is missing in ``folder`` of the clips of ``people``/grid_s1, ``resolution`` pixels wide, and return the
    manifest of those for training and validation; those for tests are in ``TEST_MANIFEST`` beside it.

    A video that does not show his face in every frame is left out, with a warning: some begin with grey frames.
    Raises as ``grid_sentences`` and ``write_video``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = {sentence: _make_clip(sentence, detector, resolution, folder) for sentence in grid_sentences(people)}
    clips = {sentence: clip for sentence, clip in made.items() if clip is not None}
    _write_mouths([clip for sentence, clip in clips.items() if sentence.split == TRAIN], clips.values())
    write_manifest([clip for sentence, clip in clips.items() if sentence.split == TEST], folder / TEST_MANIFEST)
    manifest = folder / MANIFEST
    write_manifest([clip for sentence, clip in clips.items() if sentence.split != TEST], manifest)
    return manifest


@lru_cache(maxsize=_KEPT)
def measured_mouth(clip: Path) -> np.ndarray:
    """The mouth in every frame of a clip that ``make_grid_crops`` wrote: (N, 3) float32 in [0, 1], opening, spread and
    rounding as in ``talkers.geometry.Articulation``, by the landmarks.

    The scale is the talker's own: opening from his closed mouth to his widest, spread and rounding from the middle of
    his mouth's width to its extremes. Raises ``DataError`` for another clip.
    """
    try:
        with np.load(clip.with_suffix(".npz")) as file:
            return file["mouth"]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{clip} has no measured mouth beside it.", remedy="Make the clips again.") from error


def mouth_shapes(landmarks: np.ndarray) -> np.ndarray:
    """(N, 2) of landmarks (N, 68, 2): gap of the inner lips and width of the mouth, over the distance of the eyes.

    Raises as ``mouth_opening``.
    """
    opening = mouth_opening(landmarks)

    def span(pair: tuple[int, int]) -> np.ndarray:
        return np.linalg.norm(landmarks[:, pair[0]] - landmarks[:, pair[1]], axis=1)

    return np.stack([opening, span(_CORNERS) / span(_EYES)], axis=1)


def articulated(shapes: np.ndarray, of_talker: np.ndarray) -> np.ndarray:
    """(N, 3) opening, spread and rounding in [0, 1] of ``mouth_shapes`` (N, 2), on the scale that all shapes
    ``of_talker`` (M, 2) give."""
    closed, widest = np.percentile(of_talker[:, 0], [_REST, _WIDEST])
    narrow, middle, broad = np.percentile(of_talker[:, 1], [_NARROW, 50, _BROAD])
    opening = (shapes[:, 0] - closed) / max(widest - closed, 1e-6)
    spread = (shapes[:, 1] - middle) / max(broad - middle, 1e-6)
    rounding = (middle - shapes[:, 1]) / max(middle - narrow, 1e-6)
    return np.clip(np.stack([opening, spread, rounding], axis=1), 0, 1).astype(np.float32)


def _make_clip(sentence: GridSentence, detector: FaceDetector, resolution: int, folder: Path) -> Clip | None:
    settings = json.dumps([content_hash(sentence.path), detector.name, resolution, _VERSION])
    key = hashlib.blake2b(settings.encode(), digest_size=6).hexdigest()
    path = folder / f"{sentence.name}-{key}.mp4"
    if not path.with_suffix(".npz").is_file():  # written last
        try:
            landmarks = _write_crops(sentence.path, path, detector, resolution)
        except NoFaceError as error:
            logger.warning("%s is left out: %s", sentence.path, error.message)
            landmarks = np.zeros((0, 68, 2), np.float32)
        _write_truth(path, landmarks, np.zeros((len(landmarks), 3), np.float32))
    with np.load(path.with_suffix(".npz")) as file:
        frames = len(file["landmarks"])
    if not frames:
        return None
    return Clip(
        path=path, content=content_hash(path), frames=frames, fps=MODEL_FPS, width=resolution, height=resolution,
        audio_seconds=frames / float(MODEL_FPS), split="" if sentence.split == TEST else sentence.split,
        speaker=SPEAKER, source=sentence.name,
    )  # fmt: skip


def _write_crops(source: Path, target: Path, detector: FaceDetector, resolution: int) -> np.ndarray:
    """Write the clip and return the landmarks of its frames, (N, 68, 2) in pixels of the crop."""
    video, seen = VideoFile(source), list[np.ndarray]()
    if video.info.fps != MODEL_FPS:
        raise DataError(f"{source} has {video.info.fps} frames/s.", remedy="Take the files of the corpus.")
    info = replace(video.info, width=resolution, height=resolution)
    options = EncodingOptions(codec="h264", crf=CRF, preset="veryfast", repeatable=True)
    audio = AudioPart(source, delay=audio_delay(source))
    with closing(video.frames()) as frames:
        write_video(target, _crops(frames, detector, resolution, seen), info, options, audio, overwrite=True)
    return np.stack(seen)


def _crops(frames: Iterable[Frame], detector: FaceDetector, resolution: int, seen: list[np.ndarray]) -> Iterator[Frame]:
    """The aligned face of every frame; its landmarks go to ``seen``. Raises ``NoFaceError`` at a frame without one."""
    aligner = FaceAligner(resolution)
    for target in FaceSelector().select(track_faces(frames, detector, TrackingSettings(one_shot=True))):
        if target.face is None:
            raise NoFaceError(f"{target.reason} in frame {target.frame.index}")
        matrix = aligner.matrix(target.face.landmarks)
        seen.append(transform(matrix, target.face.landmarks.astype(np.float64)).astype(np.float32))
        yield ArrayFrame(target.frame.index, target.frame.time, to_image(aligner.crop(target.frame, matrix).pixels))


def _write_mouths(of_talker: Iterable[Clip], clips: Iterable[Clip]) -> None:
    """Put the mouths of ``clips`` beside them, on the scale of the training clips."""
    scale = np.concatenate([mouth_shapes(_landmarks(clip)) for clip in of_talker])
    for clip in clips:
        landmarks = _landmarks(clip)
        mouth = articulated(mouth_shapes(landmarks), scale)
        with np.load(clip.path.with_suffix(".npz")) as file:
            known = file["mouth"]
        if not np.array_equal(known, mouth):
            _write_truth(clip.path, landmarks, mouth)


def _landmarks(clip: Clip) -> np.ndarray:
    with np.load(clip.path.with_suffix(".npz")) as file:
        return file["landmarks"]


def _write_truth(clip: Path, landmarks: np.ndarray, mouth: np.ndarray) -> None:
    with atomic_file(clip.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, landmarks=landmarks, mouth=mouth)
