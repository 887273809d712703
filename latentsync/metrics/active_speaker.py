"""Which of several faces speaks the audio.

Two signs. A StableSyncNet says how well the lips of a face fit the audio where it is, over how well they fit it at
other times (``stable_sync``); and a mouth that speaks moves while there is speech. A face is named only where it is
well ahead of every other one: unsure is said, never guessed.

P faces · N frames at 25 frames/s · R side of the aligned faces
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
REACH = 14  # frames before and after a moment that its verdict looks at: more is late at a turn, less is unsure
LEAST_SPEECH = 8  # frames around a moment in which somebody has to speak
MOVEMENT = 4.0  # what a movement of the mouth (standard deviation of its opening) counts beside a cosine
MOST_MOVEMENT = 0.1  # of it: a mouth that moves more speaks no more
LEAST = 0.1  # score that whoever speaks has at least
MARGIN = 0.08  # by which it is ahead of the next one
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
    what silence scores, at most 1. ``scores`` (P,), NaN for a face that is not there.
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
    return [
        _verdict(moment, tracks, fits, openings, speaks) for moment in range(STEP // 2, count, STEP)
    ]


def _verdict(
    moment: int,
    tracks: Sequence[FaceTrack],
    fits: Sequence[np.ndarray],
    openings: Sequence[np.ndarray],
    speaks: np.ndarray,
) -> Speaking:
    near = slice(max(0, moment - REACH), moment + REACH + 1)
    scores = tuple(
        _score(fit[near], opening[near], speaks[near]) if track.present[moment] else float("nan")
        for track, fit, opening in zip(tracks, fits, openings, strict=True)
    )
    is_speech = bool(speaks[moment]) and int(speaks[near].sum()) >= LEAST_SPEECH
    known = sorted((score, number) for number, score in enumerate(scores) if np.isfinite(score))
    if not is_speech or not known:
        return Speaking(moment, None, 0.0, is_speech, scores)
    (best, face), second = known[-1], known[-2][0] if len(known) > 1 else -np.inf
    ahead = min(best - LEAST, best - second - MARGIN)
    return Speaking(moment, face if ahead >= 0 else None, float(np.clip(ahead + MARGIN, 0, 1)), is_speech, scores)


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
