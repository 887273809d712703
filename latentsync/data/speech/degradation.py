"""What happens to a voice before anybody hears it: another throat, another pace, a room, noise, music, a telephone.

All of it is drawn from a random generator, so equal generators give equal samples.

n samples at 16 kHz · p positions at 50 Hz · M log-mel frames
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import butter, fftconvolve, resample, sosfilt

from latentsync.audio.mel import WHISPER_BANDS, slaney_band_centres
from latentsync.constants import AUDIO_RATE
from latentsync.data.speech.recordings import SAMPLES_PER_POSITION, SpokenSentence
from latentsync.data.talkers.voice import make_music

PACE = (0.82, 1.22)  # of length and pitch and formants together, as a tape that runs at another speed
THROAT = (0.84, 1.2)  # of all frequencies, the length of the vocal tract (VTLP, Jaitly and Hinton 2013)
ROOM_SHARE, NOISE_SHARE, MUSIC_SHARE, LINE_SHARE, CODEC_SHARE = 0.4, 0.6, 0.15, 0.2, 0.25  # of the windows
CLEAN_SHARE = 0.25  # of the windows have none of them

_ROOM = (0.08, 0.7)  # s until an echo has died away by 60 dB
_DIRECT = (0.6, 4.0)  # of the direct sound over the room's, amplitude
_NOISE_DB, _MUSIC_DB = (3.0, 35.0), (5.0, 25.0)  # of the voice over them
_LEVEL_DB = (-30.0, 6.0)  # of all
_TILT_DB = (-6.0, 6.0)  # per octave above and below 1 kHz
_BREAK = 4800.0  # Hz up to which a throat scales frequencies
_MASKED_BANDS, _MASKED_FRAMES, _FRAMES_PER_MASK = 10, 8, 300  # at most; on average
_MUSICS, _MUSIC_SECONDS = 6, 10  # pieces, each repeated as long as it takes


def change_pace(sentence: SpokenSentence, rng: np.random.Generator) -> SpokenSentence:
    """The same by a larger or smaller speaker: slower and deeper, or faster and higher."""
    factor = float(np.exp(rng.uniform(*np.log(PACE))))
    positions = max(int(len(sentence.phones) * factor), 1)
    count = positions * SAMPLES_PER_POSITION
    padded = next_fast_len(len(sentence.waveform))
    longer = round(padded * count / len(sentence.waveform))
    silence = np.zeros(padded - len(sentence.waveform), np.float32)
    waveform = resample(np.concatenate([sentence.waveform, silence]), longer)[:count]
    source = np.minimum((np.arange(positions) / factor).astype(int), len(sentence.phones) - 1)
    return SpokenSentence(np.clip(waveform, -1, 1).astype(np.float32), sentence.phones[source], sentence.mouth[source])


def change_throat(log_mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(80, M) log-mel of the same by a speaker with a longer or shorter vocal tract."""
    factor = float(np.exp(rng.uniform(*np.log(THROAT))))
    centres = slaney_band_centres(WHISPER_BANDS, 0.0, AUDIO_RATE / 2)
    edge, top = _BREAK * min(1.0, 1 / factor), AUDIO_RATE / 2
    heard = np.interp(centres, [0.0, edge, top], [0.0, edge * factor, top])
    place = np.interp(heard, centres, np.arange(WHISPER_BANDS))
    low = np.minimum(place.astype(int), WHISPER_BANDS - 2)
    share = (place - low).astype(np.float32)[:, None]
    return log_mel[low] * (1 - share) + log_mel[low + 1] * share


def mask(log_mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(80, M) log-mel with a few bands and moments blotted out, so that no single one decides (SpecAugment, Park et al.
    2019): up to two of the former, of the latter one in three seconds on average."""
    masked = log_mel.copy()
    mean = log_mel.mean()
    for _ in range(int(rng.integers(3))):
        first = int(rng.integers(WHISPER_BANDS))
        masked[first : first + int(rng.integers(1, _MASKED_BANDS + 1))] = mean
    for _ in range(int(rng.poisson(log_mel.shape[1] / _FRAMES_PER_MASK))):
        first = int(rng.integers(log_mel.shape[1]))
        masked[:, first : first + int(rng.integers(1, _MASKED_FRAMES + 1))] = mean
    return masked


def degrade(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) float32 in [-1, 1] from such a one: room, noise, music, line and codec, each in a share of the calls."""
    heard = waveform.astype(np.float32)
    if rng.random() >= CLEAN_SHARE:
        drawn = rng.random(5)
        heard = _colored(heard, rng)
        if drawn[0] < ROOM_SHARE:
            heard = _in_a_room(heard, rng)
        if drawn[1] < NOISE_SHARE:
            heard = _with(heard, _noise(len(heard), rng), rng.uniform(*_NOISE_DB))
        if drawn[2] < MUSIC_SHARE:
            music = _music(int(rng.integers(_MUSICS)))
            heard = _with(heard, np.resize(music, len(heard)), rng.uniform(*_MUSIC_DB))
        if drawn[3] < LINE_SHARE:
            heard = _through_a_line(heard, rng)
        if drawn[4] < CODEC_SHARE:
            heard = _coded(heard, rng)
    level = np.float32(10 ** (rng.uniform(*_LEVEL_DB) / 20) / max(float(np.abs(heard).max()), 1e-4))
    return np.clip(heard * level, -1, 1).astype(np.float32)


def _colored(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """By a microphone that tells high and low frequencies differently."""
    padded = next_fast_len(len(waveform))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(padded, 1 / AUDIO_RATE), 60.0) / 1000)
    gains = np.where(octaves < 0, rng.uniform(*_TILT_DB), rng.uniform(*_TILT_DB)) * octaves
    colored = irfft(rfft(waveform, padded) * 10 ** (np.clip(gains, -18, 18) / 20), padded)
    return colored[: len(waveform)].astype(np.float32)


def _in_a_room(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise that dies away exponentially as the room's response, after the direct sound."""
    seconds = rng.uniform(*_ROOM)
    times = np.arange(int(seconds * AUDIO_RATE)) / AUDIO_RATE
    response = rng.standard_normal(len(times)) * 10 ** (-3 * times / seconds)
    response /= np.sqrt((response**2).sum())
    response[0] += rng.uniform(*_DIRECT)
    return fftconvolve(waveform, response / np.sqrt((response**2).sum()))[: len(waveform)].astype(np.float32)


def _noise(count: int, rng: np.random.Generator) -> np.ndarray:
    """From white to brown, its loudness swelling or not, sometimes with the hum of the mains."""
    padded = next_fast_len(count)
    frequencies = np.maximum(np.fft.rfftfreq(padded, 1 / AUDIO_RATE), 20.0)
    noise = irfft(rfft(rng.standard_normal(padded)) * frequencies ** -rng.uniform(0, 1.1), padded)[:count]
    clock = np.arange(count) / AUDIO_RATE
    if rng.random() < 0.3:
        noise *= 1 + 0.8 * np.sin(2 * np.pi * rng.uniform(0.2, 4) * clock + rng.uniform(0, 6))
    if rng.random() < 0.2:
        mains = rng.choice([50, 60])
        noise += noise.std() * sum(np.sin(2 * np.pi * mains * k * clock) / k for k in (1, 2, 3, 5))
    return noise


def _with(waveform: np.ndarray, other: np.ndarray, decibels: float) -> np.ndarray:
    """``other`` added so that the voice is ``decibels`` louder, both by their power where they are not silent."""
    voice, beside = (float(np.sqrt(np.mean(each[np.abs(each) > 1e-3] ** 2))) if (np.abs(each) > 1e-3).any() else 0.0
                     for each in (waveform, other))  # fmt: skip
    if voice == 0 or beside == 0:
        return waveform
    return (waveform + other * (voice / beside * 10 ** (-decibels / 20))).astype(np.float32)


def _through_a_line(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A telephone or another line of 8 kHz, with or without the logarithmic steps of G.711."""
    low, high = rng.uniform(50, 350), rng.uniform(3200, 3900)
    heard = sosfilt(butter(4, [low, high], "bandpass", fs=AUDIO_RATE, output="sos"), waveform)
    if rng.random() < 0.5:
        peak = max(float(np.abs(heard).max()), 1e-6)
        steps = np.rint(127 * np.sign(heard) * np.log1p(255 * np.abs(heard) / peak) / np.log(256))
        heard = np.sign(steps) * peak * np.expm1(np.abs(steps) / 127 * np.log(256)) / 255
    return heard.astype(np.float32)


def _coded(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A codec of few bits: what is weak beside its moment and its frequency is left out, as is what is high."""
    block = 512
    count = -(-len(waveform) // block) * block
    spectra = rfft(np.pad(waveform, (0, count - len(waveform))).reshape(-1, block), axis=1)
    strong = np.abs(spectra)
    spectra[strong < strong.max(axis=1, keepdims=True) * 10 ** (-rng.uniform(20, 45) / 20)] = 0
    spectra[:, int(rng.uniform(0.45, 1.0) * spectra.shape[1]) :] = 0
    return irfft(spectra, block, axis=1).ravel()[: len(waveform)].astype(np.float32)


@lru_cache(maxsize=_MUSICS)
def _music(number: int) -> np.ndarray:
    return make_music(number, _MUSIC_SECONDS * AUDIO_RATE)
