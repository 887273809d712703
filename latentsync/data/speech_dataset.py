"""Windows of 30 s of synthetic speech, with what is said and the shape of the mouth at every encoder position.

M = 3000 log-mel frames · P = 1500 positions at 50 Hz
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from latentsync.audio.mel import whisper_log_mel
from latentsync.constants import AUDIO_RATE, FEATURE_RATE, WHISPER_MEL_FRAMES, WHISPER_POSITIONS, WHISPER_SECONDS
from latentsync.data.batches import SampleOrigin, TensorBatch
from latentsync.data.clip_dataset import SampleKey
from latentsync.data.talkers.geometry import Articulation
from latentsync.data.talkers.identity import make_identity
from latentsync.data.talkers.phones import PHONES
from latentsync.data.talkers.speech import compose, mouth_at, tracks
from latentsync.data.talkers.voice import synthesise

PHONE_NAMES = tuple(PHONES)
MOUTH_NAMES = tuple(each.name for each in fields(Articulation))
NOTHING = -100  # label of a position without audio; what PyTorch's cross-entropy leaves out

_SENTENCES_KEPT = 2000  # in memory: 0.5 MB each at 8 s
_GAIN = (0.25, 1.5)  # of a sentence
_SHORT_SHARE = 0.6  # of the windows hold less than 30 s, as most audio does


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


@dataclass(frozen=True, slots=True)
class SpokenSentence:
    """``waveform`` (n,) float32 at 16 kHz; ``phones`` (p,) and ``mouth`` (p, 6) at its p = n / 320 positions."""

    waveform: np.ndarray
    phones: np.ndarray
    mouth: np.ndarray


class SpeechDataset(Dataset):
    """Windows of sentences ``seed`` to ``seed + sentences - 1`` in random order and loudness, by ``SampleKey``.

    More than half of the windows are filled in part only, the rest of the log-mel being zero as at inference.
    """

    def __init__(self, sentences: int, seconds: float, seed: int) -> None:
        self._sentences = sentences
        self._seconds = seconds
        self._seed = seed

    def __len__(self) -> int:
        return self._sentences

    def __getitem__(self, key: SampleKey) -> tuple[Tensor, Tensor, Tensor, SampleOrigin]:
        rng = np.random.default_rng([self._seed, key.epoch, key.index])
        length = WHISPER_SECONDS if rng.random() > _SHORT_SHARE else rng.uniform(1.0, WHISPER_SECONDS)
        positions = int(length * FEATURE_RATE)
        chosen = [key.index, *rng.integers(self._sentences, size=int(length / self._seconds) + 1)]
        spoken = [speak(self._seed + int(number), self._seconds) for number in chosen]
        gains = rng.uniform(*_GAIN, len(spoken)).astype(np.float32)
        samples = np.concatenate([g * s.waveform for g, s in zip(gains, spoken, strict=True)])
        log_mel = whisper_log_mel(samples[: positions * AUDIO_RATE // FEATURE_RATE])
        mel = np.zeros((len(log_mel), WHISPER_MEL_FRAMES), np.float32)
        mel[:, : log_mel.shape[1]] = log_mel
        phones = np.full(WHISPER_POSITIONS, NOTHING, np.int64)
        phones[:positions] = np.concatenate([s.phones for s in spoken])[:positions]
        mouth = np.zeros((WHISPER_POSITIONS, len(MOUTH_NAMES)), np.float32)
        mouth[:positions] = np.concatenate([s.mouth for s in spoken])[:positions]
        origin = SampleOrigin(f"speech {self._seed + key.index}", "", 0)
        return torch.from_numpy(mel), torch.from_numpy(phones), torch.from_numpy(mouth), origin

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
        synthesise(speech, voice, seed, positions * AUDIO_RATE // FEATURE_RATE),
        labels[said],
        np.stack([getattr(mouth, name) for name in MOUTH_NAMES], axis=-1).astype(np.float32),
    )
