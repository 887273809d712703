"""Step 7: clips whose lips and sound agree, with the sound moved to where it fits."""

from __future__ import annotations

import numpy as np

from latentsync.constants import AUDIO_RATE, MODEL_FPS
from latentsync.media.audio import read_audio
from latentsync.media.cutting import replace_audio
from latentsync.media.video import VideoFile
from latentsync.preprocess.clip import Job, Made, Outcome
from latentsync.preprocess.settings import PreprocessSettings
from latentsync.preprocess.steps.networks import Tools
from latentsync.preprocess.steps.silence import is_loud
from latentsync.types import SyncScore

VERSION = 1

_SAMPLES_PER_FRAME = int(AUDIO_RATE / MODEL_FPS)


def run(job: Job, settings: PreprocessSettings, tools: Tools) -> Outcome:
    """A silent clip is not judged. ``DataError`` of the scorer passes through."""
    waveform = read_audio(job.file)
    samples = np.rint(waveform * 32768).astype(np.int16)
    silence = 1 - float(is_loud(samples).mean())
    figures = {"silence": round(silence, 4)}
    if silence > settings.sync.max_silence:
        return Outcome(reason=f"silent: {silence:.0%} of the clip", figures=figures)
    score = tools.sync_scorer([frame.pixels for frame in VideoFile(job.file).frames()], waveform)
    figures |= {"confidence": round(score.confidence, 4), "offset": score.offset_frames}
    reason = _unfit(score, settings)
    if reason:
        return Outcome(reason=reason, figures=figures)
    if score.offset_frames == 0:
        return Outcome((Made(job.clip),), figures=figures)
    target = job.scratch / "synced.mp4"
    replace_audio(job.file, shifted(samples, score.offset_frames), target)
    return Outcome((Made(job.clip, target),), figures=figures)


def shifted(samples: np.ndarray, frames: int) -> np.ndarray:
    """The sound ``frames`` frames later (earlier if negative), as long as before; silence comes in at the open end."""
    count = frames * _SAMPLES_PER_FRAME
    moved = np.zeros_like(samples)
    if count >= 0:
        moved[count:] = samples[: len(samples) - count]
    else:
        moved[:count] = samples[-count:]
    return moved


def _unfit(score: SyncScore, settings: PreprocessSettings) -> str:
    sync = settings.sync
    if score.confidence < sync.min_confidence:
        return f"out of sync: confidence {score.confidence:.2f} where {sync.min_confidence:g} is needed"
    if abs(score.offset_frames) > sync.max_offset:
        return f"far out of sync: {score.offset_frames:+d} frames where {sync.max_offset} can be put right"
    return ""
