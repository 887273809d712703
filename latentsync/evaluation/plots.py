"""One figure over all clips, row under row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from latentsync.evaluation.clip import ClipScores
from latentsync.evaluation.figures import FigureInfo
from latentsync.evaluation.settings import RESULT, SOURCE, TRUTH
from latentsync.html_page import plot

_COLORS = {RESULT: "#4477aa", TRUTH: "#228833", SOURCE: "#aa7744"}
_SPREAD = 0.28  # of a row, that points are scattered over


def figure_plot(name: str, info: FigureInfo, clips: Sequence[ClipScores]) -> str:
    """HTML picture: a point for each clip and its mean, infinite values left out; nothing if all values are equal."""
    rows = {row: _finite([clip.rows[row][name] for clip in clips]) for row in _COLORS}
    if len({value for values in rows.values() for value in values}) < 2:
        return ""
    figure = Figure(figsize=(4.2, 2.1), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for place, (row, color) in enumerate(_COLORS.items()):
        finite = rows[row]
        if len(finite):
            height = place + _SPREAD * (np.arange(len(finite)) * 0.618 % 1 - 0.5)  # spread without chance
            axes.plot(finite, height, "o", color=color, markersize=4, alpha=0.6, markeredgewidth=0)
            axes.vlines(finite.mean(), place - 0.36, place + 0.36, color=color, linewidth=2)
        else:
            infinite = any(clip.rows[row][name] == float("inf") for clip in clips)
            axes.text(
                0.5, place, "∞" if infinite else "–", transform=axes.get_yaxis_transform(), ha="center", va="center"
            )
    if info.is_target:
        axes.axvline(float(info.better), color="0.6", linestyle=":", linewidth=1)
    axes.set_yticks(range(len(_COLORS)), list(_COLORS), fontsize=8)
    axes.set_ylim(len(_COLORS) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.xaxis.get_major_locator().set_params(nbins=6)
    axes.margins(x=0.08)
    axes.grid(axis="x", alpha=0.25)
    unit = f" ({info.unit})" if info.unit else ""
    axes.set_title(f"{info.title}{unit}", fontsize=9, loc="left")
    axes.set_xlabel(f"best {info.better:g}" if info.is_target else f"{info.better} is better", fontsize=8, color="0.4")
    return plot(figure, info.title)


def _finite(values: Sequence[float | str]) -> np.ndarray:
    return np.array([value for value in values if not isinstance(value, str) and np.isfinite(value)])
