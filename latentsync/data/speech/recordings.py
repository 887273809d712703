"""Sentences with their phones and mouths in time, whoever said them, and the file that keeps them.

n samples at 16 kHz · p = n // 320 positions at 50 Hz
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from latentsync.atomic import atomic_file
from latentsync.constants import AUDIO_RATE, FEATURE_RATE, exact_div
from latentsync.data.speech.symbols import UNKNOWN
from latentsync.data.talkers.geometry import Articulation
from latentsync.data.talkers.identity import Voice
from latentsync.data.talkers.phones import PHONES
from latentsync.data.talkers.speech import Utterance, mouth_at, tracks

PHONE_NAMES = tuple(PHONES)
MOUTH_NAMES = tuple(each.name for each in fields(Articulation))
NOTHING = -100  # label of a position without audio or of an unknown phone; what PyTorch's cross-entropy leaves out
SAMPLES_PER_POSITION = exact_div(AUDIO_RATE, FEATURE_RATE)

_ORDINARY = Voice(pitch=120.0, tract=1.0, breath=0.0, rate=1.0, articulation=1.0)


@dataclass(frozen=True, slots=True)
class SpokenSentence:
    """``waveform`` (n,) float32 in [-1, 1] at 16 kHz; at its p positions ``phones`` (p,) int64 indices of
    ``PHONE_NAMES`` or ``NOTHING``, and ``mouth`` (p, 6) in the order of ``MOUTH_NAMES``."""

    waveform: np.ndarray
    phones: np.ndarray
    mouth: np.ndarray


@dataclass(frozen=True, slots=True)
class Recording:
    """A sentence by ``voice``; ``samples`` (n,) int16 at 16 kHz, the rest as in ``SpokenSentence``."""

    name: str
    voice: str
    samples: np.ndarray
    phones: np.ndarray
    mouth: np.ndarray

    @classmethod
    def of(
        cls, name: str, voice: str, waveform: np.ndarray, said: Utterance, measured: np.ndarray | None = None
    ) -> Recording:
        """From a waveform (n,) in [-1, 1] and what is ``said`` in it. The mouth is the articulation of those phones;
        the first columns of it are replaced by what was ``measured`` (p, k), if anything was."""
        positions = len(waveform) // SAMPLES_PER_POSITION
        samples = np.rint(np.clip(waveform[: positions * SAMPLES_PER_POSITION], -1, 1) * 32767).astype(np.int16)
        mouth = articulation_of(said, positions)
        if measured is not None:
            mouth[:, : measured.shape[1]] = measured[:positions]
        return cls(name, voice, samples, labels_of(said, positions), mouth)

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / AUDIO_RATE

    def spoken(self) -> SpokenSentence:
        """The same for a data set."""
        return SpokenSentence(self.samples.astype(np.float32) / 32768, self.phones.astype(np.int64), self.mouth)


def labels_of(said: Utterance, positions: int) -> np.ndarray:
    """(p,) int64: the phone at each position; silence before the first and after the last."""
    times = np.arange(positions) / FEATURE_RATE
    silence = PHONE_NAMES.index("sil")
    known = [NOTHING if name == UNKNOWN else PHONE_NAMES.index(name) for name in said.phones]
    if not known:
        return np.full(positions, silence, np.int64)
    number = np.searchsorted(said.starts, times, side="right") - 1
    labels = np.array(known, np.int64)[np.clip(number, 0, None)]
    return np.where((number >= 0) & (times < said.ends[-1]), labels, silence)


def articulation_of(said: Utterance, positions: int) -> np.ndarray:
    """(p, 6) float32: the mouth that the drawn talkers would make; unknown sounds leave it as it rests."""
    seconds = positions / FEATURE_RATE
    names = tuple("sil" if name == UNKNOWN else name for name in said.phones)
    if not names:
        return np.zeros((positions, len(MOUTH_NAMES)), np.float32)
    utterance = Utterance(names, said.starts, said.ends, said.stress)
    mouth = mouth_at(tracks(utterance, 0, _ORDINARY, seconds).mouth, np.arange(positions) / FEATURE_RATE)
    return np.stack([getattr(mouth, name) for name in MOUTH_NAMES], axis=-1).astype(np.float32)


def write_recordings(path: Path, recordings: Sequence[Recording]) -> None:
    """All of them as one file, which appears when it is whole."""
    borders = np.cumsum([0] + [len(each.phones) for each in recordings])
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            names=np.array([each.name for each in recordings], str),
            voices=np.array([each.voice for each in recordings], str),
            borders=borders,
            samples=_joined([each.samples for each in recordings], np.int16),
            phones=_joined([each.phones for each in recordings], np.int8),
            mouth=_joined([each.mouth for each in recordings], np.float16, len(MOUTH_NAMES)),
        )


def read_recordings(path: Path) -> Iterator[Recording]:
    """Those of a file that ``write_recordings`` wrote."""
    with np.load(path) as file:
        held = {name: file[name] for name in file.files}
    for number, (name, voice) in enumerate(zip(held["names"], held["voices"], strict=True)):
        first, stop = held["borders"][number : number + 2]
        yield Recording(
            str(name),
            str(voice),
            held["samples"][first * SAMPLES_PER_POSITION : stop * SAMPLES_PER_POSITION],
            held["phones"][first:stop],
            held["mouth"][first:stop].astype(np.float32),
        )


def _joined(parts: Iterable[np.ndarray], dtype: type, columns: int | None = None) -> np.ndarray:
    parts = list(parts)
    shape = (0,) if columns is None else (0, columns)
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(shape, dtype)
