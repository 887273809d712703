"""Which of several faces speaks the audio.

Two signs. A StableSyncNet says how well the lips of a face fit the audio where it is, over how well they fit it at
other times (``stable_sync``); and a mouth that speaks moves while there is speech. What they say of single moments is
noisy, and a mean over a longer time is late at turns. So the speaker is the state of a chain that seldom changes: the
scores of a sequence of speakers add up, less ``SWITCH`` for each change, and the best sequence tells the turns
(Viterbi, IEEE Trans. Inf. Theory 13, 1967). In a turn a face is named only where its mean score is well ahead of that
of every other one: unsure is said, never guessed.

P faces · N frames at 25 frames/s · M moments, one every ``STEP`` frames · R side of the aligned faces
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from latentsync.audio.mel import syncnet_mel
from latentsync.audio.voice_activity import SAMPLES_PER_FRAME, speaking_frames
from latentsync.metrics.mouth import fill_gaps
from latentsync.metrics.stable_sync import MAX_SHIFT, StableSync

STEP = 5  # frames from one verdict to the next, 0.2 s
REACH = 8  # frames before and after a moment whose fit counts for it; the first window's middle is at frame 8
NEAR = 14  # frames before and after it whose movement and speech count
LEAST_SPEECH = 8  # of these frames, in which somebody has to speak
MOVEMENT = 4.0  # what a movement of the mouth (standard deviation of its opening) counts beside a cosine
MOST_MOVEMENT = 0.1  # of it: a mouth that moves more speaks no more
LEAST = 0.1  # score of nobody who is seen: what whoever speaks has at least
# The next three were chosen on GRID sentences that no training has seen (docs/experiments/scenes-2026-11.md).
SWITCH = 0.5  # score that a change of speaker between two moments costs: more is late at turns, less is unsure
MARGIN = 0.04  # by which the mean score of whoever speaks is ahead of the next one
WIDE = 5  # moments before and after one, 1 s, over which that mean is taken, within the turn
IMPOSSIBLE = -10.0  # in place of the score of a face that is not there
STRIDE = 2  # frames from one window of the sync network to the next


@dataclass(frozen=True, slots=True)
class FaceTrack:
    """One person: ``faces`` (N, R, R, 3) uint8 aligned, ``present`` (N,) bool, and the ``opening`` of the mouth (N,) as
    ``metrics.mouth.mouth_opening`` gives it, NaN where there is no face."""

    faces: np.ndarray
    present: np.ndarray
    opening: np.ndarray


@dataclass(frozen=True, slots=True)
class Speaking:
    """At frame ``frame``: the number of the face that speaks, None if nobody does or nobody can be told.

    ``is_speech``: whether anybody speaks. ``confidence``: by how much the best face is ahead of the next one, and of
    what nobody scores, at most 1. ``scores`` (P,) of this moment alone, NaN for a face that is not there.
    """

    frame: int
    face: int | None
    confidence: float
    is_speech: bool
    scores: tuple[float, ...]

    @property
    def is_unsure(self) -> bool:
        """Whether somebody speaks, and it is not known who."""
        return self.is_speech and self.face is None


def who_speaks(
    tracks: Sequence[FaceTrack], waveform: np.ndarray, sync: StableSync | None, speaks: np.ndarray | None = None
) -> list[Speaking]:
    """A verdict every ``STEP`` frames. ``waveform`` (n,) float32 at 16 kHz from the first frame on.

    ``sync`` None: the movement of the mouths decides alone. ``speaks`` (N,) bool: whether somebody speaks, if that is
    known already. Raises ``ValueError`` unless the faces have equally many frames.
    """
    lengths = {len(track.faces) for track in tracks}
    if len(lengths) != 1:
        raise ValueError(f"the faces have {sorted(lengths)} frames")
    count = lengths.pop()
    speaks = speaking_frames(waveform, count) if speaks is None else speaks
    if sync is None:
        fits = [np.where(track.present, 0.0, np.nan) for track in tracks]
    else:
        fits = [_fit_by_frame(track, waveform, sync) for track in tracks]
    openings = [fill_gaps(track.opening) for track in tracks]
    moments = range(STEP // 2, count, STEP)
    scores = np.full((len(moments), len(tracks)), np.nan)
    for row, moment in enumerate(moments):
        close, near = _around(moment, REACH), _around(moment, NEAR)
        for face, track in enumerate(tracks):
            if track.present[moment]:
                scores[row, face] = _score(fits[face][close], openings[face][near], speaks[near])
    speech = np.array([speaks[moment] and speaks[_around(moment, NEAR)].sum() >= LEAST_SPEECH for moment in moments])
    speakers = best_sequence(scores, speech)
    return [_verdict(row, moment, scores, speech, speakers) for row, moment in enumerate(moments)]


def _around(moment: int, reach: int) -> slice:
    return slice(max(0, moment - reach), moment + reach + 1)


def best_sequence(scores: np.ndarray, speech: np.ndarray) -> np.ndarray:
    """Who speaks at each moment in the best sequence, (M,) numbers of faces; P: nobody who is seen.

    ``scores`` (M, P), NaN where a face cannot be the speaker; ``speech`` (M,) bool: elsewhere nothing is scored.
    """
    nobody = np.full((len(scores), 1), LEAST)
    own = np.concatenate([np.where(np.isfinite(scores), scores, IMPOSSIBLE), nobody], axis=1) * speech[:, None]
    before, after = own.copy(), np.zeros_like(own)  # of the best sequence that ends, and that begins, with each
    for k in range(1, len(own)):
        before[k] += np.maximum(before[k - 1], before[k - 1].max() - SWITCH)
    for k in reversed(range(len(own) - 1)):
        following = own[k + 1] + after[k + 1]
        after[k] = np.maximum(following, following.max() - SWITCH)
    return (before + after).argmax(axis=1)


def _verdict(row: int, moment: int, scores: np.ndarray, speech: np.ndarray, speakers: np.ndarray) -> Speaking:
    told, is_speech, face = tuple(scores[row].tolist()), bool(speech[row]), int(speakers[row])
    if not is_speech or face == len(told) or not np.isfinite(told[face]):
        return Speaking(moment, None, 0.0, is_speech, told)
    near = _around(row, WIDE)
    others = np.flatnonzero(speakers[near] != face) + near.start
    first = max((k + 1 for k in others if k < row), default=near.start)
    end = min((k for k in others if k > row), default=near.stop)
    means = _means(scores[first:end][speech[first:end]])
    ahead = min(means[face] - LEAST, means[face] - np.delete(means, face).max(initial=-np.inf) - MARGIN)
    return Speaking(moment, face if ahead >= 0 else None, float(np.clip(ahead + MARGIN, 0, 1)), is_speech, told)


def _means(scores: np.ndarray) -> np.ndarray:
    """(P,) of the moments in which a face is known; minus infinity where it is in none."""
    known = np.isfinite(scores)
    sums = np.where(known, scores, 0).sum(axis=0)
    return np.where(known.any(axis=0), sums / np.maximum(1, known.sum(axis=0)), -np.inf)


def _score(fit: np.ndarray, opening: np.ndarray, speaks: np.ndarray) -> float:
    """How much it looks as if a face spoke the audio, about 0 to 1; NaN if nothing is known of it."""
    known = np.isfinite(fit)
    if not known.any() or not np.isfinite(opening).all():
        return float("nan")
    moving = opening[speaks] if speaks.any() else opening
    return float(fit[known].mean()) + MOVEMENT * min(float(moving.std()), MOST_MOVEMENT)


@torch.no_grad()
def _fit_by_frame(track: FaceTrack, waveform: np.ndarray, sync: StableSync) -> np.ndarray:
    """(N,): by how much the lips around a frame fit the audio where it is better than at the median over all shifts;
    NaN where no window of the sync network is."""
    length, count = sync.view.num_frames, len(track.faces)
    found = np.full(count, np.nan)
    samples = (count + MAX_SHIFT) * SAMPLES_PER_FRAME
    mel = syncnet_mel(np.pad(waveform, (0, max(0, samples - len(waveform)))))
    n_windows = sync.count_windows(mel, count + MAX_SHIFT)
    starts = [k for k in range(0, count - length + 1, STRIDE) if track.present[k : k + length].all() and k < n_windows]
    if not starts:
        return found
    cropped = sync.crop(track.faces)
    lips = sync.embed_frames(torch.stack([cropped[k : k + length] for k in starts]))
    cosines = (lips @ sync.embed_audio(sync.mel_windows(mel, n_windows)).T).numpy()
    for row, start in zip(cosines, starts, strict=True):
        beside = row[max(0, start - MAX_SHIFT) : start + MAX_SHIFT + 1]
        found[start + length // 2] = row[start] - np.median(beside)
    return found
