"""Recordings that are tones: enough for what does not listen."""

from __future__ import annotations

import numpy as np

from latentsync.constants import AUDIO_RATE
from latentsync.data.speech.recordings import Recording
from latentsync.data.speech.symbols import translate


def tone(name: str, voice: str, seconds: float = 1.0) -> Recording:
    """Half of it silent, half of it the vowel of "see", as a tone of 300 Hz."""
    clock = np.arange(int(seconds * AUDIO_RATE)) / AUDIO_RATE
    waveform = np.where(clock < seconds / 2, 0, 0.3 * np.sin(2 * np.pi * 300 * clock))
    said = translate([("pau", 0, seconds / 2), ("iy", seconds / 2, seconds)], "arpabet")
    return Recording.of(name, voice, waveform, said)
