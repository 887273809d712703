"""Step 1: which input files are videos with audio that clips can come from. Nothing is decoded but the first frame."""

from __future__ import annotations

import hashlib
from pathlib import Path

from latentsync.errors import LatentSyncError
from latentsync.media.container import IMAGE_SUFFIXES
from latentsync.media.probe import probe_video
from latentsync.preprocess.clip_record import StepResult
from latentsync.preprocess.settings import PreprocessSettings
from latentsync.types import VideoInfo

VERSION = 1


def content_of(path: Path) -> str:
    """128-bit hash of a whole file: damage anywhere makes it another one."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def run(path: Path, settings: PreprocessSettings) -> tuple[float, StepResult]:
    """Length of the video in seconds, and whether the file can be used."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return 0.0, StepResult(reason="no video: a picture")
    try:
        info = probe_video(path)
    except LatentSyncError as error:
        return 0.0, StepResult(reason=f"unreadable: {error.message}")
    seconds = float(info.duration)
    figures = {
        "width": info.width,
        "height": info.height,
        "fps": float(info.fps),
        "variable_rate": info.variable_frame_rate,
        "rotation": info.rotation,
        "codec": info.codec,
        "audio": [f"{track.codec} {track.sample_rate} Hz {track.channels} ch" for track in info.audio],
    }
    return seconds, StepResult(reason=_unusable(info, settings), figures=figures)


def _unusable(info: VideoInfo, settings: PreprocessSettings) -> str:
    if not info.audio:
        return "no sound: the file has no sound track"
    if info.duration < settings.segment_seconds:
        return f"too short: {float(info.duration):.2f} s where {settings.segment_seconds:g} s are needed"
    if min(info.width, info.height) < settings.faces.min_side:
        return f"too small: {info.width} x {info.height} px cannot hold a face of {settings.faces.min_side} px"
    return ""
