"""From a seed to something said: a sequence of phones in time, and mouth and voice at every moment of it.

Mouth and formants come from the same blend of the same targets (dominance functions after Cohen and Massaro, 1993), so
what is heard at a moment is what the drawn mouth would sound like at that moment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentsync.data.talkers.geometry import Articulation
from latentsync.data.talkers.identity import Voice
from latentsync.data.talkers.phones import CODAS, ONSETS, PHONES, VOWELS

CONTROL_RATE = 200  # values per second of every track below
_REACH = 0.032  # s over which a phone's influence on its neighbours falls to 1/e
_CORE = 0.55  # share of a phone, around its middle, in which its influence is full
_LEAK = 0.04  # openings below this are closed: it undoes the tails of the neighbours' influence
_EDGE = 0.012  # s of fading between the amplitudes of neighbouring phones
_BURST = 0.022  # s from a stop's release to its end
_LASTING = ("spread", "rounding")  # begin before a phone and outlast it twice as long as an opening does
_MOUTH = ("opening", "spread", "rounding", "press", "tuck", "tongue")


@dataclass(frozen=True)
class Utterance:
    """What is said when: phone names, their ``starts`` and ``ends`` (s), and the ``stress`` of each (1 = ordinary)."""

    phones: tuple[str, ...]
    starts: np.ndarray
    ends: np.ndarray
    stress: np.ndarray


@dataclass(frozen=True)
class SpeechTracks:
    """The utterance at ``CONTROL_RATE``, each (n,): mouth, and what drives the voice (see ``voice``)."""

    mouth: Articulation
    formants: np.ndarray  # (n, 3) Hz, an adult man's
    pitch: np.ndarray  # relative to the speaker's mean
    voicing: np.ndarray
    breath: np.ndarray
    noise: np.ndarray
    noise_centre: np.ndarray  # Hz
    noise_width: np.ndarray  # Hz


def compose(seed: int, voice: Voice, seconds: float, silences: tuple[tuple[float, float], ...] = ()) -> Utterance:
    """Nonsense words and pauses that fill ``seconds``; nothing is said within ``silences`` (spans in s)."""
    rng = np.random.default_rng([seed, 21])
    names: list[str] = []
    lengths: list[float] = []
    stress: list[float] = []

    def add(name: str, length: float, weight: float = 1.0) -> None:
        names.append(name)
        lengths.append(length)
        stress.append(weight)

    add("sil", rng.uniform(0.10, 0.35))
    clock = lengths[0]
    while clock < seconds:
        first = len(lengths)
        for _ in range(int(rng.integers(2, 7))):
            for name, length, weight in _word(rng, voice.rate):
                add(name, length, weight)
        lengths[-1] *= 1.3  # the last phone of a phrase is drawn out
        add("sil", rng.uniform(0.16, 0.55))
        clock += sum(lengths[first:])
    ends = np.cumsum(lengths)
    starts = ends - lengths
    keep = starts < seconds - 0.12
    spoken = Utterance(
        tuple(np.array(names)[keep]), starts[keep], np.minimum(ends[keep], seconds), np.array(stress)[keep]
    )
    return _hush(spoken, [*silences, (seconds - 0.12, seconds + 1.0)])


def tracks(utterance: Utterance, seed: int, voice: Voice, seconds: float) -> SpeechTracks:
    """Mouth and voice over ``seconds`` at ``CONTROL_RATE``; the first value belongs to time 0."""
    times = np.arange(int(np.ceil(seconds * CONTROL_RATE)) + 1) / CONTROL_RATE
    phones = [PHONES[name] for name in utterance.phones]
    near = _influence(utterance, times)
    firmness = np.array([p.firmness for p in phones])
    mouth = {}
    for name in _MOUTH:
        reach = np.sqrt(near) if name in _LASTING else near
        mouth[name] = _blend(reach * _weights(name, phones, firmness), _targets(name, phones, utterance))
    opening = np.clip((mouth["opening"] - _LEAK) / (1 - _LEAK), 0, None) * voice.articulation
    mouth["opening"] = np.clip(opening, 0, 1)
    formants = np.stack([_blend(near, np.array([p.formants[k] for p in phones])) for k in range(3)], axis=-1)
    shares = _presence(utterance, times)
    stops = np.array([p.kind == "stop" for p in phones])
    noise = shares @ (np.array([p.noise for p in phones]) * ~stops) + _bursts(utterance, phones, times)
    spoken = shares @ np.array([p.voicing * (0.0 if p.kind == "rest" else 1.0) for p in phones])
    stress = shares @ utterance.stress
    loud = 0.30 + 0.70 * np.sqrt(mouth["opening"])  # a wider mouth lets more sound out
    return SpeechTracks(
        mouth=Articulation(**mouth),
        formants=formants,
        pitch=_melody(utterance, times, seed) * (0.85 + 0.15 * stress),
        voicing=spoken * loud * (0.55 + 0.45 * stress),
        breath=shares @ np.array([p.breath for p in phones]),
        noise=noise,
        noise_centre=_blend(near, np.array([p.noise_centre for p in phones])),
        noise_width=_blend(near, np.array([p.noise_width for p in phones])),
    )


def mouth_at(mouth: Articulation, times: np.ndarray) -> Articulation:
    """The mouth at ``times`` (s), each field (N,), by linear interpolation of the track."""
    clock = np.arange(len(mouth.opening)) / CONTROL_RATE
    return Articulation(*(np.interp(times, clock, getattr(mouth, name)) for name in _MOUTH))


def _word(rng: np.random.Generator, rate: float) -> list[tuple[str, float, float]]:
    sounds = []
    syllables = int(rng.integers(1, 4))
    stressed = int(rng.integers(syllables))
    for syllable in range(syllables):
        weight = rng.uniform(1.0, 1.15) if syllable == stressed else rng.uniform(0.72, 0.95)
        if rng.random() < 0.92:
            sounds.append((str(rng.choice(ONSETS)), 1.0))
        sounds.append((str(rng.choice(VOWELS)), weight))
        if rng.random() < 0.35:
            sounds.append((str(rng.choice(CODAS)), 1.0))
    return [(n, PHONES[n].duration * rate * rng.uniform(0.85, 1.25) * (0.6 + 0.5 * w), w) for n, w in sounds]


def _hush(spoken: Utterance, spans: list[tuple[float, float]]) -> Utterance:
    """Silence every phone that touches one of ``spans``."""
    quiet = np.zeros(len(spoken.phones), bool)
    for start, end in spans:
        quiet |= (spoken.starts < end) & (spoken.ends > start)
    names = tuple("sil" if q else n for n, q in zip(spoken.phones, quiet, strict=True))
    return Utterance(names, spoken.starts, spoken.ends, np.where(quiet, 1.0, spoken.stress))


def _influence(utterance: Utterance, times: np.ndarray) -> np.ndarray:
    """(n, phones): 1 in the core of a phone, falling off exponentially on both sides."""
    middle = (utterance.starts + utterance.ends) / 2
    core = (utterance.ends - utterance.starts) * _CORE / 2
    rest = np.array([name == "sil" for name in utterance.phones])
    core = np.where(rest, np.maximum((utterance.ends - utterance.starts) / 2 - 0.07, core), core)
    away = np.clip(np.abs(times[:, None] - middle) - core, 0, None)
    return np.exp(-away / _REACH) + 1e-9


def _weights(name: str, phones: list, firmness: np.ndarray) -> np.ndarray:
    if name in ("spread", "rounding"):
        return np.array(
            [{"vowel": 1.0, "rest": 0.6}.get(p.kind, 0.25 + 1.2 * max(p.spread, p.rounding)) for p in phones]
        )
    if name == "tongue":
        return np.ones(len(phones))
    return firmness


def _targets(name: str, phones: list, utterance: Utterance) -> np.ndarray:
    values = np.array([getattr(p, name) for p in phones])
    return values * utterance.stress if name == "opening" else values


def _blend(weights: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return (weights @ targets) / weights.sum(axis=1)


def _presence(utterance: Utterance, times: np.ndarray) -> np.ndarray:
    """(n, phones): 1 within a phone, fading over ``_EDGE`` at its ends; rows sum to 1 where phones meet."""
    rise = np.clip((times[:, None] - utterance.starts) / _EDGE + 0.5, 0, 1)
    fall = np.clip((utterance.ends - times[:, None]) / _EDGE + 0.5, 0, 1)
    return np.minimum(rise, fall)


def _bursts(utterance: Utterance, phones: list, times: np.ndarray) -> np.ndarray:
    """(n,) noise of the releases of the stops."""
    total = np.zeros(len(times))
    for phone, end in zip(phones, utterance.ends, strict=True):
        if phone.kind == "stop":
            since = times - (end - _BURST)
            total += np.where((since >= 0) & (since < 0.06), phone.noise * np.exp(-np.clip(since, 0, None) / 0.012), 0)
    return total


def _melody(utterance: Utterance, times: np.ndarray, seed: int) -> np.ndarray:
    """(n,) pitch relative to the mean: falling over each phrase, with accents and slow variation."""
    rng = np.random.default_rng([seed, 22])
    pauses = [e for name, e in zip(utterance.phones, utterance.ends, strict=True) if name == "sil"]
    since = times - np.array([0.0, *pauses])[np.searchsorted(pauses, times, side="right")]
    fall = 1.18 * np.exp2(-np.clip(since, 0, 4) * 0.16)
    wave = rng.uniform(0, 2 * np.pi, 3)
    swing = sum(
        np.sin(2 * np.pi * f * times + p) * a for f, p, a in zip((0.6, 1.7, 3.1), wave, (0.05, 0.06, 0.03), strict=True)
    )
    return fall * (1 + swing)
