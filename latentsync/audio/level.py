"""One level for all speech: Whisper's features depend on how loud a recording is, and a mouth should not."""

from __future__ import annotations

import numpy as np

from latentsync.constants import AUDIO_RATE, exact_div

STANDARD = 10 ** (-12 / 20)  # level of the loudest syllables, full scale 1; that of most finished recordings is near it
_FRAME = exact_div(AUDIO_RATE, 50)  # samples, 20 ms
_LOUD = 99  # percentile of the frames' levels: above it are clicks
_SETTLING = 10  # frames around what is loud in which the mouth opens or comes to rest
_QUIET = 10 ** (-35 / 20)  # share of the level of speech below which nothing is said
_FAINTEST = 10 ** (-50 / 20)  # full scale 1: what is below is noise, whatever was heard
_MOST_LIVE_GAIN = 10.0
_MOST_GAIN = 100.0  # 40 dB: what is quieter than that is taken for noise, and stays quiet


def at_standard_level(waveform: np.ndarray) -> np.ndarray:
    """The waveform (n,) float32 at 16 kHz times one factor, so that its loudest syllables have the level ``STANDARD``.

    Values may be larger than 1. Silence stays as it is.
    """
    level = heard_level(waveform)
    return waveform if level == 0 else waveform * np.float32(min(STANDARD / level, _MOST_GAIN))


def live_gain(level: float) -> np.float32:
    """The factor that brings audio of this ``heard_level`` to ``STANDARD``: at most 20 dB, because before somebody
    speaks all that was heard is noise."""
    return np.float32(min(STANDARD / level, _MOST_LIVE_GAIN) if level else 1.0)


def heard_level(waveform: np.ndarray) -> float:
    """Root mean square of the louder frames of (n,) samples, 0 for less than one frame."""
    powers = _powers(waveform)
    return float(np.sqrt(np.percentile(powers, _LOUD))) if len(powers) else 0.0


def without_noise(waveform: np.ndarray, level: float) -> np.ndarray:
    """The waveform (n,), silent where nothing is within 35 dB of the ``level`` of speech, or above -50 dBFS, for
    ``_SETTLING`` frames before and after. Frames are counted from its start."""
    limit = max(level * _QUIET, _FAINTEST) ** 2
    loud = _powers(waveform) > limit
    near = np.convolve(loud, np.ones(2 * _SETTLING + 1), "same")[: len(loud)] > 0 if len(loud) > 2 * _SETTLING else None
    if near is None:
        near = np.full(len(loud), loud.any())
    keep = np.repeat(near, _FRAME)
    keep = np.pad(keep, (0, len(waveform) - len(keep)), constant_values=bool(near[-1]) if len(near) else True)
    return np.where(keep, waveform, np.float32(0))


def _powers(waveform: np.ndarray) -> np.ndarray:
    """(n // 320,) mean squares of frames of 20 ms."""
    frames = waveform[: len(waveform) // _FRAME * _FRAME].reshape(-1, _FRAME)
    return np.einsum("ij,ij->i", frames, frames) / _FRAME
