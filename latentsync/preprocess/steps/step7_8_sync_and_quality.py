"""Steps 7 and 8: clips whose lips and audio agree, with the audio moved to where it fits, and of good enough images."""

from __future__ import annotations

from typing import Any

import numpy as np

from latentsync.audio.voice_activity import SAMPLES_PER_FRAME, is_audible
from latentsync.media.audio import read_audio
from latentsync.media.cutting import replace_audio
from latentsync.media.video import VideoFile
from latentsync.preprocess.clip_record import MadeClip, StepInput, StepResult
from latentsync.preprocess.settings import PreprocessSettings, SyncSettings
from latentsync.preprocess.steps.networks import StepNetworks
from latentsync.types import SyncScore

SYNC_VERSION = 1
QUALITY_VERSION = 1


def score_sync(job: StepInput, settings: PreprocessSettings, networks: StepNetworks) -> StepResult:
    """Step 7. A silent clip is not scored. ``DataError`` of the scorer passes through."""
    waveform = read_audio(job.file)
    samples = np.rint(waveform * 32768).astype(np.int16)
    silence = 1 - float(is_audible(samples).mean())
    figures: dict[str, Any] = {"silence": round(silence, 4)}
    if silence > settings.sync.max_silence:
        return StepResult(reason=f"silent: {silence:.0%} of the clip", figures=figures)
    score = networks.sync_scorer([frame.pixels for frame in VideoFile(job.file).frames()], waveform)
    figures |= {"confidence": round(score.confidence, 4), "offset": score.offset_frames}
    reason = _reason_to_drop(score, settings.sync)
    if reason:
        return StepResult(reason=reason, figures=figures)
    if score.offset_frames == 0:
        return StepResult((MadeClip(job.clip),), figures=figures)
    target = job.scratch / "synced.mp4"
    replace_audio(job.file, shifted(samples, score.offset_frames), target)
    return StepResult((MadeClip(job.clip, target),), figures=figures)


def score_quality(job: StepInput, settings: PreprocessSettings, networks: StepNetworks) -> StepResult:
    """Step 8, by the first, middle and last frame. ``DataError`` of the scorer (frames too small for it) passes
    through."""
    wanted = {0, job.clip.frames // 2, job.clip.frames - 1}
    chosen = [frame.pixels for frame in VideoFile(job.file).frames() if frame.index in wanted]
    rating = networks.quality_scorer(chosen)
    figures = {"quality": round(rating, 2)}
    if rating < settings.min_quality:
        reason = f"poor pictures: {rating:.1f} where {settings.min_quality:g} is needed"
        return StepResult(reason=reason, figures=figures)
    return StepResult((MadeClip(job.clip),), figures=figures)


def shifted(samples: np.ndarray, frames: int) -> np.ndarray:
    """16-bit audio (n,) at 16 kHz ``frames`` frames later (earlier if negative), as long as before; silence comes in at
    the open end."""
    count = frames * SAMPLES_PER_FRAME
    moved = np.zeros_like(samples)
    if count >= 0:
        moved[count:] = samples[: len(samples) - count]
    else:
        moved[:count] = samples[-count:]
    return moved


def _reason_to_drop(score: SyncScore, sync: SyncSettings) -> str:
    if score.confidence < sync.min_confidence:
        return f"out of sync: confidence {score.confidence:.2f} where {sync.min_confidence:g} is needed"
    if abs(score.offset_frames) > sync.max_offset:
        return f"far out of sync: {score.offset_frames:+d} frames where {sync.max_offset} can be put right"
    return ""
