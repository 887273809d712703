"""The evaluation as one HTML file that needs nothing besides itself: table, plots, failures, worst cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

import cv2
import matplotlib.figure
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from latentsync.evaluation.clip import ClipScores
from latentsync.evaluation.figures import DOES_NOT_APPLY, FIGURES, SET_FIGURES, Figure, Value
from latentsync.evaluation.missing import Missing
from latentsync.evaluation.report import Evaluation
from latentsync.evaluation.settings import RESULT, ROWS, SOURCE, TRUTH
from latentsync.evaluation.summary import Failure, Summary
from latentsync.html_page import document, photograph, plot

_COLORS = {RESULT: "#4477aa", TRUTH: "#228833", SOURCE: "#aa7744"}
_SPREAD = 0.28  # of a row of a plot, that points are scattered over
_MOST_STILLS = 10
_MOST_FAILURES = 200
_EXPLAINED = {
    "reconstruction": "Reconstruction: the source is the truth; the result should be the same video.",
    "cross-sync": "Cross-sync: the source says other words; the truth is the recording that these come from, of "
    "another person. Frames are compared with the source.",
    "cross-sync-truth": "Cross-sync with a known truth: the source says other words; the truth is the very video "
    "that should come out.",
}
# The worst clip of each of these is shown.
_SHOWN = ("lse_c", "stablesyncnet_cosine", "stablesyncnet_offset", "opening_correlation", "lmd", "leak",
          "silence_movement", "lpips_inside", "psnr_inside", "psnr_outside", "flicker", "sharpness",
          "seam")  # fmt: skip
_STYLE = """
td:first-child { min-width: 190px; }
td.tells { text-align: left; font-size: 85%; color: #555; min-width: 300px; } td.n { white-space: nowrap; }
td.reason { text-align: left; color: #a33; font-size: 85%; } td.idle { color: #777; }
.beneath { color: #777; font-size: 85%; } .why { white-space: normal; display: inline-block; max-width: 170px; }
.stills { margin: 1.2em 0; } .stills img { max-width: 100%; }
.stills p { margin: .2em 0; overflow-wrap: anywhere; } .plots img { width: 330px; max-width: 100%; }
pre { background: #f5f5f5; padding: .8em; overflow-x: auto; font-size: 80%; } td { vertical-align: top; }
td.name { text-align: left; overflow-wrap: anywhere; max-width: 300px; } td.reason { overflow-wrap: anywhere; }
@media (max-width: 760px) {
  .figures tr { display: grid; grid-template-columns: repeat(3, 1fr); border-bottom: 1px solid #ddd; }
  .figures td, .figures th { border: 0; padding: .15em .3em; } .figures td.n { white-space: normal; }
  .figures tr > :first-child, .figures tr > :last-child, .figures td.reason { grid-column: 1 / -1; }
  .figures td:first-child { font-weight: 600; padding-top: .6em; } .figures th:first-child { display: none; }
  .figures tr:first-child > :last-child { display: none; }
  .lists tr { display: block; border-bottom: 1px solid #ddd; padding: .4em 0; } .lists th { display: none; }
  .lists td { display: block; border: 0; max-width: none; padding: .1em 0; }
}
"""


def evaluation_page(evaluation: Evaluation, stills: Mapping[str, Path]) -> str:
    """HTML; ``stills``: clip name -> the image of its moments, which need not exist."""
    title = f"Evaluation of {len(evaluation.clips)} clips"
    plots = (_plot(figure, evaluation.clips) for figure in FIGURES.values())
    parts = [
        f"<h1>{escape(title)}</h1>",
        _verdict(evaluation),
        "<h2>Figures</h2>",
        "<p>Mean over the clips that could be measured, with its 95 % bootstrap interval beneath. Where some could "
        "not, it says of how many it is, and what the mean is with every failure counted as 0, the worst natural "
        "value. ↑ higher is better, ↓ lower, → a certain value is best.</p>",
        _table(evaluation),
        "<h2>Clip by clip</h2>",
        "<p>A point is a clip, the bar the mean. Figures that are the same everywhere are left out.</p>",
        '<div class="plots">',
        *(each for each in plots if each),
        "</div>",
        "<h2>What could not be measured</h2>",
        _failures(evaluation.failures),
        "<h2>What sets the files apart</h2>",
        _remarks(evaluation),
        "<h2>Worst cases</h2>",
        *_worst(evaluation, stills),
        "<h2>Settings and weights</h2>",
        _settings(evaluation),
    ]
    return document(title, parts, _STYLE)


def _verdict(evaluation: Evaluation) -> str:
    failed = len({failure.clip for failure in evaluation.failures})
    lines = [
        _EXPLAINED[evaluation.settings.setting.value],
        f"{failed} of {len(evaluation.clips)} results lack at least one figure that their truth or source has.",
        *evaluation.notes,
        "No single figure is a verdict: a system that was trained against a sync network exceeds real speech in LSE-C.",
    ]
    return '<div class="verdict">' + "".join(f"<p>{escape(line)}</p>" for line in lines) + "</div>"


def _table(evaluation: Evaluation) -> str:
    lines = ["<tr><th>figure" + "".join(f"<th>{row}" for row in ROWS) + '<th style="text-align:left">what it tells']
    for name, figure in (FIGURES | SET_FIGURES).items():
        found = [evaluation.summary[row][name] for row in ROWS]
        unit = f" <small>({escape(figure.unit)})</small>" if figure.unit else ""
        head = f"<tr><td>{escape(figure.title)} {figure.arrow}{unit}"
        if not any(each.measured for each in found):
            idle = " idle" if found[0].reason.startswith(DOES_NOT_APPLY) else ""
            lines.append(f'{head}<td class="reason{idle}" colspan="3">{escape(found[0].reason)}')
        else:
            lines.append(head + "".join(f'<td class="n">{_cell(each)}' for each in found))
        lines.append(f'<td class="tells">{escape(figure.tells)}')
    return f'<table class="figures">{"".join(lines)}</table>'


def _cell(found: Summary) -> str:
    if not found.measured:
        return f'–<br><span class="beneath why">{escape(found.reason)}</span>'
    beneath = []
    if found.low is not None and _number(found.low) != _number(found.high):
        beneath.append(f"[{_number(found.low)}, {_number(found.high)}]")
    if found.measured < found.clips:
        beneath.append(f"{found.measured} of {found.clips} clips")
    if found.infinite and found.infinite < found.measured:
        beneath.append(f"{found.infinite} infinite")
    if found.failed and found.mean_with_failures is not None:
        beneath.append(f"{_number(found.mean_with_failures)} with failures as 0")
    return f'{_number(found.mean)}<br><span class="beneath">{"<br>".join(beneath)}</span>'


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    if math.isinf(value):
        return "∞"
    return "0" if abs(value) < 5e-5 else f"{value:.3g}".replace("-", "−")


def _plot(figure: Figure, clips: Sequence[ClipScores]) -> str:
    """HTML image: a point for each clip and its mean, infinite values left out; nothing if all values are equal."""
    rows = {row: _finite([clip.rows[row][figure.name] for clip in clips]) for row in _COLORS}
    if len({value for values in rows.values() for value in values}) < 2:
        return ""
    canvas = matplotlib.figure.Figure(figsize=(4.2, 2.1), dpi=100, layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots()
    for place, (row, colour) in enumerate(_COLORS.items()):
        finite = rows[row]
        if len(finite):
            height = place + _SPREAD * (np.arange(len(finite)) * 0.618 % 1 - 0.5)  # spread without chance
            axes.plot(finite, height, "o", color=colour, markersize=4, alpha=0.6, markeredgewidth=0)
            axes.vlines(finite.mean(), place - 0.36, place + 0.36, color=colour, linewidth=2)
        else:
            infinite = any(clip.rows[row][figure.name] == float("inf") for clip in clips)
            axes.text(
                0.5, place, "∞" if infinite else "–", transform=axes.get_yaxis_transform(), ha="center", va="center"
            )
    if figure.is_target:
        axes.axvline(float(figure.better), color="0.6", linestyle=":", linewidth=1)
    axes.set_yticks(range(len(_COLORS)), list(_COLORS), fontsize=8)
    axes.set_ylim(len(_COLORS) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.locator_params("x", nbins=6)
    axes.margins(x=0.08)
    axes.grid(axis="x", alpha=0.25)
    unit = f" ({figure.unit})" if figure.unit else ""
    axes.set_title(f"{figure.title}{unit}", fontsize=9, loc="left")
    axes.set_xlabel(
        f"best {figure.better:g}" if figure.is_target else f"{figure.better} is better", fontsize=8, color="0.4"
    )
    return plot(canvas, figure.title)


def _finite(values: Sequence[Value]) -> np.ndarray:
    return np.array([value for value in values if not isinstance(value, Missing) and np.isfinite(value)])


def _failures(found: Sequence[Failure]) -> str:
    if not found:
        return "<p>Nothing.</p>"
    lines = ['<tr><th>clip<th style="text-align:left">reason<th style="text-align:left">figures']
    for failure in found[:_MOST_FAILURES]:
        figures = ", ".join(FIGURES[name].title for name in failure.figures)
        figures = "all" if len(failure.figures) > len(FIGURES) // 2 else figures
        lines.append(
            f'<tr><td class="name">{escape(failure.clip)}<td class="reason">{escape(failure.reason)}'
            f'<td class="tells">{escape(figures)}'
        )
    more = f"<p>and {len(found) - _MOST_FAILURES} more in clips.csv</p>" if len(found) > _MOST_FAILURES else ""
    return f'<table class="lists">{"".join(lines)}</table>{more}'


def _remarks(evaluation: Evaluation) -> str:
    lines = [
        f'<tr><td class="name">{escape(clip.name)}<td class="tells">{escape(remark)}'
        for clip in evaluation.clips
        for remark in clip.remarks
    ]
    if not lines:
        return "<p>Nothing: sizes, rates and lengths are equal.</p>"
    more = f"<p>and {len(lines) - _MOST_FAILURES} more in evaluation.json</p>" if len(lines) > _MOST_FAILURES else ""
    return f'<table class="lists">{"".join(lines[:_MOST_FAILURES])}</table>{more}'


def _worst(evaluation: Evaluation, stills: Mapping[str, Path]) -> list[str]:
    """The worst clip of each figure with its images, clips that are worst in several of them first."""
    worst: dict[str, list[str]] = {}
    rows = {clip.name: clip.rows[RESULT] for clip in evaluation.clips}
    for name in _SHOWN:
        figure, clip = FIGURES[name], evaluation.summary[RESULT][name].worst
        value = rows[clip][name] if clip else Missing()
        if not isinstance(value, Missing) and value != figure.better:
            worst.setdefault(clip, []).append(f"{figure.title} {_number(value)}")
    parts = []
    for clip, said in sorted(worst.items(), key=lambda item: -len(item[1]))[:_MOST_STILLS]:
        parts.append(
            f'<div class="stills"><p><b>{escape(clip)}</b>: worst in {escape("; ".join(said))}</p>'
            f"{_stills(stills[clip], clip)}</div>"
        )
    return parts or ["<p>No result could be measured.</p>"]


def _stills(path: Path, clip: str) -> str:
    encoded = np.fromfile(path, np.uint8) if path.is_file() else np.zeros(0, np.uint8)
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if len(encoded) else None
    if image is None:
        return "<p>no images</p>"
    return photograph(image[..., ::-1], f"six moments of {clip}: source, result, truth")


def _settings(evaluation: Evaluation) -> str:
    settings = "\n".join(f"{name}: {value}" for name, value in asdict(evaluation.settings).items())
    weights = "\n".join(f"{digest}  {name}" for name, digest in evaluation.weights.items())
    return (
        f"<pre>{escape(settings)}</pre><p>SHA-256 of the weights; those of all videos are in evaluation.json:</p>"
        f"<pre>{escape(weights)}</pre>"
    )
