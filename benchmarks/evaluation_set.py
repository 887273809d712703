"""A test set of synthetic talkers for eval/evaluate.sh: what gets dubbed, what should come out, and, if asked for, the
dubs of the built-in models, with the drawn faces as tracks.

    python -m benchmarks.evaluation_set --out SET --clips 8 --seconds 4 --dub
    eval/evaluate.sh --results SET/results --truth SET/truth --source SET/source --setting cross-sync-truth

Without --dub the results are copies of the truth, encoded once more. Everybody in it is unknown to every training
(``data.talkers.cross``).
"""

from __future__ import annotations

import argparse
import tempfile
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.data.talkers.clip import TalkerClip
from latentsync.data.talkers.cross import make_cross_clip
from latentsync.diffusion.settings import SamplerSettings
from latentsync.face.detections_file import write_detections
from latentsync.face.detector import Detection
from latentsync.inference.job.dub import dub
from latentsync.inference.job.networks import KeptNetworks
from latentsync.inference.job.request import DubRequest
from latentsync.inference.options import SyncOptions
from latentsync.inference.presets import BUILTIN_PRESET, PRESETS
from latentsync.inference.weights import WeightPaths
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.types import ArrayFrame, VideoInfo


def write_film(path: Path, clip: TalkerClip, crf: int) -> None:
    """One film with its sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = clip.n_frames
    info = VideoInfo(Path("talker"), clip.width, clip.height, clip.fps, count, count / clip.fps)
    frames = (ArrayFrame(i, Fraction(i) / clip.fps, pixels) for i, pixels in enumerate(clip.frames()))
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound.wav"
        with wave.open(str(sound), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(np.rint(clip.waveform * 32767).astype("<i2").tobytes())
        write_video(path, frames, info, EncodingOptions("h264", crf, repeatable=True), sound, overwrite=True)


def write_faces(path: Path, clip: TalkerClip) -> None:
    """The drawn landmarks as a file of faces."""
    known = {
        number: [Detection(np.concatenate([points.min(0), points.max(0)]), points, 1.0)]
        for number, points in enumerate(clip.landmarks)
    }
    write_detections(path, known)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--first", type=int, default=1000, help="number of the first clip")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--size", type=int, default=256, help="side of the frames, pixels")
    parser.add_argument("--dub", action="store_true", help="dub with the built-in models")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    networks, sampler = KeptNetworks(), SamplerSettings(**PRESETS[BUILTIN_PRESET])
    for number in range(options.first, options.first + options.clips):
        clip, name = make_cross_clip(number, options.seconds, options.size), f"{number:05d}.mp4"
        write_film(options.out / "source" / name, clip.source, 14)
        write_film(options.out / "truth" / name, clip.truth, 14)
        faces = options.out / "source" / f"{number:05d}.npz"
        write_faces(faces, clip.source)
        write_faces(options.out / "truth" / faces.name, clip.truth)
        result = options.out / "results" / name
        if options.dub:
            result.parent.mkdir(parents=True, exist_ok=True)
            video, audio = options.out / "source" / name, options.out / "truth" / name
            wish = SyncOptions(sampler)
            request = DubRequest(
                video, audio, result, wish, weights=WeightPaths.builtin(), detector=str(faces), overwrite=True
            )
            print(dub(request, networks=networks).summary(), flush=True)
        else:
            write_film(result, clip.truth, 23)


if __name__ == "__main__":
    main()
