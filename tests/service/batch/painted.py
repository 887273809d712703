"""A batch of whole dubs, of real files, whose network is a stand-in that paints: `python -m tests.service.batch.painted
--jobs ... --out ...` is `latentsync batch` with it. ``LOG`` gets a line for every dub that begins and that ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.__main__ import run
from latentsync.face.detections_file import write_detections
from latentsync.face.detector import Detection
from latentsync.face.mask import load_mask
from latentsync.inference.job.networks import KeptNetworks
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.service import runner
from latentsync.service.batch.run import Batch
from tests.inference.world import ClockAudio, DrawnVideo
from tests.media.synthetic import tone, write_clip, write_wav
from tests.page.stage import Painter
from tests.service.batch.stand_in import ROOT, write_jobs

VIDEO = DrawnVideo(5, 160, 160, face=60.0)


class PaintedNetworks(KeptNetworks):
    """Networks that paint; those of a process that has ``LOG`` note what it does."""

    def __init__(self):
        super().__init__()
        if os.environ.get("LOG") and runner.dub.__name__ == "dub":
            runner.dub = noted(runner.dub)

    def pipeline(self, choice):
        return LipsyncPipeline(
            lambda options, on_step, kept: Painter(on_step, 0.0),
            lambda waveform, options: ClockAudio(Fraction(len(waveform), 16_000)),
            load_mask("mask", 256),
        )


def noted(dub):
    """The ``dub`` that leaves lines in the log."""

    def do(request, **more):
        note(f"begins {request.output.stem}")
        report = dub(request, **more)
        note(f"ends {request.output.stem}")
        return report

    return do


def note(text):
    with Path(os.environ["LOG"]).open("a") as log:
        log.write(f"{text}\n")


def make_jobs(folder: Path, count: int) -> set[str]:
    """Jobs with audio of their own each, and the names of the 5 % of them that are broken, in three ways."""
    write_clip(folder / "video.mp4", (VIDEO.draw(n) for n in range(5)), fps=25, gop=5)
    found = [VIDEO.landmarks(n) for n in range(5)]
    faces = {n: [Detection(np.concatenate([p.min(0), p.max(0)]), p, 0.9)] for n, p in enumerate(found)}
    write_detections(folder / "faces.npz", faces)
    whole = (folder / "video.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    (folder / "page.mp4").write_text("<!doctype html><title>404</title>")
    rows, broken = [], set()
    for number in range(count):
        name = f"{number:04}"
        write_wav(folder / f"{name}.wav", tone(0.2, frequency=200 + number))
        row = {"video": "video.mp4", "audio": f"{name}.wav", "output": f"{name}.mp4", "detector": "faces.npz"}
        if number % 20 == 7:
            broken.add(name)
            row |= [{"video": "cut.mp4"}, {"video": "page.mp4"}, {"audio": "none.wav"}][len(broken) % 3]
        rows.append(row)
    write_jobs(folder, rows)
    return broken


def begin(folder: Path, out: str, *words: str) -> subprocess.Popen[str]:
    """The command line, in a process of its own."""
    surroundings = os.environ | {"LOG": str(folder / f"{out}.log"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.service.batch.painted"]
    command += ["--jobs", str(folder / "jobs.jsonl"), "--out", str(folder / out), "--device", "cpu", *words]
    output = (folder / f"{out}.txt").open("a")
    return subprocess.Popen(command, cwd=ROOT, env=surroundings, text=True, stdout=output, stderr=subprocess.STDOUT)


def ended(folder: Path, out: str) -> list[str]:
    """Names of the dubs that have ended so far, each as often as it did."""
    log = folder / f"{out}.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line.partition(" ")[2] for line in lines if line.startswith("ends ")]


def failed(folder: Path, out: str) -> set[str]:
    """Names of the jobs that are not done, by the summary."""
    rows = json.loads((folder / out / "summary.json").read_text())["rows"]
    return {Path(row["output"]).stem for row in rows if row["state"] != "done"}


if __name__ == "__main__":
    from tests.service.batch import painted  # under the name by which the processes of a cluster import it

    Batch.__init__.__kwdefaults__["make_networks"] = painted.PaintedNetworks
    run("batch", sys.argv[1:])
