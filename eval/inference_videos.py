"""Dub a set of videos with the models loaded once, laid out for eval/evaluate.sh.

    python -m eval.inference_videos --videos_dir recordings --audios_dir recordings --output out/set

Every video gets audio: with --pairing shuffled (cross-sync) that of another one, drawn by --seed; with --pairing name
(reconstruction) that of its own name. Audio may be taken from videos. Writes OUT/results/VIDEO__AUDIO.mp4 or
OUT/results/VIDEO.mp4, and under the same names links to the video in OUT/source and, where the audio is a video's, to
that in OUT/truth. What is there already is left as it is; a video that fails is named, and the rest goes on.
"""

from __future__ import annotations

import argparse
import os
import random
from dataclasses import dataclass
from pathlib import Path

from latentsync.errors import DataError, LatentSyncError, run_command
from latentsync.inference.options import DEEPCACHE_INTERVAL, DEFAULT_SEED, PRESETS, apply_preset
from latentsync.stream import exit_process

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus")


@dataclass(frozen=True)
class Pair:
    """``name`` of the result, without suffix."""

    video: Path
    audio: Path
    name: str


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos_dir", type=Path, required=True, help="folder of videos")
    parser.add_argument("--audios_dir", type=Path, required=True, help="folder of audio files, or of videos with audio")
    parser.add_argument("--output", type=Path, required=True, help="folder of the set")
    parser.add_argument("--pairing", choices=("shuffled", "name"), default="shuffled")
    parser.add_argument("--seed", type=int, default=42, help="of the pairing (42)")
    parser.add_argument("--checkpoint_dir", type=Path, help="folder of all weights (checkpoints/)")
    parser.add_argument("--inference_ckpt_path", type=Path, help="U-Net weights")
    parser.add_argument("--unet_config_path", type=Path, help="U-Net YAML; needed if the weights do not say their size")
    parser.add_argument("--preset", choices=PRESETS, help="sampler settings")
    parser.add_argument("--inference_steps", type=int, help="denoising steps")
    parser.add_argument("--guidance_scale", type=float, help="how strongly the mouth follows the audio")
    parser.add_argument("--enable_deepcache", action="store_true", help="reuse deep features at two steps of three")
    parser.add_argument("--inference_seed", type=int, default=DEFAULT_SEED, help=f"of every dub ({DEFAULT_SEED})")
    parser.add_argument("--detector", default="auto", help="auto, face-alignment or yunet (auto)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true", help="torch.compile: minutes at first, then faster on a GPU")
    return parser.parse_args(arguments)


def make_pairs(videos: dict[str, Path], audios: dict[str, Path], pairing: str, seed: int) -> list[Pair]:
    """The pairs, in order of their names; shuffled: no video with the audio of its own name, as far as that goes.

    Raises ``DataError`` if there is none.
    """
    if pairing == "name":
        own = {name: audios.get(name) or audios.get(f"{name}_audio") for name in videos}
        pairs = [Pair(videos[name], audio, name) for name, audio in own.items() if audio is not None]
    else:
        names, left = sorted(videos), sorted(audios)
        random.Random(seed).shuffle(names)
        random.Random(seed + 1).shuffle(left)
        pairs = []
        for name in names:
            if not left:
                break
            other = next((each for each in left if each != name), left[0])
            left.remove(other)
            pairs.append(Pair(videos[name], audios[other], f"{name}__{other}".replace("/", "_")))
    if not pairs:
        raise DataError("There is no pair of a video and audio.", remedy="Check the folders and --pairing.")
    return sorted(pairs, key=lambda pair: pair.name)


def run(options: argparse.Namespace) -> int:
    """Dub what is not there yet; 1 if anything failed."""
    from latentsync.evaluation.recordings import SUFFIXES, files_in, videos_in
    from latentsync.inference.job.dub import dub
    from latentsync.inference.job.networks import KeptNetworks
    from latentsync.inference.job.request import DubRequest
    from latentsync.inference.options import SyncOptions
    from latentsync.inference.weights import WeightPaths

    audios = files_in(options.audios_dir, SUFFIXES | set(AUDIO_SUFFIXES))
    pairs = make_pairs(videos_in(options.videos_dir), audios, options.pairing, options.seed)
    weights, sampler = apply_preset(
        options.preset,
        WeightPaths.choose(options.checkpoint_dir, options.inference_ckpt_path),
        steps=options.inference_steps,
        guidance_scale=options.guidance_scale,
        cache_interval=DEEPCACHE_INTERVAL if options.enable_deepcache else None,
    )
    networks, failed = KeptNetworks(), 0
    for number, pair in enumerate(pairs, start=1):
        target = options.output / "results" / f"{pair.name}.mp4"
        target.parent.mkdir(parents=True, exist_ok=True)
        link(options.output / "source", pair.name, pair.video)
        if pair.audio.suffix.lower() in SUFFIXES:
            link(options.output / "truth", pair.name, pair.audio)
        said = "is there already"
        if not target.exists():
            request = DubRequest(
                pair.video, pair.audio, target, SyncOptions(sampler, seed=options.inference_seed), weights=weights,
                unet_config=options.unet_config_path, detector=options.detector, device=options.device,
                compiled=options.compile,
            )  # fmt: skip
            try:
                said = f"{dub(request, networks=networks).wall_seconds:.1f} s"
            except LatentSyncError as error:
                failed, said = failed + 1, f"failed: {error.message}"
        print(f"{number}/{len(pairs)} {pair.name}: {said}", flush=True)
    print(f"{len(pairs) - failed} of {len(pairs)} done, {failed} failed.")
    return 1 if failed else 0


def link(folder: Path, name: str, target: Path) -> None:
    """A symbolic link ``folder/name`` with the suffix of ``target``."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / (name + target.suffix)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(place):
        place.symlink_to(target.resolve())


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, 1 if a video failed, or that of the error."""
    return run_command(lambda: run(parse_arguments(arguments)))


if __name__ == "__main__":
    exit_process(main())
