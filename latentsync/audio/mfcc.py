"""Mel-frequency cepstral coefficients (Davis & Mermelstein 1980), which SyncNet v2 takes.

The parameters are the defaults of the package python_speech_features 0.6, with which that network was published.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import dct
from scipy.signal import lfilter

from latentsync.audio.mel import checked_waveform
from latentsync.constants import AUDIO_RATE

MFCC_COEFFICIENTS = 13
MFCC_HOP = 160  # samples, 10 ms

_SAMPLE_SCALE = 32768  # the network was trained on 16-bit numbers, and the energies know their scale
_PRE_EMPHASIS = 0.97
_WINDOW = 400  # samples, 25 ms, not tapered
_FFT = 512
_BANDS = 26
_LIFTER = 22
_FLOOR = np.finfo(np.float64).eps  # in place of a power of zero, before the logarithm
_BLOCK_FRAMES = 4096  # spectra held at once: about 17 MB


def mfcc(waveform: np.ndarray) -> np.ndarray:
    """(13, T) float64: cepstral coefficients at 100 frames per second; frame ``t`` begins at sample ``160 t``.

    ``waveform`` (n,) float in [-1, 1] at 16 kHz. T = 1 for n <= 400, else 1 + ceil((n - 400) / 160); the last frame is
    filled up with silence. Coefficient 0 is the logarithm of the frame's energy. Raises ``AudioError`` for audio
    without samples or with samples that are not finite.
    """
    samples = checked_waveform(waveform).astype(np.float64) * _SAMPLE_SCALE
    emphasised = lfilter([1.0, -_PRE_EMPHASIS], [1.0], samples)
    n_frames = 1 + max(0, -(-(len(samples) - _WINDOW) // MFCC_HOP))
    padded = np.pad(emphasised, (0, (n_frames - 1) * MFCC_HOP + _WINDOW - len(samples)))
    frames = sliding_window_view(padded, _WINDOW)[::MFCC_HOP]
    coefficients = np.empty((MFCC_COEFFICIENTS, n_frames))
    for start in range(0, n_frames, _BLOCK_FRAMES):
        coefficients[:, start : start + _BLOCK_FRAMES] = _cepstrum(frames[start : start + _BLOCK_FRAMES]).T
    return coefficients


def _cepstrum(frames: np.ndarray) -> np.ndarray:
    """(n, 400) windows of audio -> (n, 13)."""
    power = np.abs(np.fft.rfft(frames, _FFT)) ** 2 / _FFT
    bands = power @ _filter_bank().T
    cepstrum = dct(np.log(_nonzero(bands)), type=2, norm="ortho", axis=1)[:, :MFCC_COEFFICIENTS]
    cepstrum *= 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(MFCC_COEFFICIENTS) / _LIFTER)
    cepstrum[:, 0] = np.log(_nonzero(power.sum(axis=1)))
    return cepstrum


def _nonzero(power: np.ndarray) -> np.ndarray:
    return np.where(power == 0, _FLOOR, power)


@cache
def _filter_bank() -> np.ndarray:
    """(26, 257) triangles of height 1 between whole FFT bins, evenly spaced in mel (2595 log10(1 + f / 700))."""
    mels = np.linspace(0, 2595 * np.log10(1 + AUDIO_RATE / 2 / 700), _BANDS + 2)
    edges = np.floor((_FFT + 1) * 700 * (10 ** (mels / 2595) - 1) / AUDIO_RATE)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.arange(_FFT // 2 + 1)
    rising = (bins - left) / (centre - left)
    falling = (right - bins) / (right - centre)
    return np.clip(np.minimum(rising, falling), 0, None)
