"""How long one waits before anything happens: python -m benchmarks.startup --output out/startup.json

Each figure is the median over ``--rounds`` fresh processes, on the clock and in processor time:

- ``import``       ``import latentsync.inference``, which loads no framework
- ``help``         ``python -m scripts.inference --help``
- ``dry_run``      files, weights and face checked, cost estimated, nothing loaded (the sample)
- ``load``         a process that loads the built-in networks
- ``page_help``    ``python gradio_app.py --help``

``first_frame`` is measured in this process with the networks in memory: from opening the files to the first frame that
can be encoded, the median over rounds, for every preset in ``--presets``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import ROOT, publish
from latentsync.stream import exit_process

VIDEO, AUDIO, FACES = (ROOT / "assets" / name for name in ("sample_video.mp4", "sample_audio.wav", "sample_faces.npz"))
LOAD = (
    "from latentsync.inference.loading import load_pipeline\n"
    "from latentsync.inference.weights import WeightPaths, model_settings\n"
    "w = WeightPaths.builtin(); load_pipeline(w, model_settings(w.unet, None))"
)


def commands(folder: Path) -> dict[str, list[str]]:
    """Name -> arguments of the interpreter."""
    dub = ["-m", "scripts.inference", "--video_path", str(VIDEO), "--audio_path", str(AUDIO)]
    dub += ["--video_out_path", str(folder / "out.mp4"), "--detector", str(FACES), "--dry-run"]
    return {
        "import": ["-c", "import latentsync.inference"],
        "help": ["-m", "scripts.inference", "--help"],
        "dry_run": dub,
        "load": ["-c", LOAD],
        "page_help": ["gradio_app.py", "--help"],
    }


def time_process(arguments: list[str]) -> tuple[float, float]:
    """Seconds on the clock and of processor time of one process."""
    before, start = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def first_frame(model: str, preset: str, rounds: int) -> float:
    """Seconds, warm."""
    import torch

    from benchmarks.networks import load_networks
    from latentsync.face.tracks import FaceTracks
    from latentsync.inference.options import PRESETS, SyncOptions
    from latentsync.media.audio import read_audio
    from latentsync.media.video import VideoFile

    networks = load_networks(model, torch.device("cpu"), torch.float32)
    options = SyncOptions(PRESETS[preset], check_output=False)
    found = []
    for _ in range(rounds + 1):
        networks.models.memory.clear()
        start = time.perf_counter()
        tracks = FaceTracks.from_file(FACES)
        frames = networks.pipeline().sync(VideoFile(VIDEO), read_audio(AUDIO), options, tracks)
        next(frames)
        found.append(time.perf_counter() - start)
        frames.close()
    return statistics.median(found[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="import,help,dry_run,load,page_help", help="some of %(default)s (all)")
    parser.add_argument("--model", default="builtin", help="of benchmarks/networks.py (%(default)s)")
    parser.add_argument("--presets", default="builtin,preview", help="for the first frame (%(default)s)")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        known = commands(Path(folder))
        for name in options.only.split(","):
            wall, processor = zip(*(time_process(known[name]) for _ in range(options.rounds)), strict=True)
            row = {"what": name, "seconds": statistics.median(wall), "processor_seconds": statistics.median(processor)}
            rows.append(row)
    first = {preset: first_frame(options.model, preset, options.rounds) for preset in options.presets.split(",")}
    figures = {"rounds": options.rounds, "rows": rows, "model": options.model, "first_frame_seconds": first}
    publish("startup", figures, output=options.output)


if __name__ == "__main__":
    main()
    exit_process(0)  # the last first frame's run was given up
