"""In which frames somebody speaks and which stretches of audio are silent, judged by level."""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.constants import AUDIO_RATE, MODEL_FPS, exact_div

SAMPLES_PER_FRAME = exact_div(AUDIO_RATE, int(MODEL_FPS))
FLOOR_DB = -35.0  # below the loud parts of the audio, under which nothing is said
SETTLING = 4  # frames (0.16 s) around everything loud in which the mouth opens or comes to rest

_STRETCH = AUDIO_RATE // 50  # samples, 20 ms
_FAINTEST = round(32768 * 10 ** (-60 / 20))  # 16-bit peak of -60 dBFS


def speaking_frames(waveform: np.ndarray, n_frames: int) -> np.ndarray:
    """(n_frames,) bool at 25 frames/s: False where the mouth should rest.

    ``waveform`` (n,) in [-1, 1] at 16 kHz from the first frame on; beyond its end there is silence. A frame is loud
    when its level (RMS) lies within 35 dB of the 95th percentile of all; music and steady noise count as speech.
    """
    samples = np.zeros(n_frames * SAMPLES_PER_FRAME)
    given = waveform[: len(samples)]
    samples[: len(given)] = given
    level = np.sqrt((samples.reshape(n_frames, -1) ** 2).mean(axis=1))
    loud = (level > np.quantile(level, 0.95) * 10 ** (FLOOR_DB / 20)).astype(np.uint8)
    near = cv2.dilate(loud[None], np.ones((1, 2 * SETTLING + 1), np.uint8))
    return near[0].astype(bool)


def is_audible(samples: np.ndarray) -> np.ndarray:
    """(n,) bool for stretches of 20 ms of 16-bit samples at 16 kHz: whether a peak reaches -60 dBFS."""
    samples = np.pad(samples, (0, -len(samples) % _STRETCH))
    return np.abs(samples.astype(np.int32)).reshape(-1, _STRETCH).max(axis=1) >= _FAINTEST
