"""The audit as one HTML file that needs nothing besides itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import cv2
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from latentsync.errors import LatentSyncError
from latentsync.html_page import document, photograph, plot
from latentsync.media.video import VideoFile
from latentsync.preprocess.audit.summary import Audit, AuditExample, Histogram
from latentsync.preprocess.engine.account import StepAccount

_EXAMPLE_WIDTH = 240  # pixels

_STYLE = "tr.lost td { color: #a33; border-bottom-color: #f2e4e4; font-size: 90%; }"


def audit_page(audit: Audit, title: str) -> str:
    """HTML with the plots and example images inside."""
    parts = [
        f"<h1>{escape(title)}</h1>",
        '<div class="verdict">' + "".join(f"<p>{escape(line)}</p>" for line in audit.verdict) + "</div>",
        "<h2>Where the hours went</h2>",
        _account(audit.accounts),
        "<h2>The recordings</h2>",
        f"<p>{audit.recordings} can be read; {audit.variable_rate} have a variable frame rate, {audit.rotated} are "
        "rotated.</p>",
        _hours("codec", audit.codecs),
        _hours("speaker", audit.speakers) if audit.speakers else "<p>Speakers are not known.</p>",
        '<h2>Figures</h2><div class="plots">',
        *(_plot(histogram) for histogram in audit.histograms.values() if histogram.n),
        "</div><h2>Examples of what was dropped</h2>",
        *_examples(audit.examples),
    ]
    return document(title, parts, _STYLE)


def _account(accounts: Sequence[StepAccount]) -> str:
    rows = ["<tr><th>step<th>clips<th>hours<th>kept<th>hours kept<th>hours of work</tr>"]
    for each in accounts:
        cells = (
            each.step,
            each.clips,
            f"{each.seconds / 3600:.3f}",
            each.kept_clips,
            f"{each.kept_seconds / 3600:.3f}",
            f"{each.work / 3600:.3f}",
        )
        rows.append("<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in cells) + "</tr>")
        for kind, lost in sorted(each.lost.items(), key=lambda item: -item[1].seconds):
            rows.append(
                f'<tr class="lost"><td>&nbsp;&nbsp;{escape(kind)}<td>{lost.clips}<td>{lost.seconds / 3600:.3f}'
                "<td><td><td></tr>"
            )
    return f"<table>{''.join(rows)}</table>"


def _hours(what: str, hours: Mapping[str, float]) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}<td>{value:.3f}</tr>"
        for name, value in sorted(hours.items(), key=lambda item: -item[1])
    )
    return f"<table><tr><th>{what}<th>hours</tr>{rows}</table>"


def _plot(histogram: Histogram) -> str:
    figure = Figure(figsize=(4.2, 2.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    bars = range(len(histogram.counts))
    axes.bar(bars, histogram.counts, width=0.9, color="#4477aa")
    every = max(1, len(bars) // 8)
    marks: dict[float, float]  # value by place on the axis
    if all(edge % 1 == 0.5 for edge in histogram.edges):  # a bar for each whole number
        marks = {place: histogram.edges[place] + 0.5 for place in bars}
    else:
        marks = {place - 0.5: edge for place, edge in enumerate(histogram.edges)}  # between the bars
    axes.set_xticks(list(marks)[::every], [f"{value:g}" for value in marks.values()][::every], fontsize=8)
    axes.yaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.set_title(f"{histogram.title} (n = {histogram.n}, mean {histogram.mean:.3g})", fontsize=9)
    axes.set_xlabel(histogram.unit, fontsize=8)
    axes.tick_params(axis="y", labelsize=8)
    return plot(figure, histogram.title)


def _examples(examples: Sequence[AuditExample]) -> list[str]:
    parts, heading = [], None
    for example in examples:
        kind = (example.step, example.reason.partition(":")[0])
        if kind != heading:
            parts.append(("</div>" if heading else "") + f'<h3>{escape(": ".join(kind))}</h3><div class="examples">')
            heading = kind
        caption = f"<figcaption>{escape(example.name)}<br>{escape(example.reason)}</figcaption>"
        parts.append(f"<figure>{_image(example)}{caption}</figure>")
    return [*parts, "</div>"] if parts else ["<p>Nothing was dropped.</p>"]


def _image(example: AuditExample) -> str:
    """A frame from the middle; a sentence where there is none, nothing where the reason says why."""
    if example.reason.startswith("unreadable"):
        return ""
    if not example.file.is_file():  # opening a pipe would wait for ever
        return "<p>There is no such file.</p>"
    try:
        video = VideoFile(example.file)
        middle = video.info.n_frames // 2
        (frame,) = video.frames(middle, middle + 1)
    except LatentSyncError as error:
        return f"<p>{escape(error.message)}</p>"
    height, width = frame.pixels.shape[:2]
    size = (_EXAMPLE_WIDTH, max(1, round(_EXAMPLE_WIDTH * height / width)))
    return photograph(cv2.resize(frame.pixels, size, interpolation=cv2.INTER_AREA), example.name)
