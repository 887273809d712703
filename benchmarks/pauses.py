"""Does the mouth rest in pauses, and does it speak again in time? ``--silence close`` beside ``generate``.

    python -m benchmarks.pauses --mesh DIR --clips 4 --noise -22

Every clip is an unseen talker, dubbed by the built-in models with what another person says, a pause in it, and noise
over all of it (``--noise``: dB relative to the speech, as of a hum in the room). Openings of the mouth are measured in
the frames by the face mesh (``--mesh``: as in ``benchmarks/cross_sync.py``). Columns:

- quiet       variance of the opening in the quiet stretches that the run found, over that in speech
- onset       correlation of the opening with the true one, over the first 0.3 s after the pause
- correlation the same over the whole clip
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from benchmarks.cross_sync import DrawnVideo
from benchmarks.dub_inputs import drawn_faces
from latentsync.data.talkers.cross import CrossClip, make_cross_clip, speaking
from latentsync.face.backends import yunet
from latentsync.face.detections_file import write_detections
from latentsync.face.detector import FaceDetector
from latentsync.face.tracks import FaceTracks
from latentsync.inference.loading import load_pipeline
from latentsync.inference.options import SyncOptions, apply_preset
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.inference.silence import SpeechPlan
from latentsync.inference.stretches import SilenceMode
from latentsync.inference.weights import WeightPaths, model_settings
from latentsync.metrics.mouth import fill_gaps, mouth_opening, silence_movement
from latentsync.types import ArrayFrame

ONSET = 8  # frames, 0.3 s
COLUMNS = ("quiet", "onset", "correlation")


def with_noise(waveform: np.ndarray, decibels: float, seed: int) -> np.ndarray:
    """The waveform (n,) float32 and low noise of that level relative to it."""
    noise = np.convolve(np.random.default_rng(seed).normal(size=len(waveform)), np.ones(8), "same")
    level = np.sqrt((waveform**2).mean()) * 10 ** (decibels / 20)
    return (waveform + noise * level / noise.std()).astype(np.float32)


def openings(
    clip: CrossClip, waveform: np.ndarray, options: SyncOptions, pipeline: LipsyncPipeline, mesh: FaceDetector
) -> np.ndarray:
    """(N,) of the dub; frames in which no face is found are interpolated."""
    with tempfile.TemporaryDirectory() as folder:
        write_detections(Path(folder) / "faces.npz", drawn_faces(clip.source))
        tracks = FaceTracks.from_file(Path(folder) / "faces.npz")
    frames = [frame.pixels for frame in pipeline.sync(DrawnVideo(clip.source), waveform, options, tracks)]
    found = mesh.detect([ArrayFrame.of(pixels) for pixels in frames])
    return fill_gaps([mouth_opening(faces[0].landmarks[None])[0] if faces else np.nan for faces in found])


def score(opening: np.ndarray, clip: CrossClip, plan: SpeechPlan) -> dict[str, float]:
    """The columns of one dub."""
    truth, talks = clip.truth.opening[: len(opening)], speaking(clip.truth)[: len(opening)]
    quiet = np.array([plan.quiet.at(Fraction(frame, 25)) is not None for frame in range(len(opening))])
    pause = clip.truth.n_frames // 2  # lies in the middle
    onset = slice(pause + int(np.argmax(talks[pause:])), pause + int(np.argmax(talks[pause:])) + ONSET)
    return {
        "quiet": silence_movement(opening, ~quiet),
        "onset": float(np.corrcoef(opening[onset], truth[onset])[0, 1]),
        "correlation": float(np.corrcoef(opening, truth)[0, 1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mesh", type=Path, required=True, help="folder with the files of the detector 'yunet'")
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--first", type=int, default=10, help="number of the first clip")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--noise", type=float, default=-22.0, metavar="DB", help="relative to the speech (-22)")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    weights = WeightPaths.builtin()
    pipeline = load_pipeline(weights, model_settings(weights.unet, None))
    mesh = yunet.load(chosen.mesh, "cpu")
    _, sampler = apply_preset(None, weights)
    close = SyncOptions(sampler, batch=2, check_output=False, silence=SilenceMode.CLOSE)
    rows: dict[SilenceMode, list[dict[str, float]]] = {SilenceMode.GENERATE: [], SilenceMode.CLOSE: []}
    for number in range(chosen.first, chosen.first + chosen.clips):
        clip = make_cross_clip(number, chosen.seconds, 256)
        waveform = with_noise(clip.waveform, chosen.noise, number)
        plan = SpeechPlan.of_run(waveform, close, Fraction(25))
        for mode, done in rows.items():
            done.append(score(openings(clip, waveform, replace(close, silence=mode), pipeline, mesh), clip, plan))
            print(number, mode, {name: round(value, 5) for name, value in done[-1].items()}, plan.judge, flush=True)
    print(f"\n| --silence | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for mode, done in rows.items():
        means = (f"{np.mean([row[name] for row in done]):.3g}" for name in COLUMNS)
        print(f"| {mode} | {' | '.join(means)} |")


if __name__ == "__main__":
    main()
