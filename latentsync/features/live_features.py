"""Audio features while the audio still comes: those of the offline run, without what comes later.

The encoder attends to 30 s at once, and the offline run gives it all of them: features there depend on audio that a
live stream does not have yet. Here the encoder sees the same stretch, up to ``LOOK_AHEAD`` after the last frame that is
asked for, and silence where the rest will be. Three more things of the offline run need the whole audio: the level that
all speech is brought to, the loudest point that the log-mel spectrogram is measured against, and where nobody speaks.
Each is taken of what was heard so far.

What comes out depends on the audio and on the frames that are asked for, and not on how the audio came: in what
pieces, how quickly, or as a whole (``WholeAudio``). So a file and a live stream of the same audio give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Protocol

import numpy as np

from latentsync.audio.encoder_windows import CONTEXT_SECONDS
from latentsync.audio.level import heard_level, live_gain, without_noise
from latentsync.constants import (
    AUDIO_RATE,
    FEATURE_RATE,
    FEATURES_AFTER,
    FEATURES_PER_FRAME,
    WHISPER_POSITIONS,
    exact_div,
)
from latentsync.types import feature_positions

LOOK_AHEAD = Fraction(FEATURES_AFTER + 1, FEATURE_RATE)  # s; the last position's stem reads half a position further
LEVEL_SECONDS = 60  # of audio that decide the level
_SAMPLES = exact_div(AUDIO_RATE, FEATURE_RATE)  # per position
_CONTEXT = CONTEXT_SECONDS * FEATURE_RATE  # positions
_HOP = WHISPER_POSITIONS - 2 * _CONTEXT


class AudioSource(Protocol):
    """16 kHz mono audio, some of which may be still to come. Samples are counted from its start."""

    duration: Fraction  # s; of audio without a known end, longer than anything

    def until(self, stop: int) -> int:
        """``stop``, or the number of samples where there are fewer. Waits for one of the two to be known."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start,) float32 in [-1, 1] of samples that are there, at most ``LEVEL_SECONDS`` before the last
        ``until``."""


class WholeAudio:
    """An ``AudioSource`` that is there: ``waveform`` (n,) float32 in [-1, 1] at 16 kHz."""

    def __init__(self, waveform: np.ndarray) -> None:
        self.duration = Fraction(len(waveform), AUDIO_RATE)
        self._waveform = waveform

    def until(self, stop: int) -> int:
        """See ``AudioSource.until``."""
        return min(stop, len(self._waveform))

    def read(self, start: int, stop: int) -> np.ndarray:
        """See ``AudioSource.read``."""
        return self._waveform[start:stop]


class LiveFeatures:
    """Audio conditioning (``types.AudioWindows``) of audio that may be still to come, for one consumer.

    ``encode`` maps a waveform (n,) to states (n // 320 positions, L, D) float32 (``AudioEncoder.encode``). The encoder
    runs once for each window of frames, since a window's last frame is asked for first. Memory does not depend on the
    length. The values of a frame may depend on which frames were asked for before: on the later ones, that is, with
    whose audio they were computed.
    """

    def __init__(self, source: AudioSource, encode: Callable[[np.ndarray], np.ndarray]) -> None:
        self.duration = source.duration
        self._source = source
        self._encode = encode
        self._first = 0  # position that ``_states`` begin with
        self._states = np.empty((0, 0, 0), np.float32)
        self._known_to = 0  # positions
        self._positions: int | None = None  # of the whole audio, when it has ended

    def window(self, frame_time: Fraction) -> np.ndarray:
        """See ``types.AudioWindows.window``; waits for the audio. Raises ``AudioError`` where there is none at all."""
        needed = int(frame_time * FEATURE_RATE // 1) + FEATURES_AFTER
        if needed > self._known_to and (self._positions is None or self._known_to < self._positions):
            self._run(needed)
        positions = feature_positions(frame_time, self._positions or needed) - self._first
        rows = self._states[np.clip(positions, 0, len(self._states) - 1)]
        return rows.reshape(-1, rows.shape[-1])

    def _run(self, needed: int) -> None:
        """Encode the audio of the positions before ``needed``, and of as many before them as the offline run has."""
        wanted = (needed + 1) * _SAMPLES
        stop = self._source.until(wanted)
        if stop < wanted:
            self._positions = max(1, stop // _SAMPLES)
            needed = min(needed, self._positions)
        window = max(0, needed - FEATURES_PER_FRAME - WHISPER_POSITIONS + _CONTEXT) // _HOP
        self._first = window * _HOP
        heard = self._source.read(max(0, stop - LEVEL_SECONDS * AUDIO_RATE), stop)
        level = heard_level(heard)
        excerpt = heard[len(heard) - (stop - self._first * _SAMPLES) :]
        excerpt = without_noise(excerpt, level) * live_gain(level)
        self._states = self._encode(np.pad(excerpt, (0, max(0, _SAMPLES - len(excerpt)))))
        self._known_to = needed
