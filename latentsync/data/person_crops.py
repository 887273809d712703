"""Videos of one person cut into training clips: pieces of a shot in which the face is well seen, aligned, with audio.

The clips are what a dub would see: our own detector, tracks and alignment, at 25 frames/s. What is made of a video is
made once: its names have a hash of the video's content and of everything that the result depends on.

R face side
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentsync.audio.voice_activity import SAMPLES_PER_FRAME, speaking_frames
from latentsync.constants import AUDIO_RATE, MODEL_FPS
from latentsync.data.manifest import Clip, content_hash, read_manifest, write_manifest
from latentsync.errors import DataError
from latentsync.face.align import FaceAligner
from latentsync.face.detector import FaceDetector
from latentsync.face.selection import FaceSelector, TargetFrame
from latentsync.face.tracking import track_faces
from latentsync.face.visibility import VisibilitySettings, assess
from latentsync.levels import to_image
from latentsync.media.audio import audio_delay, read_audio
from latentsync.media.cutting import write_flac
from latentsync.media.output_audio import AudioPart
from latentsync.media.rate import at_rate
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.types import ArrayFrame, VideoInfo

logger = logging.getLogger(__name__)

LONGEST = 125  # frames of a piece, 5 s
SPEAKING_SHARE = 0.3  # of a piece, at least: silence teaches nothing of speech
CRF = 14  # near-transparent for crops this small
_VERSION = 1


@dataclass(frozen=True, slots=True)
class CropSettings:
    """``resolution``: R. ``shortest``: frames that a piece must have."""

    resolution: int
    shortest: int


@dataclass(frozen=True, slots=True)
class Crop:
    """Frame ``index`` of a video: its aligned face (R, R, 3) uint8; None where there is none that can be used."""

    index: int
    shot: int
    image: np.ndarray | None


def make_person_crops(
    videos: Sequence[Path], detector: FaceDetector, settings: CropSettings, folder: Path
) -> dict[Path, tuple[Clip, ...]]:
    """Video -> its clips, in order of time, made in ``folder`` where they are not there yet.

    The face is the largest one of each shot. Stretches without it, turned away, cut by the frame or without speech are
    left out, and a line of the log says how much. Raises ``DataError`` if nothing is left, and as ``VideoFile``,
    ``read_audio`` and ``write_video``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = {video: _clips_of(video, detector, settings, folder) for video in videos}
    if not any(made.values()):
        raise DataError(
            f"No stretch of {', '.join(map(str, videos))} shows a speaking face for "
            f"{float(settings.shortest / MODEL_FPS):.1f} s.",
            remedy="Give videos of one person who looks into the camera and speaks.",
        )
    return made


def pieces(frames: Iterable[Crop], shortest: int) -> Iterator[list[Crop]]:
    """Runs of neighbouring usable frames of one shot in pieces of ``shortest`` to ``LONGEST`` frames; shorter ones are
    left out. Holds at most ``LONGEST + shortest`` frames, so ``shortest`` is at most half of ``LONGEST``."""
    run: list[Crop] = []
    for crop in frames:
        if run and (crop.image is None or crop.shot != run[0].shot):
            yield from _rest(run, shortest)
            run = []
        if crop.image is not None:
            run.append(crop)
        if len(run) == LONGEST + shortest:
            yield run[:LONGEST]
            run = run[LONGEST:]
    yield from _rest(run, shortest)


def _rest(run: list[Crop], shortest: int) -> Iterator[list[Crop]]:
    parts = [run] if len(run) <= LONGEST else [run[: len(run) // 2], run[len(run) // 2 :]]
    yield from (part for part in parts if len(part) >= shortest)


def _clips_of(video: Path, detector: FaceDetector, settings: CropSettings, folder: Path) -> tuple[Clip, ...]:
    stated = json.dumps([content_hash(video), detector.name, settings.resolution, settings.shortest, _VERSION])
    key = f"{video.stem}-{hashlib.blake2b(stated.encode(), digest_size=6).hexdigest()}"
    manifest = folder / f"{key}.jsonl"  # written last
    if not manifest.is_file():
        write_manifest(_make(video, detector, settings, folder / key), manifest)
    return read_manifest(manifest).clips


def _make(video: Path, detector: FaceDetector, settings: CropSettings, stem: Path) -> Iterator[Clip]:
    source, reasons = VideoFile(video), Counter[str]()
    n_frames = round(source.info.duration * MODEL_FPS)
    samples = _audio(video, n_frames)
    speaking = speaking_frames(samples.astype(np.float32) / 2**15, n_frames)
    kept = 0
    with closing(source.frames()) as frames:
        tracked = track_faces(at_rate(frames, n_frames), detector)
        crops = _crops(FaceSelector().select(tracked), source.info, settings.resolution, reasons)
        for number, piece in enumerate(pieces(crops, settings.shortest)):
            first, stop = piece[0].index, piece[-1].index + 1
            if speaking[first:stop].mean() < SPEAKING_SHARE:
                reasons["nobody speaks"] += len(piece)
                continue
            kept += len(piece)
            path = stem.with_name(f"{stem.name}_{number:03d}.mp4")
            _write(path, piece, samples[first * SAMPLES_PER_FRAME : stop * SAMPLES_PER_FRAME], source.info)
            yield Clip(
                path=path, content=content_hash(path), frames=len(piece), fps=MODEL_FPS, width=settings.resolution,
                height=settings.resolution, audio_seconds=len(piece) / float(MODEL_FPS), source=video.stem,
            )  # fmt: skip
    why = ", ".join(f"{reason} ({count} frames)" for reason, count in reasons.most_common())
    logger.info("%s: %d of %d frames can be used%s", video, kept, n_frames, f"; not: {why}" if why else "")


def _crops(targets: Iterable[TargetFrame], info: VideoInfo, resolution: int, reasons: Counter[str]) -> Iterator[Crop]:
    aligner, limits = FaceAligner(resolution, pixel_aspect=info.sample_aspect_ratio), VisibilitySettings()
    for target in targets:
        reason, image = target.reason, None
        if target.face is not None:
            reason = assess(target.face, (info.width, info.height), limits, info.sample_aspect_ratio).reason
            image = None if reason else to_image(aligner.align(target.frame, target.face.landmarks).pixels)
        if reason:
            reasons[reason] += 1
        yield Crop(target.frame.index, target.shot, image)


def _audio(video: Path, n_frames: int) -> np.ndarray:
    """(n_frames * SAMPLES_PER_FRAME,) int16 at 16 kHz, beginning with the first frame."""
    waveform = read_audio(video)
    delay = round(audio_delay(video) * AUDIO_RATE)
    shifted = np.concatenate([np.zeros(max(0, delay), np.float32), waveform[max(0, -delay) :]])
    samples = np.zeros(n_frames * SAMPLES_PER_FRAME, np.int16)
    count = min(len(samples), len(shifted))
    samples[:count] = np.clip(np.rint(shifted[:count] * 2**15), -(2**15), 2**15 - 1)
    return samples


def _write(path: Path, piece: Sequence[Crop], samples: np.ndarray, info: VideoInfo) -> None:
    audio, count = path.with_suffix(".flac"), len(piece)
    images = [crop.image for crop in piece if crop.image is not None]
    side = images[0].shape[0]
    shape = VideoInfo(path, side, side, MODEL_FPS, count, count / MODEL_FPS, color=info.color)
    write_flac(audio, [samples])
    try:
        options = EncodingOptions(codec="h264", crf=CRF, preset="veryfast", repeatable=True)
        frames = (ArrayFrame(number, number / MODEL_FPS, image) for number, image in enumerate(images))
        write_video(path, frames, shape, options, AudioPart(audio, copied=True), overwrite=True)
    finally:
        audio.unlink()
