"""Recordings that are tones, enough for what does not listen; and words by a drawn talker's voice for what does."""

from __future__ import annotations

import numpy as np

from latentsync.constants import AUDIO_RATE
from latentsync.data.speech.recordings import Recording
from latentsync.data.speech.symbols import translate
from latentsync.data.talkers.identity import Voice
from latentsync.data.talkers.speech import Utterance, tracks
from latentsync.data.talkers.voice import synthesise

BORDERS = np.array([0.0, 0.3, 0.4, 0.56, 0.7, 0.9, 1.3])


def say_me_sue() -> np.ndarray:
    """(n,) float32: "me sue" by a drawn talker's voice, from 0.3 to 0.9 s."""
    said = Utterance(("sil", "m", "i", "s", "u", "sil"), BORDERS[:-1], BORDERS[1:], np.ones(6))
    voice = Voice(pitch=110.0, tract=1.0, breath=0.05, rate=1.0, articulation=1.0)
    return synthesise(tracks(said, 1, voice, 1.3), voice, 1, int(1.3 * 16000))


def tone(name: str, voice: str, seconds: float = 1.0) -> Recording:
    """Half of it silent, half of it the vowel of "see", as a tone of 300 Hz."""
    clock = np.arange(int(seconds * AUDIO_RATE)) / AUDIO_RATE
    waveform = np.where(clock < seconds / 2, 0, 0.3 * np.sin(2 * np.pi * 300 * clock))
    said = translate([("pau", 0, seconds / 2), ("iy", seconds / 2, seconds)], "arpabet")
    return Recording.of(name, voice, waveform, said)
