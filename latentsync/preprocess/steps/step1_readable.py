"""Step 1: which input files are videos with audio that clips can come from. Nothing is decoded but the first frame."""

from __future__ import annotations

import hashlib
from pathlib import Path

from latentsync.errors import LatentSyncError, VideoError
from latentsync.media.container import IMAGE_SUFFIXES
from latentsync.media.probe import probe_video
from latentsync.media.trial import refuse_costly
from latentsync.preprocess.clip_record import StepResult
from latentsync.preprocess.settings import PreprocessSettings
from latentsync.types import VideoInfo

VERSION = 1

_SECONDS_TO_OPEN = 30  # of a processor: a day of video has millions of packets in its index


def content_of(path: Path) -> str:
    """128-bit hash of a whole file: damage anywhere makes it another one."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def too_large(n_bytes: int, settings: PreprocessSettings) -> str:
    """The reason not to read a file of that size; "" if there is none. Holes in a file cost nobody a disk."""
    gigabytes = settings.limits.gigabytes
    return f"too large: {n_bytes / 1e9:.1f} GB where {gigabytes:g} are taken" if n_bytes > gigabytes * 1e9 else ""


def run(path: Path, settings: PreprocessSettings) -> tuple[float, StepResult]:
    """Length of the video in seconds, and whether the file can be used.

    It is opened for the first time in a process of its own, so that no file can hold up the run or end it.
    """
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return 0.0, StepResult(reason="no video: a picture")
    limits = settings.media_limits
    try:
        refuse_costly(path, VideoError, limits.video_formats, limits.pixels, _SECONDS_TO_OPEN)
        info = probe_video(path, limits=limits)
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
