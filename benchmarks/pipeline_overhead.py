"""All stages but the generator against decoding and encoding alone, on the same video in the same process.

    python -m benchmarks.pipeline_overhead --seconds 10 --encoder_presets fast,medium,veryfast

Three ways from file to file take turns, ``--rounds`` times; figures are medians, in frames per second on the clock and
per second of processor time (which other work on the machine does not change):

- ``pipeline``    the whole pipeline with a generator that returns its crops: decode, align, paste, encode, mux
- ``copy``        the product's reader, in a thread of its own, in front of its writer: whole RGB frames, the same audio
- ``transcode``   FFmpeg's decoder in front of its encoder with the same settings, without RGB and without audio

``ratio`` is pipeline over copy, ``ratio_to_transcode`` pipeline over transcode.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av

from benchmarks.dub_inputs import DubInput, draw_input, in_rgb
from benchmarks.report import PeakMemory, publish
from latentsync.constants import AUDIO_RATE
from latentsync.face.mask import load_mask
from latentsync.face.tracks import FaceTracks
from latentsync.inference.options import SyncOptions
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.inference.record import RunRecord
from latentsync.media.audio import read_audio
from latentsync.media.encoding import EncodingOptions, plan_encoding
from latentsync.media.video import VideoFile
from latentsync.media.writer import write_video
from latentsync.runtime.memory import keep_freed_memory
from latentsync.stream import prefetch
from tests.inference.world import ClockAudio, Identity

Way = Callable[[DubInput, Path, EncodingOptions], dict[str, float]]


def run_pipeline(
    dub_input: DubInput, output: Path, encoding: EncodingOptions, resolution: int = 256
) -> dict[str, float]:
    """Returns the seconds of work by stage."""
    pipeline = LipsyncPipeline(
        lambda options, on_step, kept: Identity(resolution),
        lambda waveform, options: ClockAudio(Fraction(len(waveform), AUDIO_RATE)),
        load_mask("mask", resolution),
    )
    video, record = VideoFile(dub_input.video), RunRecord()
    tracks = FaceTracks.from_file(Path(dub_input.faces))
    frames = pipeline.sync(video, read_audio(dub_input.audio), SyncOptions(check_output=False), tracks, record)
    start = time.perf_counter()
    write_video(output, record.clock.each("wait", frames), video.info, encoding, audio=dub_input.audio, overwrite=True)
    seconds = record.clock.seconds()
    return seconds | {"encode": time.perf_counter() - start - seconds.pop("wait")}


def copy(dub_input: DubInput, output: Path, encoding: EncodingOptions) -> dict[str, float]:
    """Decode to RGB, encode from RGB."""
    video = VideoFile(dub_input.video)
    frames = prefetch(in_rgb(frame) for frame in video.frames())
    write_video(output, frames, video.info, encoding, audio=dub_input.audio, overwrite=True)
    return {}


def transcode(dub_input: DubInput, output: Path, encoding: EncodingOptions) -> dict[str, float]:
    """Decode, encode, in the decoder's own format."""
    plan = plan_encoding(encoding, VideoFile(dub_input.video).info, output.suffix)
    with av.open(str(dub_input.video)) as source, av.open(str(output), "w") as target:
        shown = source.streams.video[0]
        shown.thread_type = "AUTO"
        stream = target.add_stream(plan.encoder, rate=shown.average_rate, options=dict(plan.settings))
        stream.width, stream.height, stream.pix_fmt = shown.width, shown.height, plan.pix_fmt
        stream.codec_context.thread_type = "AUTO"
        for frame in source.decode(shown):
            frame.pict_type = 0  # the decoder's choice of key frames is not the encoder's
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return {}


WAYS: dict[str, Way] = {"pipeline": run_pipeline, "copy": copy, "transcode": transcode}


def measure(dub_input: DubInput, encoding: EncodingOptions, rounds: int, folder: Path) -> dict:
    """One row."""
    frames = VideoFile(dub_input.video).info.n_frames
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    stages: dict[str, float] = {}
    for number in range(rounds + 1):
        for name, way in WAYS.items():
            wall, processor = time.perf_counter(), time.process_time()
            with PeakMemory() as memory:
                stages = way(dub_input, folder / f"{name}.mp4", encoding) or stages
            if number > 0:  # the first round warms up
                speeds[name].append((frames / (time.perf_counter() - wall), frames / (time.process_time() - processor)))
            if name == "pipeline":
                peak = memory.figures()
    found = {}
    for name, pairs in speeds.items():
        on_clock, of_processor = (statistics.median(column) for column in zip(*pairs, strict=True))
        found[name] = {"frames_per_second": on_clock, "frames_per_processor_second": of_processor}
    return found | {
        "ratio": _ratio(found, "frames_per_second", "copy"),
        "processor_ratio": _ratio(found, "frames_per_processor_second", "copy"),
        "ratio_to_transcode": _ratio(found, "frames_per_second", "transcode"),
        "milliseconds_by_stage": {stage: 1000 * seconds / frames for stage, seconds in stages.items()},
        "peak_rss_mb": peak["peak_rss_mb"],
    }


def _ratio(found: dict, figure: str, other: str) -> float:
    return found["pipeline"][figure] / found[other][figure]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1920x1080", help="of the video, px (%(default)s)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of the video (%(default)s)")
    parser.add_argument("--encoder_presets", default=EncodingOptions().preset, help="of x264 (%(default)s)")
    parser.add_argument("--crf", type=int, help="of x264 (the product's)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        size = tuple(int(side) for side in options.size.split("x"))
        dub_input = draw_input(Path(name), options.seconds, size)
        rows = [
            {"encoder_preset": preset}
            | measure(dub_input, EncodingOptions("h264", options.crf, preset), options.rounds, Path(name))
            for preset in options.encoder_presets.split(",")
        ]
    figures = {"size": options.size, "seconds": options.seconds, "rounds": options.rounds, "rows": rows}
    publish("pipeline_overhead", figures, output=options.output)


if __name__ == "__main__":
    main()
