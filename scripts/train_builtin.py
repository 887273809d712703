"""Train the built-in models on synthetic talkers and put them into checkpoints/builtin. See docs/train_builtin.md.

    python -m scripts.train_builtin              all steps; those that are complete are passed over
    python -m scripts.train_builtin unet_stage1  that step only; further words section.key=value change its settings
    python -m scripts.train_builtin people=DIR   with real people too, as docs/train_builtin.md says

Stopped, by Ctrl-C or otherwise, the same command goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from latentsync.checkpoint.card import CARD_KEY, WeightsCard
from latentsync.config import load_config
from latentsync.errors import INTERRUPTED_EXIT_CODE, LatentSyncError, report
from latentsync.recipe import SyncNetRecipe, UNetRecipe
from latentsync.runtime.malloc import keep_freed_memory

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
RUNS = ROOT / "output" / "builtin"  # the U-Net, the codec and the audio encoder, with the clips that they share
SYNCNET_RUNS = ROOT / "output" / "syncnet"
TARGET = ROOT / "checkpoints" / "builtin"

CODEC = RUNS / "codec" / "weights" / "best"  # its latents are those that the U-Net learns
DECODER = RUNS / "decoder" / "weights" / "best"  # the same codec with a better decoder
AUDIO_ENCODER = RUNS / "audio_encoder" / "weights" / "best.pt"
SYNCNET = SYNCNET_RUNS / "talkers" / "weights" / "best.safetensors"
STAGE_1 = RUNS / "unet_stage1" / "weights" / "last.safetensors"
STAGE_2 = RUNS / "unet_stage2" / "weights" / "last.safetensors"

PLACE = f"data.train_output_dir={RUNS}"
NETWORKS = (f"networks.codec={CODEC}", f"networks.audio_encoder={AUDIO_ENCODER}")


def train_codec(overrides: Sequence[str]) -> bool:
    return _train_codec("codec", overrides)


def train_decoder(overrides: Sequence[str]) -> bool:
    """The decoder can go on while the U-Net is trained, since the latents stay as they are."""
    return _train_codec("decoder", [f"ckpt.resume_ckpt_path={CODEC}", "optimizer.lr=1e-3", *overrides])


def train_audio_encoder(overrides: Sequence[str]) -> bool:
    from latentsync.training.builtin.audio_encoder import train_audio_encoder as train
    from latentsync.training.builtin.recipes import AudioEncoderRecipe

    recipe = load_config(CONFIGS / "audio_encoder" / "talkers.yaml", AudioEncoderRecipe, [PLACE, *overrides])
    return _finished(train(recipe, "audio_encoder"))


def train_syncnet(overrides: Sequence[str]) -> bool:
    from latentsync.training.syncnet.run import train_syncnet as train

    recipe = load_config(
        CONFIGS / "syncnet" / "talkers.yaml", SyncNetRecipe, [f"data.train_output_dir={SYNCNET_RUNS}", *overrides]
    )
    return _finished(train(recipe, "talkers"))


def train_video_encoder(overrides: Sequence[str]) -> bool:
    """For the temporal loss, which the built-in models do without; so it is not among the steps that all take."""
    from latentsync.training.builtin.recipes import VideoEncoderRecipe
    from latentsync.training.builtin.video_encoder import train_video_encoder as train

    recipe = load_config(CONFIGS / "video_encoder" / "talkers.yaml", VideoEncoderRecipe, [PLACE, *overrides])
    return _finished(train(recipe, "video_encoder"))


def train_stage_1(overrides: Sequence[str]) -> bool:
    return _train_unet("talkers_stage1.yaml", "unet_stage1", overrides)


def train_stage_2(overrides: Sequence[str]) -> bool:
    return _train_unet("talkers_stage2.yaml", "unet_stage2", [f"ckpt.resume_ckpt_path={STAGE_1}", *overrides])


def publish(_: Sequence[str]) -> bool:
    """Put the results, in half precision, in the place of the built-in models."""
    from latentsync.checkpoint import load_whisper_weights, read_card, save_whisper

    encoder_file = TARGET / "audio_encoder.pt"
    (TARGET / "codec").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(DECODER / "config.json", TARGET / "codec" / "config.json")
    name = "diffusion_pytorch_model.safetensors"
    _halve(DECODER / name, TARGET / "codec" / name)
    _halve(SYNCNET, TARGET / "syncnet.safetensors")
    _halve(STAGE_2, TARGET / "unet.safetensors", replace(read_card(STAGE_2), audio_encoder=encoder_file.name))
    dims, encoder = load_whisper_weights(AUDIO_ENCODER)
    save_whisper(encoder_file, dims, {name: tensor.half() for name, tensor in encoder.items()})
    return True


STEPS: dict[str, Callable[[Sequence[str]], bool]] = {
    "codec": train_codec,
    "decoder": train_decoder,
    "audio_encoder": train_audio_encoder,
    "syncnet": train_syncnet,
    "unet_stage1": train_stage_1,
    "unet_stage2": train_stage_2,
    "publish": publish,
}
OF_PEOPLE = ("audio_encoder",)  # steps that know what to do with people=DIR
ASIDE: dict[str, Callable[[Sequence[str]], bool]] = {"video_encoder": train_video_encoder}  # only when they are named


def _train_codec(name: str, overrides: Sequence[str]) -> bool:
    from latentsync.training.builtin.codec import train_codec as train
    from latentsync.training.builtin.recipes import CodecRecipe

    return _finished(train(load_config(CONFIGS / "codec" / "builtin.yaml", CodecRecipe, [PLACE, *overrides]), name))


def _train_unet(config: str, name: str, overrides: Sequence[str]) -> bool:
    from latentsync.training.unet.run import train_unet

    recipe = load_config(CONFIGS / "unet" / config, UNetRecipe, [PLACE, *NETWORKS, *overrides])
    return _finished(train_unet(recipe, name))


def _halve(source: Path, target: Path, card: WeightsCard | None = None) -> None:
    """Copy a safetensors file in half precision, with another ``card`` if one is given; the networks are built in
    single precision whatever a file has."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    from latentsync.atomic import atomic_file

    with safe_open(source, framework="pt") as archive, atomic_file(target, durable=True) as temporary:
        tensors = {name: archive.get_tensor(name).half() for name in archive.keys()}  # noqa: SIM118  not a mapping
        metadata = archive.metadata() | ({} if card is None else {CARD_KEY: card.to_json()})
        save_file(tensors, temporary, metadata=metadata)


def _finished(result: object) -> bool:
    from latentsync.training.loop.trainer import TrainingResult

    return result is TrainingResult.FINISHED


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 when all steps are complete, 130 when one was stopped and can go on."""
    known = STEPS | ASIDE
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "steps", nargs="*", metavar="STEP", help=f"of {', '.join(known)}; none = all but {', '.join(ASIDE)}"
    )
    words = parser.parse_args(arguments).steps
    people = [f"data.{word}" for word in words if word.startswith("people=")]
    overrides = [word for word in words if "=" in word and not word.startswith("people=")]
    chosen = [word for word in words if "=" not in word] or list(STEPS)
    if overrides and len(chosen) != 1:
        parser.error("settings are for one step: name it")
    unknown = [step for step in chosen if step not in known]
    if unknown:
        parser.error(f"there is no step {unknown[0]}")
    keep_freed_memory()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("accelerate").setLevel(logging.WARNING)
    for step in chosen:
        logging.info("-- %s", step)
        try:
            if not known[step]([*(people if step in OF_PEOPLE else ()), *overrides]):
                print("Stopped and saved. The same command goes on from there.", file=sys.stderr)
                return INTERRUPTED_EXIT_CODE
        except LatentSyncError as error:
            return report(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
