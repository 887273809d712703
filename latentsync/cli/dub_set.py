"""Dub a set of videos with the models loaded once, laid out for `latentsync evaluate`.

    latentsync dub-set --videos_dir recordings --audios_dir recordings --output out/set

Every video gets audio: with --pairing shuffled (cross-sync) that of another one, drawn by --seed; with --pairing name
(reconstruction) that of its own name. Audio may be taken from videos. Writes OUT/results/VIDEO__AUDIO.mp4 or
OUT/results/VIDEO.mp4 with a report beside it, and under the same names links to the video in OUT/source and, where the
audio is a video's, to that in OUT/truth. OUT/made says what each result was made of: one that is there already, of the
same files, options and weights, is left as it is. A video that fails is named, and the rest goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.atomic import link_or_copy, write_text
from latentsync.cli._dub_arguments import ADAPTER_HELP, adapter_choice
from latentsync.errors import DataError, LatentSyncError
from latentsync.inference.options import DEEPCACHE_INTERVAL, DEFAULT_SEED, PRESETS, apply_preset
from latentsync.terminal import command_parser, run_command

if TYPE_CHECKING:
    from latentsync.diffusion.settings import SamplerSettings
    from latentsync.inference.job.networks import KeptNetworks
    from latentsync.inference.job.request import DubRequest
    from latentsync.inference.weights import WeightPaths

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus")


@dataclass(frozen=True)
class Pair:
    """``name`` of the result, without suffix."""

    video: Path
    audio: Path
    name: str


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("dub-set", __doc__)
    parser.add_argument("--videos_dir", type=Path, required=True, help="folder of videos")
    parser.add_argument("--audios_dir", type=Path, required=True, help="folder of audio files, or of videos with audio")
    parser.add_argument("--output", type=Path, required=True, help="folder of the set")
    parser.add_argument("--pairing", choices=("shuffled", "name"), default="shuffled")
    parser.add_argument("--seed", type=int, default=42, help="of the pairing (42)")
    parser.add_argument("--checkpoint_dir", type=Path, help="folder of all weights (checkpoints/)")
    parser.add_argument("--adapter", type=adapter_choice, metavar="FILE[:STRENGTH]", help=ADAPTER_HELP)
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
    from latentsync.inference.job.networks import KeptNetworks
    from latentsync.inference.weights import WeightPaths, identities

    audios = files_in(options.audios_dir, SUFFIXES | set(AUDIO_SUFFIXES))
    pairs = make_pairs(videos_in(options.videos_dir), audios, options.pairing, options.seed)
    weights, sampler = apply_preset(
        options.preset,
        WeightPaths.choose(options.checkpoint_dir, options.inference_ckpt_path, options.adapter),
        steps=options.inference_steps,
        guidance_scale=options.guidance_scale,
        cache_interval=DEEPCACHE_INTERVAL if options.enable_deepcache else None,
    )
    checksums = identities(weights.check())
    networks, failed = KeptNetworks(), 0
    for number, pair in enumerate(pairs, start=1):
        try:
            link(options.output / "source", pair.name, pair.video)
            if pair.audio.suffix.lower() in SUFFIXES:
                link(options.output / "truth", pair.name, pair.audio)
            record = options.output / "made" / f"{pair.name}.json"
            said = make(make_request(options, pair, weights, sampler), record, checksums, networks)
        except LatentSyncError as error:
            failed, said = failed + 1, f"failed: {error.message}"
        except Exception as error:  # noqa: BLE001  a fault of ours ends one job, not a night's work
            traceback.print_exc()
            failed, said = failed + 1, f"failed: {type(error).__name__}: {error} (a fault of this program)"
            networks = KeptNetworks()  # nobody knows what state they were left in
        print(f"{number}/{len(pairs)} {pair.name}: {said}", flush=True)
    print(f"{len(pairs) - failed} of {len(pairs)} done, {failed} failed.")
    return 1 if failed else 0


def make_request(options: argparse.Namespace, pair: Pair, weights: WeightPaths, sampler: SamplerSettings) -> DubRequest:
    """The dub of one pair."""
    from latentsync.evaluation.recordings import report_beside
    from latentsync.inference.job.request import DubRequest
    from latentsync.inference.options import SyncOptions

    output = options.output / "results" / f"{pair.name}.mp4"
    return DubRequest(
        pair.video, pair.audio, output, SyncOptions(sampler, seed=options.inference_seed), weights=weights,
        unet_config=options.unet_config_path, detector=options.detector, device=options.device,
        compiled=options.compile, overwrite=True, report=report_beside(output),
    )  # fmt: skip


def make(request: DubRequest, record: Path, weights: Mapping[str, str], networks: KeptNetworks) -> str:
    """Dub, unless the result is there and was made of the same, as the file ``record`` says; returns what to say of it.

    ``weights``: name -> checksum. Raises as ``dub``.
    """
    from latentsync.inference.job.dub import dub
    from latentsync.inference.job.folder import ingredients

    made_of = json.dumps(ingredients(request, weights), indent=1, sort_keys=True)
    there = request.output.exists()
    if there and record.is_file() and record.read_text(encoding="utf-8") == made_of:
        return "is there already"
    request.output.parent.mkdir(parents=True, exist_ok=True)
    seconds = dub(request, networks=networks).wall_seconds
    write_text(record, made_of)
    return f"{seconds:.1f} s" + (", in place of one of other files, options or weights" if there else "")


def link(folder: Path, name: str, target: Path) -> None:
    """Another name of ``target``: ``folder/name`` with its suffix; a copy where no links are allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / (name + target.suffix)
    place.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(place):
        if place.exists() and place.samefile(target):
            return
        place.unlink()
    try:
        place.symlink_to(target.resolve())
    except OSError:  # Windows, without the right to
        link_or_copy(target, place)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, 1 if a video failed, or that of the error."""
    return run_command(lambda: run(parse_arguments(arguments)))
