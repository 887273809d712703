"""Does ``--sync_gate redo`` mend a stretch that went wrong? The sample, dubbed with a fault by the built-in models.

    python -m benchmarks.redo

From 3.0 to 6.2 s the windows are given the audio of 3 s before: in no take, in the first one only, or in both. Every
row is a stretch that the sync network judged: confidence of the first take, and of the second one where there was one.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch

from latentsync.face.tracks import FaceTracks
from latentsync.inference.job.sync_judge import load_judge
from latentsync.inference.loading import load_pipeline
from latentsync.inference.options import SyncGate, SyncOptions, apply_preset
from latentsync.inference.record import RunRecord, SyncVerdict
from latentsync.inference.weights import WeightPaths, model_settings
from latentsync.media.audio import read_audio
from latentsync.media.video import VideoFile
from latentsync.places import SAMPLE_AUDIO, SAMPLE_FACES, SAMPLE_VIDEO
from latentsync.types import Window, WindowGenerator

FIRST, COUNT = 5, 5  # windows that are spoiled; they get the audio of those that many before
FAULTS = {"none": 0, "in the first take": 1, "in both takes": 2}  # -> takes that are spoiled


class Spoiled:
    """Generates some windows for another moment of the audio. ``tokens``: audio of the windows seen, by number."""

    def __init__(self, generator: WindowGenerator, tokens: dict[int, np.ndarray]) -> None:
        self.resolution = generator.resolution
        self._generator, self._tokens = generator, tokens

    def __call__(self, windows: list[Window]) -> np.ndarray:
        """As ``WindowGenerator``."""
        self._tokens.update({window.number: window.audio for window in windows if window.number < FIRST})
        return self._generator([self._spoiled(window) for window in windows])

    def _spoiled(self, window: Window) -> Window:
        if not FIRST <= window.number < FIRST + COUNT:
            return window
        return replace(window, audio=self._tokens[window.number - COUNT])


def dub(takes: int) -> RunRecord:
    """The record of a dub whose first ``takes`` takes are spoiled."""
    weights, sampler = apply_preset(None, WeightPaths.builtin())
    options = SyncOptions(sampler, sync_gate=SyncGate.REDO)
    pipeline = load_pipeline(weights, model_settings(weights.unet, None))
    make, tokens, made = pipeline._make_generator, {}, []

    def spoiling(*given) -> WindowGenerator:
        generator = make(*given)
        made.append(generator)
        return Spoiled(generator, tokens) if len(made) <= takes else generator

    pipeline._make_generator = spoiling
    record, waveform = RunRecord(), read_audio(SAMPLE_AUDIO)
    judge = load_judge(weights, waveform, torch.device("cpu"))
    tracks = FaceTracks.from_file(SAMPLE_FACES)
    for _ in pipeline.sync(VideoFile(SAMPLE_VIDEO), waveform, options, tracks, record, judge=judge):
        pass
    return record


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    print("| fault | stretch | first take | second take | reported |\n|---|---|---|---|---|")
    for fault, takes in FAULTS.items():
        for stretch in dub(takes).judged:
            first = stretch.first_try or stretch.verdict
            again = "–" if stretch.first_try is None else _said(stretch.verdict)
            span = f"{float(stretch.start):.1f} to {float(stretch.stop):.1f} s"
            reported = "no" if stretch.verdict.in_sync else "out of sync"
            print(f"| {fault} | {span} | {_said(first)} | {again} | {reported} |", flush=True)


def _said(verdict: SyncVerdict) -> str:
    return f"{verdict.confidence:.2f}"


if __name__ == "__main__":
    main()
