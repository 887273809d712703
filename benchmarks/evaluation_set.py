"""A test set of synthetic talkers for eval/evaluate.sh: what gets dubbed, what should come out, and, if asked for, the
dubs of the built-in models, with the drawn faces as tracks.

    python -m benchmarks.evaluation_set --out SET --clips 8 --seconds 4 --dub
    eval/evaluate.sh --results SET/results --truth SET/truth --source SET/source --setting cross-sync-truth

Without --dub the results are copies of the truth, encoded once more. Everybody in it is unknown to every training
(``data.talkers.cross``).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.dub_inputs import drawn_faces, write_talker_video
from latentsync.data.talkers.cross import make_cross_clip
from latentsync.face.detections_file import write_detections
from latentsync.inference.job.dub import dub
from latentsync.inference.job.networks import KeptNetworks
from latentsync.inference.job.request import DubRequest
from latentsync.inference.options import BUILTIN_PRESET, PRESETS, SyncOptions
from latentsync.inference.weights import WeightPaths
from latentsync.media.writer import EncodingOptions


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
    networks, sampler = KeptNetworks(), PRESETS[BUILTIN_PRESET]
    for number in range(options.first, options.first + options.clips):
        clip, name = make_cross_clip(number, options.seconds, options.size), f"{number:05d}.mp4"
        for kind, talker in (("source", clip.source), ("truth", clip.truth)):
            write_talker_video(options.out / kind / name, talker, EncodingOptions("h264", 14, repeatable=True))
            write_detections((options.out / kind / name).with_suffix(".npz"), drawn_faces(talker))
        result = options.out / "results" / name
        if options.dub:
            result.parent.mkdir(parents=True, exist_ok=True)
            video, audio = options.out / "source" / name, options.out / "truth" / name
            request = DubRequest(
                video,
                audio,
                result,
                SyncOptions(sampler),
                weights=WeightPaths.builtin(),
                detector=str(video.with_suffix(".npz")),
                overwrite=True,
            )
            print(dub(request, networks=networks).summary(), flush=True)
        else:
            write_talker_video(result, clip.truth, EncodingOptions("h264", 23, repeatable=True))


if __name__ == "__main__":
    main()
