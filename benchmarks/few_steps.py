"""What fewer and cheaper evaluations of the U-Net change: the same windows in several ways, against ``exact``.

    python -m benchmarks.few_steps --clips 4 --videos CLIP.mp4 ... --mesh DIR --output out/few_steps

A window of every talker that no training has seen and of every video, dubbed with other audio (a video: with its own),
by the built-in models. PSNR, dB, of the generated area against that of ``exact`` without what is tried, and operations
of the U-Net and of all, TFLOP per second of video, for the built-in size and that of release 1.5 (counted, see
``benchmarks.roofline``). Talkers are compared with the truth as well, in the same area. Results are kept window by
window, so a run can be stopped and goes on with the next call; ``--rows`` takes some of the rows. Writes
``few_steps.json``, ``few_steps.md`` and ``few_steps.png``: quality against evaluations of the U-Net.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from benchmarks.cross_sync import DrawnVideo
from benchmarks.dub_inputs import drawn_faces
from benchmarks.networks import BUILTIN, LoadedNetworks, load_networks
from benchmarks.roofline import Counted, calls
from latentsync.atomic import write_text
from latentsync.constants import AUDIO_RATE, MODEL_FPS, WINDOW_FRAMES
from latentsync.data.talkers.cross import make_cross_clip
from latentsync.diffusion.settings import SamplerSettings
from latentsync.face.backends import yunet
from latentsync.face.detections_file import Detections, write_detections
from latentsync.face.mask import load_mask
from latentsync.face.tracks import FaceTracks
from latentsync.inference.latent_generator import LatentGenerator
from latentsync.inference.options import DEFAULT_SEED, PRESETS, SyncOptions
from latentsync.levels import to_image
from latentsync.media.audio import read_audio
from latentsync.media.video import VideoFile
from latentsync.metrics.fidelity import psnr
from latentsync.types import VideoSource, Window

Found = dict[str, dict[str, dict[str, float]]]  # row -> clip -> "exact" or "truth" -> PSNR against it, dB
FRAMES = 2 * WINDOW_FRAMES  # of each clip; its second window is taken
SIZES = (BUILTIN, "1.5")
ENCODINGS = {BUILTIN: 1, "1.5": 2}  # of each frame: the built-in models take one reference for a whole shot
TEN = SamplerSettings("dpm++", steps=10, cache_interval=2)  # what `fast` was before
ROWS: dict[str, SamplerSettings] = {
    "exact": PRESETS["exact"],
    "10 steps": replace(TEN, cache_interval=1),
    "10 steps, reuse at every other": TEN,
    "… features extrapolated": replace(TEN, cache_order=1),
    "… guided between levels 200 and 999": replace(TEN, guidance_band=(200, 999)),
    "… guided between levels 0 and 800": replace(TEN, guidance_band=(0, 800)),
    "… difference of the halves kept for one step": replace(TEN, guidance_interval=2),
    "… reused at two of three, extrapolated, difference kept for two": replace(
        TEN, cache_interval=3, cache_order=1, guidance_interval=3
    ),
    "… the same in 9 steps": replace(TEN, steps=9, cache_interval=3, cache_order=1, guidance_interval=3),
    "… the same in 8 steps": replace(TEN, steps=8, cache_interval=3, cache_order=1, guidance_interval=3),
    "2 steps, not guided": SamplerSettings("dpm++", steps=2, guidance_scale=1.0),
} | {f"preset `{name}`": settings for name, settings in PRESETS.items() if name != "exact"}
CURVES = {"not guided": 1.0, "guided": 1.5}  # guidance scale; the lines of the diagram
CURVE_STEPS = (1, 2, 3, 4, 6, 10, 20)
ONE_PASS = "DPM-Solver++, 1 from the noisiest level, not guided"
ROWS |= {
    f"DPM-Solver++, {steps} from the noisiest level, {name}": SamplerSettings(
        "dpm++", steps=steps, guidance_scale=scale, spacing="trailing"
    )
    for name, scale in CURVES.items()
    for steps in CURVE_STEPS
}


def windows_of(networks: LoadedNetworks, video: VideoSource, waveform: np.ndarray, faces: Detections) -> list[Window]:
    """The second window of a dub."""
    pipeline, found = networks.pipeline(), []

    class Recorder:
        resolution = networks.settings.resolution

        def __call__(self, windows: list[Window]) -> np.ndarray:
            found.extend(windows)
            return np.stack([window.faces for window in windows])

    pipeline._make_generator = lambda options, on_step, kept: Recorder()
    with tempfile.TemporaryDirectory() as folder:
        write_detections(Path(folder) / "faces.npz", faces)
        tracks = FaceTracks.from_file(Path(folder) / "faces.npz")
    for _ in pipeline.sync(video, waveform, SyncOptions(check_output=False), tracks):
        if len(found) > 1:
            break
    return found[1:2]


def clips_of(
    options: argparse.Namespace, networks: LoadedNetworks
) -> Iterator[tuple[str, list[Window], np.ndarray | None]]:
    """Name and window of each clip, and its true faces, (F, R, R, 3) uint8, where they are known."""
    seconds = FRAMES / float(MODEL_FPS)
    for number in range(options.first, options.first + options.clips):
        clip = make_cross_clip(number, seconds, 2 * networks.settings.resolution)
        source, true = (
            windows_of(networks, DrawnVideo(talker), clip.waveform, drawn_faces(clip.source))
            for talker in (clip.source, clip.truth)
        )
        yield f"talker {number}", source, to_image(true[0].faces)
    detector = yunet.load(options.mesh, "cpu") if options.videos else None
    for path in options.videos:
        video = VideoFile(path)
        frames = list(video.frames(0, int(FRAMES * max(Fraction(1), video.info.fps / MODEL_FPS)) + 1))
        faces = {number: detector.detect([frame])[0] for number, frame in enumerate(frames)} if detector else {}
        yield path.stem, windows_of(networks, video, read_audio(path)[: int(seconds * AUDIO_RATE)], faces), None


def measure(options: argparse.Namespace) -> Found:
    """Row -> clip -> PSNR, dB, against ``exact`` and, of talkers, the truth; kept in ``few_steps.json`` as it is
    found."""
    place = options.output / "few_steps.json"
    found: Found = json.loads(place.read_text("utf-8")) if place.exists() else {}
    networks = load_networks(options.model, torch.device("cpu"), torch.float32)
    keep_mask = load_mask(networks.settings.mask, networks.settings.resolution)
    for clip, windows, truth in clips_of(options, networks):
        reference = options.output / f"{clip}.npy"
        for name in ("exact", *options.rows):
            if clip in found.get(name, {}):
                continue
            made = to_image(LatentGenerator(networks.models, keep_mask, ROWS[name], DEFAULT_SEED)(windows)[0])
            if name == "exact":
                np.save(reference, made)
            against = {} if name == "exact" else {"exact": np.load(reference)}
            against |= {} if truth is None else {"truth": truth}
            pairs = {kind: psnr(made, other, 1 - keep_mask[0]) for kind, other in against.items()}
            found.setdefault(name, {})[clip] = pairs
            write_text(place, json.dumps(found, indent=1))
            print(f"{clip}, {name}: {pairs}", flush=True)
    return found


def operations(sizes: tuple[str, ...], rows: list[str]) -> dict[str, list[tuple[float, float]]]:
    """Row -> TFLOP per second of video of the U-Net and of all, for each size."""
    counted: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    for size in sizes:
        networks = Counted(size)
        per_call = networks.unet_flops()
        encode, decode = networks.codec_flops()
        for name in rows:
            unet = sum(n * per_call[call] for call, n in calls(ROWS[name]).items()) / WINDOW_FRAMES
            whole = unet + ENCODINGS.get(size, 1) * encode + decode
            counted[name].append((float(MODEL_FPS) * unet / 1e12, float(MODEL_FPS) * whole / 1e12))
    return counted


def values_of(clips: Mapping[str, Mapping[str, float]], drawn: bool, against: str) -> list[float]:
    """PSNR of talkers (``drawn``) or of videos, of a row."""
    kept = [pairs for clip, pairs in clips.items() if clip.startswith("talker ") is drawn]
    return [pairs[against] for pairs in kept if against in pairs]


def table(found: Found, counted: Mapping[str, list[tuple[float, float]]]) -> str:
    """Markdown: a row for each way, means (worst clips)."""
    sizes = len(next(iter(counted.values())))
    head = ["way", "PSNR of talkers, dB", "against the truth", "of videos", *(["U-Net", "all"] * sizes)]
    lines = [head, ["---"] * len(head)]
    for name, pairs in counted.items():
        columns = ((True, "exact"), (True, "truth"), (False, "exact"))
        values = [values_of(found.get(name, {}), *column) for column in columns]
        means = [f"{np.mean(each):.1f} ({min(each):.1f})" if each else "–" for each in values]
        lines.append([name, *means, *(f"{value:.3g}" for pair in pairs for value in pair)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(found: Found, passes: Mapping[str, float], path: Path) -> None:
    """Mean PSNR against ``exact`` and against the truth, over the ``passes`` of the U-Net: a line for each kind of
    guidance, and the presets."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    panels = {"exact": "PSNR against `exact`, dB", "truth": "PSNR against the truth (talkers), dB"}
    for axes, (against, label) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        means = {name: [pair[against] for pair in clips.values() if against in pair] for name, clips in found.items()}
        points = {name: (passes[name], float(np.mean(each))) for name, each in means.items() if each}
        for curve in CURVES:
            line = sorted(point for name, point in points.items() if name.endswith(f"level, {curve}"))
            axes.plot([x for x, _ in line], [y for _, y in line], "o-", label=curve)
        for name, (x, y) in points.items():
            if name in ("exact", *(f"preset `{preset}`" for preset in PRESETS)):
                axes.plot(x, y, "k^")
                axes.annotate(name.removeprefix("preset ").strip("`"), (x, y), (4, -11), textcoords="offset points")
        axes.set_xscale("log")
        axes.set_xlabel("passes of the U-Net, by operations")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=100, metadata={"Software": None})


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4, help="talkers (%(default)s)")
    parser.add_argument("--first", type=int, default=100, help="number of the first one (%(default)s)")
    parser.add_argument("--videos", type=Path, nargs="*", default=[], help="real clips with audio; needs --mesh")
    parser.add_argument("--mesh", type=Path, help="folder with the files of the detector 'yunet'")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=ROWS, metavar="ROW", help="some of the rows")
    parser.add_argument("--model", default=BUILTIN, help="networks to generate with (%(default)s)")
    parser.add_argument("--sizes", default=",".join(SIZES), help="of which operations are counted (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("out/few_steps"), help="folder of the results")
    options = parser.parse_args()
    if options.videos and options.mesh is None:
        parser.error("--videos needs --mesh")
    return options


def main() -> None:
    options = parse_arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    found = measure(options)
    sizes = tuple(options.sizes.split(","))
    unet = {name: pairs[0][0] for name, pairs in operations(sizes[:1], [ONE_PASS, *found]).items()}
    draw(found, {name: unet[name] / unet[ONE_PASS] for name in found}, options.output / "few_steps.png")
    text = table(found, operations(sizes, options.rows))
    write_text(options.output / "few_steps.md", text + "\n")
    print(text)


if __name__ == "__main__":
    main()
