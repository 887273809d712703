"""Photographs that say what was really said: stretches of recordings whose phones and mouth are known.

Drawn talkers have a voice that no person has. The recordings of ``data.speech`` (a corpus, folders, programs that
speak) give the same faces real audio, with the mouth that goes with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from latentsync.constants import AUDIO_RATE, FEATURE_RATE
from latentsync.data.speech.recordings import NOTHING, PHONE_NAMES, SAMPLES_PER_POSITION, Recording
from latentsync.data.talkers.clip import Spoken
from latentsync.data.talkers.geometry import Articulation
from latentsync.data.talkers.speech import Utterance

_PAUSE = 0.25  # s between sentences
_SILENCE = PHONE_NAMES.index("sil")


class Voices:
    """The recordings of each voice, in the order of the voices' names."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        by_name: dict[str, list[Recording]] = {}
        for recording in recordings:
            by_name.setdefault(recording.voice, []).append(recording)
        self._voices = [by_name[name] for name in sorted(by_name)]
        self.names = sorted(by_name)

    def __len__(self) -> int:
        return len(self._voices)

    def say(self, count: int, fps: Fraction, rng: np.random.Generator) -> Spoken:
        """A stretch of ``count`` frames by some voice, sentence after sentence; all voices are as likely."""
        sentences = self._voices[int(rng.integers(len(self._voices)))]
        first = int(rng.integers(len(sentences)))
        needed = math.ceil(count / fps * FEATURE_RATE) + 1
        samples, phones, mouth = _joined(sentences, first, needed)
        start = int(rng.integers(max(len(phones) - needed, 0) + 1))
        length = int(count / fps * AUDIO_RATE)
        at = start * SAMPLES_PER_POSITION
        times = start / FEATURE_RATE + np.arange(count) / float(fps)
        clock = np.arange(len(phones)) / FEATURE_RATE
        columns = (np.interp(times, clock, column) for column in mouth.T)
        return Spoken(
            samples[at : at + length].astype(np.float32) / 32768,
            _utterance(phones[start : start + needed], count / float(fps)),
            Articulation(*(np.clip(column, 0, 1) for column in columns)),
        )


def _joined(sentences: list[Recording], first: int, needed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sentences from number ``first`` on, round the end, with pauses: at least ``needed`` positions of samples, phones
    and mouths (p, 6)."""
    pause = round(_PAUSE * FEATURE_RATE)
    samples: list[np.ndarray] = []
    phones: list[np.ndarray] = []
    mouths: list[np.ndarray] = []
    positions = 0
    while positions < needed:
        sentence = sentences[(first + len(phones)) % len(sentences)]
        samples.append(np.pad(sentence.samples, (0, pause * SAMPLES_PER_POSITION)))
        phones.append(np.pad(sentence.phones.astype(np.int64), (0, pause), constant_values=_SILENCE))
        mouths.append(np.pad(sentence.mouth, ((0, pause), (0, 0))))
        positions += len(phones[-1])
    return np.concatenate(samples), np.concatenate(phones), np.concatenate(mouths)


def _utterance(phones: np.ndarray, seconds: float) -> Utterance:
    """Runs of equal phones (p,); unknown ones count as silence."""
    known = np.where(phones == NOTHING, _SILENCE, phones)
    starts = np.concatenate([[0], np.nonzero(np.diff(known))[0] + 1])
    times = starts / FEATURE_RATE
    names = tuple(PHONE_NAMES[known[start]] for start in starts[times < seconds])
    times = times[times < seconds]
    return Utterance(names, times, np.append(times[1:], seconds), np.ones(len(names)))
