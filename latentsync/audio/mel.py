"""Mel spectrograms of 16 kHz mono audio: the one that Whisper reads and the one that the sync networks read.

Both are computed in blocks, so the work space does not depend on the length of the audio.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
import torch
from scipy.signal import lfilter

from latentsync.constants import (
    AUDIO_RATE,
    MODEL_FPS,
    SYNCNET_MEL_BANDS,
    SYNCNET_MEL_HOP,
    SYNCNET_MEL_RATE,
    WHISPER_HOP,
    WINDOW_FRAMES,
)
from latentsync.errors import AudioError

WHISPER_BANDS = 80
_WHISPER_FFT = 400  # samples, 25 ms
_WHISPER_FLOOR = 1e-10  # smallest power before the logarithm
_WHISPER_RANGE = 8.0  # powers of ten that are kept below the loudest point of the audio

_SYNCNET_FFT = 800  # samples, 50 ms
_SYNCNET_PRE_EMPHASIS = 0.97
_SYNCNET_BAND_LIMITS = (55.0, 7600.0)  # Hz
_SYNCNET_FLOOR = 1e-5  # smallest magnitude before the logarithm, -100 dB
_SYNCNET_REFERENCE_DB = 20.0
_SYNCNET_RANGE_DB = 100.0  # mapped onto [-4, 4]
_SYNCNET_LIMIT = 4.0

_BLOCK_FRAMES = 4096  # spectra held at once: about 26 MB of complex128 at 401 bins


def whisper_log_mel(waveform: np.ndarray) -> np.ndarray:
    """Whisper's log-mel spectrogram of a whole recording (Radford et al. 2022, section 2.2).

    ``waveform`` (n,) in [-1, 1] at 16 kHz -> (80, n // 160) float32. The floor, eight powers of ten below the maximum,
    is relative to the loudest point of the **whole** recording, so the frames of a part differ from those of the whole
    where they are that quiet. Raises ``AudioError`` for less than two frames (20 ms) or samples that are not finite.
    """
    samples = checked_waveform(waveform).astype(np.float32, copy=False)
    n_frames = len(samples) // WHISPER_HOP
    if n_frames < 2:
        raise AudioError(
            f"The sound lasts {len(samples) / AUDIO_RATE:.3f} s; at least {2 * WHISPER_HOP / AUDIO_RATE} s are needed.",
            remedy="Check that the sound file holds what it should.",
        )
    filters = slaney_filter_bank(_WHISPER_FFT, WHISPER_BANDS, 0.0, AUDIO_RATE / 2)
    padded = np.pad(samples, _WHISPER_FFT // 2, mode="reflect")
    log_mel = _band_sums(padded, filters, WHISPER_HOP, n_frames, power=2)
    np.log10(np.maximum(log_mel, _WHISPER_FLOOR, out=log_mel), out=log_mel)
    np.maximum(log_mel, log_mel.max() - np.float32(_WHISPER_RANGE), out=log_mel)
    log_mel += 4.0
    log_mel /= 4.0
    return log_mel


def syncnet_mel(waveform: np.ndarray) -> np.ndarray:
    """The mel spectrogram that StableSyncNet reads (the one of Wav2Lip, Prajwal et al. 2020).

    ``waveform`` (n,) in [-1, 1] at 16 kHz -> (80, n // 200 + 1) float32 in [-4, 4], 80 frames per second, frame ``t``
    centred on sample ``200 t`` with silence beyond both ends. Pre-emphasised, magnitudes, 20 log10; float64 inside.
    Raises ``AudioError`` for audio without samples or with samples that are not finite.
    """
    samples = lfilter([1.0, -_SYNCNET_PRE_EMPHASIS], [1.0], checked_waveform(waveform).astype(np.float64))
    filters = slaney_filter_bank(_SYNCNET_FFT, SYNCNET_MEL_BANDS, *_SYNCNET_BAND_LIMITS)
    n_frames = len(samples) // SYNCNET_MEL_HOP + 1
    padded = np.pad(samples, _SYNCNET_FFT // 2)
    mel = _band_sums(padded, filters, SYNCNET_MEL_HOP, n_frames, power=1)
    decibels = 20.0 * np.log10(np.maximum(mel, _SYNCNET_FLOOR)) - _SYNCNET_REFERENCE_DB
    scaled = 2 * _SYNCNET_LIMIT * (decibels + _SYNCNET_RANGE_DB) / _SYNCNET_RANGE_DB - _SYNCNET_LIMIT
    return np.clip(scaled, -_SYNCNET_LIMIT, _SYNCNET_LIMIT).astype(np.float32)


def mel_window(
    mel: np.ndarray, frame_index: int, n_frames: int = WINDOW_FRAMES, fps: Fraction = MODEL_FPS
) -> np.ndarray:
    """The part of a ``syncnet_mel`` (80, T) that belongs to ``n_frames`` video frames from ``frame_index`` on.

    (80, L) view: starts at mel frame ``floor(80 i / fps)``, L = ``ceil(80 n / fps)``: 52 for 16 frames at 25 fps.
    Raises ``ValueError`` if the window is not wholly inside the audio.
    """
    start = int(SYNCNET_MEL_RATE * frame_index / fps // 1)
    length = -int(-SYNCNET_MEL_RATE * n_frames / fps // 1)
    if start < 0 or start + length > mel.shape[-1]:
        raise ValueError(f"mel frames {start} to {start + length} are not inside audio of {mel.shape[-1]}")
    return mel[..., start : start + length]


@cache
def slaney_filter_bank(n_fft: int, n_bands: int, low: float, high: float) -> np.ndarray:
    """Triangular mel filters of equal area for the ``n_fft // 2 + 1`` bins of a spectrum of 16 kHz audio.

    (n_bands, n_fft // 2 + 1) float32; ``low`` and ``high`` are the outer limits in Hz. The mel scale is that of
    Slaney's Auditory Toolbox (1998): linear to 1 kHz, logarithmic above.
    """
    edges = _mel_to_hz(np.linspace(_hz_to_mel(low), _hz_to_mel(high), n_bands + 2))
    bins = np.arange(n_fft // 2 + 1) * (AUDIO_RATE / n_fft)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    triangles = np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
    filters = (np.maximum(triangles, 0) * 2 / (right - left)).astype(np.float32)
    filters.setflags(write=False)
    return filters


def slaney_band_centres(n_bands: int, low: float, high: float) -> np.ndarray:
    """(n_bands,) Hz, rising: where the filters of ``slaney_filter_bank`` pass most."""
    return _mel_to_hz(np.linspace(_hz_to_mel(low), _hz_to_mel(high), n_bands + 2))[1:-1]


_HZ_PER_MEL = 200 / 3  # below the corner
_CORNER_HZ = 1000.0
_CORNER_MEL = _CORNER_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27  # natural logarithm per mel above the corner


def _hz_to_mel(hz: float) -> float:
    return hz / _HZ_PER_MEL if hz < _CORNER_HZ else _CORNER_MEL + np.log(hz / _CORNER_HZ) / _LOG_STEP


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < _CORNER_MEL, mel * _HZ_PER_MEL, _CORNER_HZ * np.exp((mel - _CORNER_MEL) * _LOG_STEP))


def _band_sums(padded: np.ndarray, filters: np.ndarray, hop: int, n_frames: int, power: int) -> np.ndarray:
    """Filtered magnitudes to the given power (bands, n_frames) of Hann-windowed frames of an already padded signal."""
    n_fft = 2 * (filters.shape[1] - 1)
    signal = torch.from_numpy(padded)
    window = torch.hann_window(n_fft, dtype=signal.dtype)
    weights = torch.tensor(filters, dtype=signal.dtype)
    sums = np.empty((len(filters), n_frames), dtype=padded.dtype)
    for start in range(0, n_frames, _BLOCK_FRAMES):
        stop = min(start + _BLOCK_FRAMES, n_frames)
        block = signal[start * hop : (stop - 1) * hop + n_fft]
        spectrum = torch.stft(block, n_fft, hop, window=window, center=False, return_complex=True)
        sums[:, start:stop] = (weights @ spectrum.abs() ** power).numpy()
    return sums


def checked_waveform(waveform: np.ndarray) -> np.ndarray:
    """The waveform as it came; ``AudioError`` if it is empty or not finite, ``ValueError`` if it is none."""
    samples = np.asarray(waveform)
    if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
        raise ValueError(f"a waveform is a vector of floats in [-1, 1], not {samples.dtype} of shape {samples.shape}")
    if not len(samples):
        raise AudioError("The sound has no samples.", remedy="Check that the sound file holds what it should.")
    if not np.isfinite(samples).all():
        raise AudioError("The sound has samples that are not finite numbers.", remedy="Export the sound file anew.")
    return samples
