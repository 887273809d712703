"""Curves of a run as a PNG image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from latentsync.atomic import atomic_file

SMOOTHED_ABOVE = 50  # points; a longer noisy curve also gets its running mean
SMOOTHING_SHARE = 0.04  # of the curve's points that the running mean spans


@dataclass(frozen=True, slots=True)
class Curve:
    """Values over steps. ``noisy`` curves are drawn faint with their running mean."""

    label: str
    steps: Sequence[float]
    values: Sequence[float]
    noisy: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram; ``lines`` are labelled horizontal marks."""

    title: str
    curves: Sequence[Curve]
    lines: Sequence[tuple[str, float]] = ()


def draw_charts(panels: Sequence[Panel], title: str, path: Path) -> None:
    """Draw the panels one below the other. The image is replaced in one step."""
    figure = Figure(figsize=(9, 3.4 * len(panels)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    for axes, panel in zip(np.atleast_1d(figure.subplots(len(panels), 1, sharex=True)), panels, strict=True):
        for number, curve in enumerate(panel.curves):
            _draw_curve(axes, curve, f"C{number}")
        for label, level in panel.lines:
            axes.axhline(level, color="0.5", linestyle=":", linewidth=1)
            axes.annotate(
                label, (0.995, level), xycoords=("axes fraction", "data"), ha="right", va="bottom", color="0.4"
            )
        axes.set_title(panel.title, loc="left", fontsize=10)
        axes.grid(alpha=0.25)
        axes.legend(loc="best", fontsize=8)
    axes.set_xlabel("step")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_curve(axes: Axes, curve: Curve, color: str) -> None:
    if not curve.noisy:
        axes.plot(curve.steps, curve.values, color=color, marker="o", markersize=3, label=curve.label)
        return
    smooth = len(curve.values) > SMOOTHED_ABOVE
    axes.plot(curve.steps, curve.values, color=color, alpha=0.25 if smooth else 1.0, linewidth=0.8,
              label=None if smooth else curve.label)  # fmt: skip
    if smooth:
        span = max(3, round(SMOOTHING_SHARE * len(curve.values)))
        mean = np.convolve(curve.values, np.full(span, 1 / span), mode="valid")
        axes.plot(curve.steps[span - 1 :], mean, color=color, label=f"{curve.label}, mean of the last {span} points")
