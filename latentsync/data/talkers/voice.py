"""Source and filter: a glottal pulse train and noise through the resonances of a mouth (after Klatt, 1980)."""

from __future__ import annotations

import numpy as np
from scipy.signal import sosfilt

from latentsync.constants import AUDIO_RATE, exact_div
from latentsync.data.talkers.identity import Voice
from latentsync.data.talkers.speech import CONTROL_RATE, SpeechTracks

_BLOCK = exact_div(AUDIO_RATE, CONTROL_RATE)  # samples between changes of the filters
_BANDWIDTHS = (70.0, 100.0, 150.0, 230.0, 320.0)  # of the formants, Hz
_UPPER_FORMANTS = (3500.0, 4600.0)  # Hz, fixed
_FAINT = 1e-6  # a resonance below this has died away
_LEVEL = 0.07  # root mean square of speech while it lasts


def synthesise(tracks: SpeechTracks, voice: Voice, seed: int, samples: int) -> np.ndarray:
    """(samples,) float32 at 16 kHz, within [-1, 1]."""
    rng = np.random.default_rng([seed, 31])
    clock = np.arange(samples) / AUDIO_RATE
    control = np.arange(len(tracks.pitch)) / CONTROL_RATE

    def smooth(values: np.ndarray) -> np.ndarray:
        return np.interp(clock, control, values)

    hiss = rng.standard_normal((2, samples))
    pitch = voice.pitch * smooth(tracks.pitch) * (1 + 0.012 * _wobble(rng, samples))
    glottis = _pulses(pitch) + voice.breath * 0.10 * hiss[0]
    source = glottis * smooth(tracks.voicing) + 0.16 * hiss[0] * smooth(tracks.breath)
    formants = np.concatenate([tracks.formants, np.broadcast_to(_UPPER_FORMANTS, (len(control), 2))], axis=1)
    spoken = _through(source, formants * voice.tract, np.broadcast_to(_BANDWIDTHS, formants.shape))
    friction = hiss[1] * smooth(tracks.noise)
    rushing = _through(friction, np.minimum(tracks.noise_centre, 7200)[:, None], tracks.noise_width[:, None])
    audio = spoken * 0.9 + np.diff(rushing, prepend=0.0) * 0.22
    loud = audio[np.abs(audio) > 1e-4]
    if len(loud):
        audio = audio * (_LEVEL / np.sqrt(np.mean(loud**2)))
    audio = np.tanh(audio) + 2e-4 * rng.standard_normal(samples)  # limiter, and the hum of a quiet room
    return audio.astype(np.float32)


def _pulses(pitch: np.ndarray) -> np.ndarray:
    """Derivative of the flow through the glottis: a slow rise and a sharp end in each period (Rosenberg's shape)."""
    phase = np.cumsum(pitch / AUDIO_RATE)
    phase -= np.floor(phase)
    open_share = 0.62
    t = phase / open_share
    flow_slope = np.where(phase < open_share, 2 * t - 3 * t * t, 0.0)
    step = pitch / AUDIO_RATE / open_share  # average over one sample: less aliasing
    return flow_slope - 0.5 * step * np.where(phase < open_share, 2 - 6 * t, 0.0)


def _wobble(rng: np.random.Generator, samples: int) -> np.ndarray:
    coarse = rng.standard_normal(samples // 400 + 3)
    return np.interp(np.arange(samples) / 400, np.arange(len(coarse)), coarse)


def _through(source: np.ndarray, frequencies: np.ndarray, bandwidths: np.ndarray) -> np.ndarray:
    """Two-pole resonators in a row, gain 1 at 0 Hz; ``frequencies`` and ``bandwidths`` (n, k) at the control rate."""
    radius = np.exp(-np.pi * bandwidths / AUDIO_RATE)
    c = -(radius**2)
    b = 2 * radius * np.cos(2 * np.pi * frequencies / AUDIO_RATE)
    sections = np.zeros((*frequencies.shape, 6))
    sections[..., 0] = 1 - b - c
    sections[..., 3] = 1
    sections[..., 4] = -b
    sections[..., 5] = -c
    state = np.zeros((frequencies.shape[1], 2))
    result = np.zeros_like(source)
    for block, start in enumerate(range(0, len(source), _BLOCK)):
        piece = slice(start, start + _BLOCK)
        if not source[piece].any() and np.abs(state).max() < _FAINT:
            state[:] = 0
            continue
        result[piece], state = sosfilt(sections[min(block, len(sections) - 1)], source[piece], zi=state)
    return result


def make_music(seed: int, samples: int) -> np.ndarray:
    """(samples,) float32: plucked chords over a beat, without a voice."""
    rng = np.random.default_rng([seed, 41])
    audio = np.zeros(samples)
    beat = int(AUDIO_RATE * rng.uniform(0.38, 0.55))
    key = rng.uniform(160, 260)
    chords = ((0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14))
    decay = np.exp(-np.arange(4 * beat) / (0.9 * beat))
    for number, start in enumerate(range(0, samples, beat)):
        notes = chords[(number // 4) % 4]
        tone = notes[number % 3] + 12 * (number % 2)
        span = np.arange(4 * beat) / AUDIO_RATE
        pluck = sum(np.sin(2 * np.pi * key * 2 ** (tone / 12) * h * span) / h**1.5 for h in range(1, 6)) * decay
        if number % 4 == 0:
            for note in notes:
                pluck = pluck + 0.5 * np.sin(2 * np.pi * key / 2 * 2 ** (note / 12) * span) * decay**0.5
        tick = rng.standard_normal(4 * beat) * np.exp(-np.arange(4 * beat) / 250) * 0.4
        piece = (pluck + tick)[: samples - start]
        audio[start : start + len(piece)] += piece
    return (audio * (0.05 / max(np.sqrt(np.mean(audio**2)), 1e-9))).astype(np.float32)
