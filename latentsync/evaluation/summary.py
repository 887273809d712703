"""From the figures of single clips to those of the set, with what failed in the denominator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from latentsync.evaluation.clip import ClipScores
from latentsync.evaluation.figures import FIGURES, SET_FIGURES, Figure
from latentsync.evaluation.missing import Missing
from latentsync.evaluation.settings import RESULT, ROWS, SOURCE, TRUTH
from latentsync.metrics.bootstrap import bootstrap_interval
from latentsync.metrics.frechet import frechet_distance


@dataclass(frozen=True, slots=True)
class Summary:
    """One figure of one row over all ``clips``.

    ``mean``, of the ``measured`` ones that are finite, with its 95 % bootstrap interval ``low`` to ``high`` (None for
    fewer than two); infinite only if all are. ``mean_with_failures``: ``failed`` clips count as the worst natural
    value, where there is one. ``infinite`` of the measured values (PSNR of equal images) are in no mean. ``worst``
    names a clip, ``reason`` is the most frequent one for a missing value.
    """

    clips: int
    measured: int = 0
    failed: int = 0
    infinite: int = 0
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    mean_with_failures: float | None = None
    worst: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Figures of a result that could not be measured for a ``reason`` that is the result's own."""

    clip: str
    reason: str
    figures: tuple[str, ...]


def summarise(clips: Sequence[ClipScores], seed: int) -> dict[str, dict[str, Summary]]:
    """Row -> figure -> its summary, Fréchet distances included."""
    table = {row: {name: _summary(clips, row, figure, seed) for name, figure in FIGURES.items()} for row in ROWS}
    for row in ROWS:
        table[row] |= {name: _distance(clips, row, name) for name in SET_FIGURES}
    return table


def failures(clips: Sequence[ClipScores]) -> list[Failure]:
    """Of all results, clip by clip."""
    found = []
    for clip in clips:
        reasons: dict[str, list[str]] = {}
        for name in FIGURES:
            value = clip.rows[RESULT][name]
            if isinstance(value, Missing) and is_failure(clip, name):
                reasons.setdefault(value.reason, []).append(name)
        found += [Failure(clip.name, reason, tuple(names)) for reason, names in reasons.items()]
    return found


def is_failure(clip: ClipScores, name: str) -> bool:
    """Whether the result lacks a figure that the truth, or the source, of the same clip has."""
    others = (clip.rows[row][name] for row in (TRUTH, SOURCE))
    return isinstance(clip.rows[RESULT][name], Missing) and not all(isinstance(value, Missing) for value in others)


def _summary(clips: Sequence[ClipScores], row: str, figure: Figure, seed: int) -> Summary:
    values = {clip.name: clip.rows[row][figure.name] for clip in clips}
    numbers = {clip: value for clip, value in values.items() if not isinstance(value, Missing)}
    finite = {clip: value for clip, value in numbers.items() if np.isfinite(value)}
    reasons = Counter(value.reason for value in values.values() if isinstance(value, Missing))
    failed = sum(is_failure(clip, figure.name) for clip in clips) if row == RESULT else 0
    reason = reasons.most_common(1)[0][0] if reasons else ""
    if not finite:
        mean = float("inf") if numbers else None
        return Summary(len(values), len(numbers), failed, len(numbers), mean, reason=reason)
    array = np.array(list(finite.values()))
    low, high = bootstrap_interval(array, seed) if len(array) > 1 else (None, None)
    with_failures = None
    if figure.if_failed is not None:
        with_failures = float((array.sum() + failed * figure.if_failed) / (len(array) + failed))
    worst = max(finite, key=lambda clip: figure.badness(finite[clip]))
    infinite = len(numbers) - len(finite)
    return Summary(
        len(values), len(numbers), failed, infinite, float(array.mean()), low, high, with_failures, worst, reason
    )


def _distance(clips: Sequence[ClipScores], row: str, name: str) -> Summary:
    """Between the features of a row and those of the truth, over the clips that have both; no interval, because a
    Fréchet distance depends on the number of samples."""
    pairs = list(_pairs(clips, row, name))
    reason = next((v.reason for clip in clips for v in clip.features[name].values() if isinstance(v, Missing)), "")
    mine, true = ([pair[k] for pair in pairs] for k in (0, 1))
    if sum(len(each) for each in mine) < 2 or sum(len(each) for each in true) < 2:
        return Summary(len(clips), reason=reason or "fewer than two samples")
    distance = 0.0 if row == TRUTH else frechet_distance(np.concatenate(mine), np.concatenate(true))
    return Summary(len(clips), len(pairs), len(clips) - len(pairs) if row == RESULT else 0, mean=distance)


def _pairs(clips: Sequence[ClipScores], row: str, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for clip in clips:
        mine, true = clip.features[name].get(row), clip.features[name].get(TRUTH)
        if isinstance(mine, np.ndarray) and isinstance(true, np.ndarray):
            yield mine, true
