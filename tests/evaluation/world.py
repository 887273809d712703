"""Drawn talkers as files with their faces beside them, so that an evaluation needs no face detector."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.data.talkers.clip import TalkerClip, make_talker
from latentsync.evaluation.networks import EvaluationNetworks, load_networks
from latentsync.evaluation.settings import EvaluationSettings, EvaluationWeights
from latentsync.face.detections_file import write_detections
from latentsync.face.detector import Detection
from latentsync.places import BUILTIN_SYNCNET
from tests.media.synthetic import write_clip

SYNCNET = BUILTIN_SYNCNET
SETTINGS = EvaluationSettings(resolution=128)


def weights(folder: Path) -> EvaluationWeights:
    """The built-in sync network and nothing else; ``folder`` must be empty or not exist."""
    return EvaluationWeights(folder, SYNCNET)


def networks(folder: Path, settings: EvaluationSettings = SETTINGS) -> EvaluationNetworks:
    return load_networks(settings, weights(folder))


def talker(seed: int = 0, seconds: float = 3.0, size: int = 160) -> TalkerClip:
    return make_talker(60_000_000 + seed, 60_000_100 + seed, 60_000_200 + seed, seconds=seconds, size=size)


def write_talker(
    path: Path, clip: TalkerClip, *, audio: bool = True, faces: bool = True, frames: int | None = None,
    fps: Fraction | int = 25, size: int | None = None, quality: int = 12,
) -> Path:  # fmt: skip
    """A video and, of the same name, its faces. ``frames``: only so many; ``size``: another side of the square."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    shown = list(clip.frames(0, frames))
    scale = 1.0 if size is None else size / clip.width
    if size is not None:
        shown = [cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in shown]
    samples = np.rint(clip.waveform * 32767).astype(np.int16)[:, None]
    write_clip(
        path, shown, fps=fps, sound=samples if audio else None, sound_codec="flac",
        options={"crf": str(quality), "preset": "ultrafast"},
    )  # fmt: skip
    known = {
        number: [_detection(points * scale)] if faces else []
        for number, points in enumerate(clip.landmarks[: len(shown)])
    }
    write_detections(path.with_suffix(".npz"), known)
    return path


def _detection(points: np.ndarray) -> Detection:
    return Detection(np.concatenate([points.min(0), points.max(0)]), points.astype(np.float32), 1.0)
