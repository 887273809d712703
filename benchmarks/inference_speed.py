"""Seconds per second of video from file to file, in all and by stage, against a plain path in the same process.

    python -m benchmarks.inference_speed --models builtin --seconds 5 --output out/inference_cpu.json
    python -m benchmarks.inference_speed --models 1.5,1.6 --device cuda --seconds 20 --output out/inference_gpu.json

The video is of a synthetic talker of ``--size``, with its drawn face as track, so no weights are needed: the published
topologies get rule weights, which cost the same (``benchmarks/networks.py``). Each model is warmed up with one batch of
windows. Rows, one for every model and preset:

- ``seconds_per_second``: from opening the files to the finished file, networks loaded; ``seconds_by_stage`` is the work
  of each stage per second of video, which adds up to more, because stages run side by side
- ``first_frame_seconds``: until the first frame of the result can be encoded
- ``generator_parts``: seconds per second of video inside the stage 'generate', of one more batch of windows
- ``peak_rss_mb``; on CUDA ``peak_vram_mb``, and ``gpu_idle_share``, the share of that batch's time without a kernel
- ``plain`` and ``plain_same_sampler``: the path of ``benchmarks/plain_path.py`` with DDIM of 20 steps, and with the
  sampler of the row; ``times_faster`` are the ratios to both
- ``against_plain``: frames before encoding, inside the generated area, against those of plain DDIM
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.dub_inputs import DubInput, draw_input
from benchmarks.generator_parts import PartTimer, watch_device, watched
from benchmarks.mouths import Mouths
from benchmarks.networks import BUILTIN, MODELS, LoadedNetworks, load_networks
from benchmarks.plain_path import Denoise, PlainPath, plain_ddim
from benchmarks.report import PeakMemory, publish, use_device
from latentsync.diffusion.sampler import sample
from latentsync.diffusion.settings import SamplerSettings
from latentsync.face.mask import load_mask
from latentsync.face.tracks import FaceTracks
from latentsync.inference.excerpt import Excerpt
from latentsync.inference.faces import FaceFinder
from latentsync.inference.gpu_memory import auto_batch
from latentsync.inference.options import PRESETS, SyncOptions
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.inference.precision import choose_precision
from latentsync.inference.record import RunRecord, StageClock
from latentsync.inference.weights import WeightPaths
from latentsync.inference.windows import default_overlap
from latentsync.media.audio import read_audio
from latentsync.media.video import VideoFile
from latentsync.media.writer import write_video
from latentsync.runtime.memory import keep_freed_memory
from latentsync.types import Frame

EXACT = PRESETS["exact"]


@dataclass(frozen=True, slots=True)
class Run:
    """One run from file to file. Seconds."""

    frames: int
    wall: float
    first_frame: float
    by_stage: dict[str, float]

    def figures(self, fps: Fraction) -> dict[str, Any]:
        """Per second of video."""
        length = float(self.frames / fps)
        return {
            "seconds_per_second": self.wall / length,
            "seconds_by_stage": {stage: seconds / length for stage, seconds in self.by_stage.items()},
        }


class FirstFrame:
    """Notes when the first frame passes."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        with closing(frames):
            for frame in frames:
                self.time = self.time or time.perf_counter()
                yield frame


class Bench:
    """Runs of one model on one video, with files of its own in ``folder``."""

    def __init__(self, dub_input: DubInput, networks: LoadedNetworks, batch: int, folder: Path) -> None:
        self._input = dub_input
        self._networks = networks
        self._batch = batch
        self._folder = folder
        self._weights = WeightPaths.builtin().auxiliary
        self._options = SyncOptions(batch=batch, check_output=False)
        video = VideoFile(dub_input.video)
        self.fps = video.info.fps
        settings = networks.settings
        mask = load_mask(settings.mask, settings.resolution)
        self.mouths = Mouths(video, self._tracks(video, StageClock()), mask)
        new = settings.num_frames - default_overlap(settings.num_frames)  # frames that another window adds
        frames = min(batch * new + settings.num_frames - new, video.info.n_frames)
        self.one_batch = Excerpt(Fraction(0), frames / self.fps)

    def run(self, pipeline: LipsyncPipeline, sampler: SamplerSettings, mouths: Path, **changes: Any) -> Run:
        """The product, which has not met the video; ``mouths`` is the file for the comparison of frames."""
        self._networks.models.memory.clear()
        record, first = RunRecord(), FirstFrame()
        options = replace(self._options, sampler=sampler, **changes)
        start = time.perf_counter()
        video = VideoFile(self._input.video)
        tracks = self._tracks(video, record.clock)
        frames = pipeline.sync(video, read_audio(self._input.audio), options, tracks, record)
        return self._write(video, frames, record.clock, first, start, mouths)

    def run_plainly(self, sampler: SamplerSettings, denoise: Denoise, mouths: Path, count: int) -> Run:
        """The plain path, for the first ``count`` frames."""
        first = FirstFrame()
        path = PlainPath(self._networks, replace(self._options, sampler=sampler), denoise)
        start = time.perf_counter()
        video = VideoFile(self._input.video)
        frames = path.sync(video, read_audio(self._input.audio), self._tracks(video, path.clock))
        return self._write(video, islice(frames, count), path.clock, first, start, mouths)

    def parts(self, sampler: SamplerSettings) -> dict[str, Any]:
        """Inside the generator, of one batch of windows."""
        models = self._networks.models
        timer = PartTimer(models.device)
        pipeline = replace(self._networks, models=watched(models, timer)).pipeline()
        with watch_device(models.device) as idleness:
            self.run(pipeline, sampler, self._folder / "parts", excerpt=self.one_batch)
        length = float(self.one_batch.stop)
        parts = {part: seconds / length for part, seconds in timer.seconds().items()}
        return {"generator_parts": parts, "gpu_idle_share": idleness.share}

    def _tracks(self, video: VideoFile, clock: StageClock) -> FaceTracks:
        finder = FaceFinder(self._input.faces, self._weights, self._networks.models.device, clock)
        return finder.tracks(video.info, self._options)

    def _write(
        self,
        video: VideoFile,
        frames: Iterator[Frame],
        clock: StageClock,
        first: FirstFrame,
        start: float,
        mouths: Path,
    ) -> Run:
        watched_frames = first(clock.each("wait", self.mouths.keep(mouths, frames)))
        began = time.perf_counter()
        written = write_video(
            self._folder / "result.mp4", watched_frames, video.info, audio=self._input.audio, overwrite=True
        )
        stop = time.perf_counter()
        stages = clock.seconds()
        stages["encode"] = stop - began - stages.pop("wait")
        return Run(written.n_frames, stop - start, first.time - start, stages)


def measure(
    networks: LoadedNetworks, dub_input: DubInput, presets: list[str], batch: int, plain_frames: int
) -> list[dict]:
    """A row for each preset."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench, pipeline = Bench(dub_input, networks, batch, folder), networks.pipeline()
        bench.run(pipeline, EXACT, folder / "warm_up", excerpt=bench.one_batch)
        plain = bench.run_plainly(EXACT, plain_ddim, folder / "plain", plain_frames)
        for preset in presets:
            sampler = PRESETS[preset]
            with PeakMemory() as memory:
                run = bench.run(pipeline, sampler, folder / preset)
            same = plain if sampler == EXACT else bench.run_plainly(sampler, sample, folder / "same", plain_frames)
            figures = run.figures(bench.fps)
            ours = figures["seconds_per_second"]
            exactly, alike = plain.figures(bench.fps), same.figures(bench.fps)
            rows.append(
                {"preset": preset, "sampler": asdict(sampler), "frames": run.frames, **figures}
                | {"first_frame_seconds": run.first_frame, **memory.figures(), **bench.parts(sampler)}
                | {"plain": exactly, "plain_same_sampler": alike}
                | {
                    "times_faster": exactly["seconds_per_second"] / ours,
                    "times_faster_same_sampler": alike["seconds_per_second"] / ours,
                    "against_plain": bench.mouths.compare(folder / preset, folder / "plain"),
                }
            )
    return rows


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="builtin", help=f"some of {','.join(MODELS)} (builtin)")
    parser.add_argument("--presets", default=",".join(PRESETS), help="some of %(default)s (all)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true", help="the networks by torch.compile, as inference --compile")
    parser.add_argument("--precision", default="auto", help="auto, fp32, fp16, bf16 (auto: what a probe finds to work)")
    parser.add_argument("--batch", type=int, help="windows generated together (what the command takes)")
    parser.add_argument("--size", default="1920x1080", help="of the video, px (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.12, help="of the video (%(default)s)")
    parser.add_argument("--fps", type=Fraction, default=Fraction(25), help="of the video (%(default)s)")
    parser.add_argument("--plain_seconds", type=float, help="of the video that the plain path does (all)")
    parser.add_argument("--video", type=Path, help="instead of the drawn one")
    parser.add_argument("--audio", type=Path, help="with --video")
    parser.add_argument("--detector", default="auto", help="with --video: a detector or a file of faces (auto)")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    options.models, options.presets = options.models.split(","), options.presets.split(",")
    for name, known in (("models", MODELS), ("presets", tuple(PRESETS))):
        if not set(getattr(options, name)) <= set(known):
            parser.error(f"--{name}: choose of {', '.join(known)}")
    if (options.video is None) != (options.audio is None):
        parser.error("--video and --audio go together")
    return options


def main() -> None:
    options = parse_arguments()
    keep_freed_memory()
    device = use_device(options.device)
    dtype = choose_precision(options.precision, device)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        if options.video is None:
            size = tuple(int(side) for side in options.size.split("x"))
            dub_input = draw_input(Path(folder), options.seconds, size, options.fps)
        else:
            dub_input = DubInput(options.video, options.audio, options.detector)
        info = VideoFile(dub_input.video).info
        plain_frames = max(1, round((options.plain_seconds or float(info.duration)) * info.fps))
        for model in options.models:
            networks = load_networks(model, device, dtype, options.compile)
            resolution = networks.settings.resolution
            batch = options.batch or auto_batch(device, dtype, resolution, branches=2, are_builtin=model == BUILTIN)
            circumstances = {"model": model, "resolution": resolution, "batch": batch}
            found = measure(networks, dub_input, options.presets, batch, plain_frames)
            rows += [circumstances | row for row in found]
            del networks
    figures = {
        "film": {"size": f"{info.width}x{info.height}", "fps": float(info.fps), "frames": info.n_frames},
        "precision": str(dtype).removeprefix("torch."),
        "compiled": options.compile,
        "plain_frames": plain_frames,
        "rows": rows,
    }
    publish("inference_speed", figures, str(device), options.output)


if __name__ == "__main__":
    main()
