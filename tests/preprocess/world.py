"""A small world for the data pipeline: clips drawn in milliseconds, and scorers that know how to read them.

A clip is a flat image whose hue is that of its shot, with a grey patch where the face's mouth will be. The patch is
as bright as the audio of that frame is loud, so lips and audio agree exactly. A corner says how many faces there are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from latentsync.constants import AUDIO_RATE
from latentsync.errors import WeightsError
from latentsync.face.detector import Detection
from latentsync.preprocess.clip_record import ClipRecord, ManifestRow
from latentsync.preprocess.engine import runner
from latentsync.preprocess.engine.account import StepAccount
from latentsync.preprocess.engine.layout import Layout
from latentsync.preprocess.engine.manifest import file_records
from latentsync.preprocess.engine.recordings import read_recordings
from latentsync.preprocess.settings import (
    AlignmentSettings,
    EngineSettings,
    FaceSettings,
    PreprocessSettings,
    SyncSettings,
)
from latentsync.preprocess.steps.sequence import steps_of
from latentsync.types import Frame, SyncScore
from tests.face.drawn import detection, placed
from tests.media.synthetic import write_clip

SOURCE = "ab" * 16  # hash of a recording
WIDTH, HEIGHT = 128, 96
FACE_WIDTH = 48.0  # pixels
PATCH = slice(52, 84), slice(44, 84)  # rows and columns of the mouth
CORNER = slice(0, 16), slice(0, 16)
FACES_STEP = 60  # grey levels of the corner per face
REACH = 10  # frames; more would leave too little of a short clip to compare


def loudness(n_frames: int, seed: int) -> np.ndarray:
    """(n,) from 0 to 1, one for each frame, without a pattern."""
    return np.random.default_rng(seed).uniform(0, 1, n_frames)


def draw_talk(
    path: Path,
    seconds: float = 2.4,
    *,
    seed: int = 0,
    offset: int = 0,
    faces: int = 1,
    cuts: Sequence[int] = (),
    silent: bool = False,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    **written,
) -> Path:
    """Write a clip of 25 frames/s; ``offset`` > 0: the audio comes so many frames early. ``cuts`` are frames.

    ``written`` goes to ``write_clip``.
    """
    n_frames = round(seconds * 25)
    levels = loudness(n_frames, seed)
    frames = [_draw(level, faces, sum(i >= cut for cut in cuts) + seed) for i, level in enumerate(levels)]
    if size != (WIDTH, HEIGHT):
        frames = [cv2.resize(frame, size) for frame in frames]
    heard = np.zeros(n_frames) if silent else np.roll(levels, -offset)
    carrier = np.sin(2 * np.pi * 440 * np.arange(n_frames * 640) / AUDIO_RATE)
    audio = np.rint(20_000 * np.repeat(heard, 640) * carrier).astype(np.int16)[:, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_clip(path, frames, size=size, sound=audio, options={"crf": "12", "preset": "ultrafast"}, **written)


def _draw(level: float, faces: int, scene: int) -> np.ndarray:
    hue = np.array([[[(61 * scene) % 180, 200, 150]]], np.uint8)
    frame = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    frame[:] = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0]
    frame[PATCH] = round(40 + 170 * level)
    frame[CORNER] = FACES_STEP * faces + 20
    return frame


class DrawnDetector:
    """Finds as many faces as the corner of the image says."""

    name = "drawn"

    def __init__(self) -> None:
        self.looked = 0

    def detect(self, frames: list[Frame]) -> list[list[Detection]]:
        self.looked += len(frames)
        return [self._faces(frame.pixels) for frame in frames]

    @staticmethod
    def _faces(frame: np.ndarray) -> list[Detection]:
        height, width = frame.shape[:2]
        corner = frame[: height // 10, : width // 16].mean()
        count = int(round((corner - 20) / FACES_STEP))
        shape = placed((width / 2, height / 2), FACE_WIDTH * width / WIDTH)
        return [detection(shape + [0.2 * width * number, 0]) for number in range(count)]


def envelope_score(frames: Sequence[np.ndarray], waveform: np.ndarray) -> SyncScore:
    """Correlation of the patch's brightness with the audio's loudness at every shift; at best about 1."""
    side = len(frames[0])
    seen = np.array([frame[side // 2 : 3 * side // 4, side // 3 : 2 * side // 3].mean() for frame in frames])
    heard = np.abs(waveform[: len(seen) * 640].reshape(-1, 640)).mean(axis=1)
    n = min(len(seen), len(heard))
    shifts = range(-REACH, REACH + 1)  # the audio of frame i + shift against the image of frame i
    fits = []
    for shift in shifts:
        a = seen[max(0, -shift) : n - max(0, shift)]
        b = heard[max(0, shift) : n + min(0, shift)]
        fits.append(np.corrcoef(a, b)[0, 1] if a.std() > 0 and b.std() > 0 else 0.0)
    best = int(np.argmax(fits))
    return SyncScore(float(fits[best] - np.median(fits)), -shifts[best], float(1 - fits[best]))


class DrawnNetworks:
    """The networks of this world; images are always good. Made by name, so that other processes can make them too."""

    def __init__(self, settings: PreprocessSettings, device: str) -> None:
        self.detector = DrawnDetector()
        self.sync_scorer = envelope_score
        self.quality_scorer = lambda frames: 60.0

    def missing(self) -> dict[str, WeightsError]:
        return {}


def small_settings(raw: Path, output: Path | None = None, **changes) -> PreprocessSettings:
    """One-second pieces and small faces, all in this process."""
    values = {
        "input_dir": str(raw),
        "output_dir": None if output is None else str(output),
        "segment_seconds": 1.0,
        "faces": FaceSettings(min_side=30),
        "alignment": AlignmentSettings(resolution=96),
        "sync": SyncSettings(min_confidence=0.3),
        "engine": EngineSettings(workers=0),
    }
    return PreprocessSettings(**{**values, **changes})


def preprocess(settings: PreprocessSettings, make_networks: runner.MakeNetworks = DrawnNetworks) -> list[StepAccount]:
    """A run, whose input has to stay as it is whatever becomes of the run."""
    raw = Path(settings.input_dir)
    before = tree_hash(raw)
    try:
        return runner.preprocess(settings, make_networks)
    finally:
        assert tree_hash(raw) == before, "the input was changed"


def tree_hash(folder: Path) -> str:
    """Of names, contents, sizes and times of change of everything below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        digest.update(os.fsencode(path.relative_to(folder)))  # names may be any bytes
        digest.update(f" {stat.st_mode} {stat.st_mtime_ns} {stat.st_size}".encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below ``folder``, by relative name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows_of(output: Path, raw: Path) -> list[ManifestRow]:
    """All rows of the manifest."""
    layout = Layout.of(raw, output)
    return [row for _, journal in read_recordings(layout) for row in journal.rows.values()]


def reasons_of(output: Path, raw: Path) -> dict[str, str]:
    """Kind of reason by input file; of the first clip that was dropped, "" if none was."""
    layout = Layout.of(raw, output)
    found = {record.name: record.reason.partition(":")[0] for record in file_records(layout)}
    for record, journal in read_recordings(layout):
        found[record.name] = next((row.kind for row in journal.rows.values() if row.reason), "")
    return found


def require_agreement(output: Path, raw: Path) -> None:
    """The directories of the steps hold what the manifest says, and nothing else."""
    rows = rows_of(output, raw)
    for step in steps_of(small_settings(raw)):
        said = {clip.name for row in rows if row.step == step.name for clip in row.made}
        assert set(contents(output / step.name)) == said, step.name


def manifest_row(start: int = 0, scratch: str = "s", reason: str = "", made: bool = True) -> ManifestRow:
    """A row of the recording ``SOURCE``."""
    clip = ClipRecord(SOURCE, f"视频 'x'\u2028\x85_{start}.mp4", start, 25, (3, 9))
    return ManifestRow("shot", "digest", clip, (clip,) if made else (), reason, {"offset": -2}, 0.5, "here", scratch)
