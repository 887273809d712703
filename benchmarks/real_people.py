"""What a set of built-in models makes of real people who are dubbed with their own words, against what they really did.

    python -m benchmarks.real_people VIDEO_OR_FOLDER ... --mesh DIR [--unet U --codec C --audio_encoder A]

The beginning of every video, with its own audio, is the source and the truth; it is dubbed by the whole pipeline with
the preset of the built-in models, and scored as ``eval/evaluate.sh`` does (docs/evaluation.md), with the face mesh as
detector. A clip whose output is refused as no face is counted, and scored without that check. Writes ``truth/`` and
``results/``, the report, ``real_people.json``, and ``real_people.md``: a row for each clip and the mean; with
``--document`` the table goes between the marks ``<!-- NAME -->`` of a page. Clips that are dubbed already are not
dubbed again, so that a run can be stopped; give another ``--output`` for other models.

The clips of docs/train_builtin.md are those of public repositories; none of them is a part of this one.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import tables
from latentsync.atomic import write_text
from latentsync.constants import AUDIO_RATE
from latentsync.data.talkers.files import write_wav
from latentsync.errors import GenerationError
from latentsync.evaluation.recordings import SUFFIXES
from latentsync.evaluation.run import evaluate
from latentsync.evaluation.settings import RESULT, EvaluationSettings, EvaluationWeights
from latentsync.inference.job.dub import dub
from latentsync.inference.job.networks import KeptNetworks
from latentsync.inference.job.request import DubRequest
from latentsync.inference.options import BUILTIN_PRESET, PRESETS, SyncOptions
from latentsync.inference.weights import WeightPaths
from latentsync.media.audio import read_audio
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.places import BUILTIN
from latentsync.types import Frame

FIGURES = ("opening_correlation", "opening_lag", "lmd", "psnr_inside", "sharpness", "lip_color", "temporal_error")
ALL = -1  # windows of a clip
DETECTOR = "yunet"  # whose landmarks are those of the face mesh
TRUTH_ENCODING = EncodingOptions(codec="h264", crf=10, preset="veryfast", repeatable=True)


def find_videos(places: Sequence[Path]) -> dict[str, Path]:
    """Name -> file: files as they are given, of a folder all videos in it. Names are those of the file and, where that
    is not enough, of its folder."""
    paths: list[Path] = []
    for place in places:
        inside = sorted(p for p in place.rglob("*") if p.suffix.lower() in SUFFIXES) if place.is_dir() else [place]
        paths += inside
    stems = [path.stem for path in paths]
    return {p.stem if stems.count(p.stem) == 1 else f"{p.parent.parent.name}-{p.stem}": p for p in paths}


def write_truth(video: Path, target: Path, seconds: float) -> None:
    """The first ``seconds`` of a video with their audio, with little loss."""
    target.parent.mkdir(parents=True, exist_ok=True)
    audio = target.with_suffix(".audio.wav")
    source = VideoFile(video)
    write_wav(audio, read_audio(video)[: round(seconds * AUDIO_RATE)])
    count = min(source.info.n_frames, math.floor(seconds * source.info.fps))
    info = replace(source.info, n_frames=count, duration=Fraction(count) / source.info.fps)
    try:
        with closing(source.frames(0, count)) as frames:
            write_video(target, _only(frames), info, TRUTH_ENCODING, audio, overwrite=True)
    finally:
        audio.unlink()


def dub_with_own_words(truth: Path, result: Path, weights: WeightPaths, networks: KeptNetworks) -> dict[str, Any]:
    """Dub a clip; how many of its windows were refused, of how many frames."""
    request = DubRequest(
        truth, truth, result, SyncOptions(PRESETS[BUILTIN_PRESET]), weights=weights, detector=DETECTOR, overwrite=True
    )
    try:
        refused: dict[int, str] = dub(request, networks=networks).record.windows_refused
        count, reason = len(refused), next(iter(refused.values()), "")
    except GenerationError as error:
        count, reason = ALL, error.message
    if count:  # where output is refused the source stays, which would be scored as a perfect dub
        dub(replace(request, options=replace(request.options, check_output=False)), networks=networks)
    return {"refused": "all" if count == ALL else count, "reason": reason}


def table(report: Mapping[str, Any], refused: Mapping[str, Any]) -> str:
    """Markdown: a row for each clip, and the mean of those that have the figure."""
    measured = [name for name in FIGURES if any(name in clip["rows"][RESULT] for clip in report["clips"])]
    lines = [["clip", *measured, "refused"], ["---"] * (len(measured) + 2)]
    columns: dict[str, list[float]] = {name: [] for name in measured}
    for clip in report["clips"]:
        values = [clip["rows"][RESULT].get(name) for name in measured]
        for name, value in zip(measured, values, strict=True):
            columns[name] += [value] if isinstance(value, float | int) else []
        lines.append([clip["name"], *map(_text, values), str(refused[clip["name"]]["refused"])])
    count = sum(each["refused"] != 0 for each in refused.values())
    means = [_text(statistics.fmean(values)) if values else "–" for values in columns.values()]
    lines.append(["**mean**", *means, f"{count} of {len(refused)}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _only(frames: Iterator[Frame]) -> Iterator[Frame]:
    yield from frames


def _text(value: float | str | None) -> str:
    return f"{value:.3g}" if isinstance(value, float | int) and math.isfinite(value) else "–"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+", help="files, or folders of them")
    file = partial(parser.add_argument, type=Path)
    file("--mesh", required=True, help="folder with the files of the detector 'yunet'")
    file("--unet", default=BUILTIN / "unet.safetensors")
    file("--codec", default=BUILTIN / "codec")
    file("--audio_encoder", default=BUILTIN / "audio_encoder.pt")
    file("--output", default=Path("out/real_people"), help="folder of the results")
    file("--document", help="Markdown with the two marks")
    parser.add_argument("--mark", default="real people", help="name in the marks")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each clip, from its beginning")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    truth, results = options.output / "truth", options.output / "results"
    weights = WeightPaths(options.unet, options.codec, options.audio_encoder, options.mesh)
    networks, state = KeptNetworks(), options.output / "refused.json"
    refused = json.loads(state.read_text(encoding="utf-8")) if state.is_file() else {}
    for name, video in find_videos(options.videos).items():
        own, result = truth / f"{name}.mp4", results / f"{name}.mp4"
        if name in refused and result.is_file():
            continue
        write_truth(video, own, options.seconds)
        result.parent.mkdir(parents=True, exist_ok=True)
        refused[name] = dub_with_own_words(own, result, weights, networks)
        write_text(state, json.dumps(refused, indent=1))
        print(f"{name}: {refused[name]}", flush=True)
    settings = EvaluationSettings(detector=DETECTOR)
    nowhere = options.output / "no-network"  # sync networks that know drawn faces have nothing to say of people
    evaluate(results, truth, None, options.output / "report", settings, EvaluationWeights(options.mesh, nowhere))
    report = json.loads((options.output / "report" / "evaluation.json").read_text(encoding="utf-8"))
    text = table(report, refused)
    write_text(options.output / "real_people.md", text + "\n")
    figures = {"clips": report["clips"], "refused": refused}
    write_text(options.output / "real_people.json", json.dumps(figures, indent=1))
    print(text)
    if options.document is not None:
        tables.fill(options.document, text, options.mark)


if __name__ == "__main__":
    main()
