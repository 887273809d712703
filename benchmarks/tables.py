"""The dated tables of docs/experiments and their plot from the JSON of the benchmarks.

    python -m benchmarks.tables out/*.json --document docs/experiments/benchmarks-2026-11.md \\
        --plot docs/pictures/benchmarks.png

Every file becomes a table with the circumstances it was measured in; in the document they take the place of what stands
between the lines ``<!-- measured -->`` and ``<!-- end of measured -->``. Without ``--document`` they are printed. The
plot shows seconds per second of video by preset, the product beside the plain path.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

MARK = "measured"
Content = dict[str, Any]
Table = tuple[Sequence[str], list[list[object]]]


def inference_speed(content: Content) -> Table:
    """By model and preset."""
    head = ("model", "preset", "s per s of video", "plain path", "times faster", "same sampler", "first frame, s")
    head += ("U-Net", "encode", "decode", "RSS, MB", "VRAM, MB", "GPU idle", "SSIM to plain DDIM", "worst frame")
    rows = []
    for row in content["rows"]:
        parts, like = row["generator_parts"], row["against_plain"]
        rows.append(
            [row["model"], row["preset"], row["seconds_per_second"], row["plain"]["seconds_per_second"]]
            + [row["times_faster"], row["times_faster_same_sampler"], row["first_frame_seconds"]]
            + [parts["unet"], parts["codec encode"], parts["codec decode"], row["peak_rss_mb"]]
            + [row.get("peak_vram_mb"), row["gpu_idle_share"], like["ssim"], like["worst_ssim"]]
        )
    return head, rows


def pipeline_overhead(content: Content) -> Table:
    """By encoder preset."""
    ways = ("pipeline", "copy", "transcode")
    head = ("encoder preset", *(f"{way}, fps" for way in ways), "pipeline / copy", "in processor time", "/ transcode")
    return head, [
        [row["encoder_preset"], *(row[way]["frames_per_second"] for way in ways)]
        + [row["ratio"], row["processor_ratio"], row["ratio_to_transcode"]]
        for row in content["rows"]
    ]


def training_speed(content: Content) -> Table:
    """By stage."""
    ways = {"cached": "latent cache", "product": "and one-pass AdamW", "compiled": "and torch.compile"}
    head = ("stage", "batch", "plain, samples/s", *ways.values())
    head += ("gain of the cache", "in processor time", "with AdamW", "in processor time")
    rows = []
    for row in content["rows"]:
        speeds, clocks = row["samples_per_second"], (row["gains"], row["processor_gains"])
        found = [row["stage"], row["batch"], speeds["plain"], *(speeds.get(way) for way in ways)]
        rows.append(found + [gains[way] for way in ("cached", "product") for gains in clocks])
    return head, rows


def startup(content: Content) -> Table:
    """What is waited for."""
    rows: list[list[object]] = [[row["what"], row["seconds"], row["processor_seconds"]] for row in content["rows"]]
    first = content["first_frame_seconds"]
    rows += [[f"first frame, {content['model']}, {preset}", seconds, None] for preset, seconds in first.items()]
    return ("what", "s", "processor s"), rows


def roofline(content: Content) -> Table:
    """By model and preset."""
    share = f"{content['utilisation']:.0%}"
    head = ("model", "preset", "TFLOP per s of video: U-Net", "encode", "decode", "all")
    head += (
        f"s at {share} of an H200",
        f"s at {share} of this processor ({1000 * content['processor_tflops']:.0f} GF)",
    )
    return head, [
        [row["model"], row["preset"], *row["tflop"].values(), row["h200_floor_seconds"], row["processor_floor_seconds"]]
        for row in content["rows"]
    ]


TABLES: dict[str, Callable[[Content], Table]] = {
    each.__name__: each for each in (inference_speed, pipeline_overhead, training_speed, startup, roofline)
}


def markdown(content: Content) -> str:
    """One file's table under its name, with its circumstances."""
    head, rows = TABLES[content["benchmark"]](content)
    used = content["circumstances"]
    lines = [f"### {content['benchmark']}", "", row_of(head), "|" + "---|" * len(head)]
    lines += [row_of([_text(value) for value in row]) for row in rows]
    said = f"{used['device_name']} ({used['device']}), {used['cores']} cores, {used['threads']} threads, load "
    said += f"{used['load_average']}, torch {used['torch']}, commit {used['commit']}: `{used['command']}`"
    return "\n".join([*lines, "", said])


def fill(document: Path, text: str, mark: str = MARK) -> None:
    """Write ``text`` between the lines ``<!-- mark -->`` and ``<!-- end of mark -->`` of ``document``."""
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    before, found, rest = document.read_text(encoding="utf-8").partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"{document} has no lines {begin} and {end}")
    document.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def plot(contents: list[Content], path: Path) -> None:
    """Bars of seconds per second of video, by model and preset."""
    from matplotlib.figure import Figure

    rows = [row for content in contents if content["benchmark"] == "inference_speed" for row in content["rows"]]
    figure = Figure(figsize=(7.5, 0.4 * len(rows) + 1.6), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    plain, ours = ([row["plain"]["seconds_per_second"] for row in rows], [row["seconds_per_second"] for row in rows])
    axes.barh([place + 0.2 for place in places], plain, 0.4, color="#b8c0cc", label="plain path")
    axes.barh([place - 0.2 for place in places], ours, 0.4, color="#20639b", label="this project")
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":", label="real time")
    axes.set_yticks(list(places), [f"{row['model']}, {row['preset']}" for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("seconds per second of video")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=3, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def row_of(cells: Sequence[object]) -> str:
    """A row of a table in Markdown."""
    return "| " + " | ".join(map(str, cells)) + " |"


def _text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}" if 0.9 < value < 1 else f"{value:.3g}"
    return str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="JSON of benchmarks")
    parser.add_argument("--document", type=Path, help="Markdown with the two marks")
    parser.add_argument("--plot", type=Path, help="PNG to write")
    options = parser.parse_args()
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in options.files]
    for path, content in zip(options.files, contents, strict=True):
        if content.get("benchmark") not in TABLES:
            parser.error(f"{path}: not of {', '.join(TABLES)}")
    text = "\n\n".join(markdown(content) for content in contents)
    if options.document is None:
        print(text)
    else:
        fill(options.document, text)
    if options.plot is not None:
        plot(contents, options.plot)


if __name__ == "__main__":
    main()
