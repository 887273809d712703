"""Windows of 30 s of speech, with what is said and the shape of the mouth at every encoder position.

M = 3000 log-mel frames · P = 1500 positions at 50 Hz
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from latentsync.audio.mel import whisper_log_mel
from latentsync.constants import FEATURE_RATE, WHISPER_MEL_FRAMES, WHISPER_POSITIONS, WHISPER_SECONDS, exact_div
from latentsync.data.batches import SampleOrigin, TensorBatch
from latentsync.data.clip_dataset import SampleKey
from latentsync.data.speech.degradation import change_pace, change_throat, degrade, mask
from latentsync.data.speech.recordings import (
    MOUTH_NAMES,
    NOTHING,
    PHONE_NAMES,
    SAMPLES_PER_POSITION,
    Recording,
    SpokenSentence,
)
from latentsync.data.talkers.identity import make_identity
from latentsync.data.talkers.speech import compose, mouth_at, tracks
from latentsync.data.talkers.voice import synthesise

DRAWN = "drawn"  # the kind of sentence that the talkers of this package say

_SENTENCES_KEPT = 2000  # in memory: 0.5 MB each at 8 s
_GAIN = (0.25, 1.5)  # of a sentence
_OTHER_PACE, _OTHER_THROAT = 0.7, 0.7  # of the sentences, where speech is degraded
_FRAMES_PER_POSITION = exact_div(WHISPER_MEL_FRAMES, WHISPER_POSITIONS)
_SHORT_SHARE = 0.6  # of the windows hold less than 30 s, as most audio does
_SHORT_MIXED_SHARE = 0.35  # where there is much to hear: what is empty teaches nothing


@dataclass(frozen=True, slots=True)
class SpeechBatch(TensorBatch):
    """``mel`` (B, 80, M) as the encoder gets it; ``phones`` (B, P) int64 indices of ``PHONE_NAMES`` or ``NOTHING``;
    ``mouth`` (B, P, 6) in the order of ``MOUTH_NAMES``; ``spoken`` (K,) int64: which of the B * P positions have
    audio."""

    mel: Tensor
    phones: Tensor
    mouth: Tensor
    spoken: Tensor
    origins: tuple[SampleOrigin, ...]


class SpeechDataset(Dataset):
    """Windows of sentences in random order and loudness, by ``SampleKey``: those of drawn talkers, ``seed`` to
    ``seed + sentences - 1``, and ``recordings``.

    Which comes next is drawn by ``shares``: a weight for ``DRAWN`` and for each kind of recording, which is the first
    word of its voice; kinds that are not there or not named have none. Within a kind all voices come equally often.

    ``degraded``: with other throats, rooms, noise and lines (``speech.degradation``).

    Many of the windows are filled in part only, the rest of the log-mel being zero as at inference.
    """

    def __init__(
        self,
        sentences: int,
        seconds: float,
        seed: int,
        recordings: Sequence[Recording] = (),
        shares: Mapping[str, float] | None = None,
        degraded: bool = False,
    ) -> None:
        self._sentences = sentences
        self._seconds = seconds
        self._seed = seed
        self._degraded = degraded
        kinds: dict[str, dict[str, list[Recording]]] = {}
        for recording in recordings:
            kinds.setdefault(recording.voice.split()[0], {}).setdefault(recording.voice, []).append(recording)
        weights = {kind: (shares or {}).get(kind, 0.0) for kind in (DRAWN, *kinds)}
        self._kinds = [kind for kind, weight in weights.items() if weight > 0]
        self._weights = np.array([weights[kind] for kind in self._kinds])
        self._voices = {kind: list(voices.values()) for kind, voices in kinds.items()}
        self._recordings = len(recordings) if self._kinds else 0

    def __len__(self) -> int:
        return self._sentences + self._recordings

    def __getitem__(self, key: SampleKey) -> tuple[Tensor, Tensor, Tensor, SampleOrigin]:
        rng = np.random.default_rng([self._seed, key.epoch, key.index])
        short = _SHORT_MIXED_SHARE if self._kinds else _SHORT_SHARE
        length = WHISPER_SECONDS if rng.random() > short else rng.uniform(1.0, WHISPER_SECONDS)
        positions = int(length * FEATURE_RATE)
        spoken = self._mixed(positions, rng) if self._kinds else self._drawn(key.index, length, rng)
        gains = rng.uniform(*_GAIN, len(spoken)).astype(np.float32)
        samples = np.concatenate([g * s.waveform for g, s in zip(gains, spoken, strict=True)])
        samples = samples[: positions * SAMPLES_PER_POSITION]
        log_mel = whisper_log_mel(degrade(samples, rng) if self._degraded else samples)
        if self._degraded:
            log_mel = mask(_with_other_throats(log_mel, spoken, rng), rng)
        mel = np.zeros((len(log_mel), WHISPER_MEL_FRAMES), np.float32)
        mel[:, : log_mel.shape[1]] = log_mel
        phones = np.full(WHISPER_POSITIONS, NOTHING, np.int64)
        phones[:positions] = np.concatenate([s.phones for s in spoken])[:positions]
        mouth = np.zeros((WHISPER_POSITIONS, len(MOUTH_NAMES)), np.float32)
        mouth[:positions] = np.concatenate([s.mouth for s in spoken])[:positions]
        origin = SampleOrigin(f"speech {self._seed + key.index}", "", 0)
        return torch.from_numpy(mel), torch.from_numpy(phones), torch.from_numpy(mouth), origin

    def _drawn(self, first: int, length: float, rng: np.random.Generator) -> list[SpokenSentence]:
        """Sentence ``first`` and as many others as fill ``length`` seconds."""
        chosen = [first, *rng.integers(self._sentences, size=int(length / self._seconds) + 1)]
        return [speak(self._seed + int(number), self._seconds) for number in chosen]

    def _mixed(self, positions: int, rng: np.random.Generator) -> list[SpokenSentence]:
        """Sentences of all kinds that fill ``positions``."""
        spoken: list[SpokenSentence] = []
        left = positions
        while left > 0:
            kind = self._kinds[int(rng.choice(len(self._kinds), p=self._weights / self._weights.sum()))]
            if kind == DRAWN:
                sentence = speak(self._seed + int(rng.integers(self._sentences)), self._seconds)
            else:
                voice = self._voices[kind][int(rng.integers(len(self._voices[kind])))]
                sentence = voice[int(rng.integers(len(voice)))].spoken()
            if self._degraded and rng.random() < _OTHER_PACE:
                sentence = change_pace(sentence, rng)
            spoken.append(sentence)
            left -= len(sentence.phones)
        return spoken

    @staticmethod
    def collate(samples: Sequence[tuple[Tensor, Tensor, Tensor, SampleOrigin]]) -> SpeechBatch:
        """Stack samples into a batch."""
        mel, phones, mouth, origins = zip(*samples, strict=True)
        labels = torch.stack(phones)
        spoken = (labels.flatten() != NOTHING).nonzero()[:, 0]
        return SpeechBatch(torch.stack(mel), labels, torch.stack(mouth), spoken, origins)


@lru_cache(maxsize=_SENTENCES_KEPT)
def speak(seed: int, seconds: float) -> SpokenSentence:
    """Sentence ``seed`` by voice ``seed``, a whole number of positions long."""
    voice = make_identity(seed).voice
    positions = int(seconds * FEATURE_RATE)
    duration = positions / FEATURE_RATE
    utterance = compose(seed, voice, duration)
    speech = tracks(utterance, seed, voice, duration)
    times = np.arange(positions) / FEATURE_RATE
    mouth = mouth_at(speech.mouth, times)
    said = np.clip(np.searchsorted(utterance.starts, times, side="right") - 1, 0, None)
    labels = np.array([PHONE_NAMES.index(name) for name in utterance.phones])
    return SpokenSentence(
        synthesise(speech, voice, seed, positions * SAMPLES_PER_POSITION),
        labels[said],
        np.stack([getattr(mouth, name) for name in MOUTH_NAMES], axis=-1).astype(np.float32),
    )


def _with_other_throats(log_mel: np.ndarray, spoken: Sequence[SpokenSentence], rng: np.random.Generator) -> np.ndarray:
    """Most of the sentences by a speaker whose vocal tract is longer or shorter."""
    start = 0
    for sentence in spoken:
        stop = start + len(sentence.phones) * _FRAMES_PER_POSITION
        if rng.random() < _OTHER_THROAT and start < log_mel.shape[1]:
            log_mel[:, start:stop] = change_throat(log_mel[:, start:stop], rng)
        start = stop
    return log_mel
