"""Figures of dubs whose true result is known, of each clip and over all: the rows of ``benchmarks.cross_sync``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latentsync.errors import DataError
from latentsync.metrics.mouth import opening_correlation, opening_lag, opening_leak, silence_movement

Row = dict[str, float]  # figure -> value; not a number = could not be measured


@dataclass(frozen=True, slots=True)
class MouthTruth:
    """What is true of a dub: ``opening`` (N,) that the new audio asks for, ``source`` (N,) of the video before, and
    ``speaking`` (N,) bool, False where the mouth rests."""

    opening: np.ndarray
    source: np.ndarray
    speaking: np.ndarray


def score_mouth(measured: np.ndarray, truth: MouthTruth) -> Row:
    """Figures of one clip from the opening (N,) that was measured in its frames.

    ``correlation`` with the new audio's opening; ``leak`` of the source's own (``metrics.mouth.opening_leak``) and
    ``source_correlation``, the plain one; ``silence`` movement in silence over movement in speech; ``lag`` in frames,
    positive if the mouth comes late.
    """
    return {
        "correlation": _or_nan(opening_correlation, measured, truth.opening),
        "leak": _or_nan(opening_leak, measured, truth.source, truth.opening),
        "source_correlation": _or_nan(opening_correlation, measured, truth.source),
        "silence": _or_nan(silence_movement, measured, truth.speaking),
        "lag": float(_or_nan(opening_lag, measured, truth.opening)),
    }


# Which end of each figure is the bad one; those that are not listed have no worst.
WORST = {
    "correlation": min, "leak": max, "silence": max, "lag": lambda values: max(values, key=abs), "psnr": min,
    "ssim": min, "lpips": max, "lip_color": max, "smudge": max, "flicker": max, "joins": max,
    "sync_cosine": min, "sync_offset": lambda values: max(values, key=abs),
}  # fmt: skip


def summarise(clips: Sequence[Mapping[str, Row]]) -> dict[str, dict[str, Row]]:
    """Kind of row -> figure -> ``mean``, ``worst`` and ``measured``, the share of the clips that it could be had for.

    ``clips`` maps, for each clip, kinds of rows ("result", "truth", ...) to their figures. Infinite values (equal
    images) count as measured and make an infinite mean.
    """
    kinds = {kind: None for clip in clips for kind in clip}
    return {kind: _figures([clip[kind] for clip in clips if kind in clip]) for kind in kinds}


def table(summary: Mapping[str, Mapping[str, Row]], figures: Sequence[str]) -> str:
    """Mean and worst value of ``figures`` as lines of Markdown, one row for each kind."""
    lines = [f"| | {' | '.join(figures)} |", "|---" * (len(figures) + 1) + "|"]
    for kind, found in summary.items():
        lines.append(f"| {kind} | {' | '.join(_cell(found.get(name)) for name in figures)} |")
    return "\n".join(lines)


def _figures(rows: Sequence[Row]) -> dict[str, Row]:
    names = {name: None for row in rows for name in row}
    summary = {}
    for name in names:
        values = [row[name] for row in rows if name in row and not np.isnan(row[name])]
        figure = {"measured": len(values) / len(rows)}
        if values:
            figure["mean"] = float(np.mean(values))
            if name in WORST:
                figure["worst"] = float(WORST[name](values))
        summary[name] = figure
    return summary


def _cell(figure: Row | None) -> str:
    if figure is None or "mean" not in figure:
        return "–"
    worst = f" ({figure['worst']:.3g})" if "worst" in figure else ""
    return f"{figure['mean']:.3g}{worst}"


def _or_nan(measure: Callable[..., float], *arguments: np.ndarray) -> float:
    try:
        return measure(*arguments)
    except DataError:  # a mouth that never moves, a clip without silence
        return float("nan")
