"""One level for all speech: Whisper's features depend on how loud a recording is, and a mouth should not."""

from __future__ import annotations

import numpy as np

from latentsync.constants import AUDIO_RATE, exact_div

STANDARD = 10 ** (-12 / 20)  # level of the loudest syllables, full scale 1; that of most finished recordings is near it
_FRAME = exact_div(AUDIO_RATE, 50)  # samples, 20 ms
_LOUD = 99  # percentile of the frames' levels: above it are clicks
_MOST_GAIN = 100.0  # 40 dB: what is quieter than that is taken for noise, and stays quiet


def at_standard_level(waveform: np.ndarray) -> np.ndarray:
    """The waveform (n,) float32 at 16 kHz times one factor, so that its loudest syllables have the level ``STANDARD``.

    Values may be larger than 1. Silence stays as it is.
    """
    level = _level(waveform)
    return waveform if level == 0 else waveform * np.float32(min(STANDARD / level, _MOST_GAIN))


def _level(waveform: np.ndarray) -> float:
    """Root mean square of the louder frames, 0 for less than one frame."""
    n_frames = len(waveform) // _FRAME
    if n_frames == 0:
        return 0.0
    frames = waveform[: n_frames * _FRAME].reshape(n_frames, _FRAME)
    powers = np.einsum("ij,ij->i", frames, frames) / _FRAME
    return float(np.sqrt(np.percentile(powers, _LOUD)))
