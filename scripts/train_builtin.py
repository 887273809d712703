"""Train the built-in models on drawn talkers, and on people where there are some, and put them into
checkpoints/builtin. See docs/train_builtin.md.

    python -m scripts.train_builtin              all steps; those that are complete are passed over
    python -m scripts.train_builtin unet_stage1  that step only; further words section.key=value change its settings
    python -m scripts.train_builtin people=DIR   with real people too; detector=DIR: the files that find their faces

Stopped, by Ctrl-C or otherwise, the same command goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.atomic import write_text
from latentsync.checkpoint.card import CARD_KEY, WeightsCard
from latentsync.checkpoint.files import fingerprint
from latentsync.config import load_config
from latentsync.data.speech.collection import Speech
from latentsync.errors import INTERRUPTED_EXIT_CODE, LatentSyncError
from latentsync.places import BUILTIN_SYNCNET, BUILTIN_SYNCNET_CONFIG
from latentsync.recipe import SyncNetRecipe, TalkerData, UNetRecipe
from latentsync.runtime.memory import keep_freed_memory
from latentsync.terminal import report

if TYPE_CHECKING:
    from latentsync.training.builtin.recipes import CodecRecipe

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
AUDIO_CONFIG = CONFIGS / "audio_encoder" / "talkers.yaml"
RUNS = ROOT / "output" / "builtin"  # a folder for each step, and the clips that the steps share
TARGET = ROOT / "checkpoints" / "builtin"

CODEC = RUNS / "codec" / "weights" / "best"  # its latents are those that the U-Net learns
DECODER = RUNS / "decoder" / "weights" / "best"  # the same codec with a better decoder
AUDIO_ENCODER = RUNS / "audio_encoder" / "weights" / "best.pt"
SYNCNET = RUNS / "syncnet" / "weights" / "best.safetensors"
SYNCNET_LATENT = RUNS / "syncnet_latent" / "weights" / "best.safetensors"
STAGE_1 = RUNS / "unet_stage1" / "weights" / "last.safetensors"
STAGE_2 = RUNS / "unet_stage2" / "weights" / "last.safetensors"
SMALL_DECODER = RUNS / "small_decoder" / "weights" / "best"
SMALL_CODEC = RUNS / "small_encoder" / "weights" / "best"  # that decoder with an encoder of its own
STUDENT = RUNS / "student" / "weights" / "last.safetensors"

PLACE = f"data.train_output_dir={RUNS}"
NETWORKS = (f"networks.codec={CODEC}", f"networks.audio_encoder={AUDIO_ENCODER}")
TRAINED_ON = (
    "drawn talkers; talker 1 of the GRID audio-visual sentence corpus (Cooke, Barker, Cunningham, Shao: "
    "J. Acoust. Soc. Am. 120, 2006; CC BY 4.0); official portraits of members of the US Congress (Government Printing "
    "Office, public domain, from the collection unitedstates/images)"
)
SIDE = 128  # of all clips, pixels
PHOTO_CLIPS, PHOTO_VALIDATION, PHOTO_SECONDS = 900, 60, 2.4


@dataclass(frozen=True, slots=True)
class People:
    """``folder`` with ``portraits`` (photographs) and ``grid_s1`` in it, whichever there is; None = drawn talkers only.
    ``detector``: folder of the files of YuNet and the face mesh."""

    folder: Path | None
    detector: Path

    def still_faces(self) -> list[str]:
        """Settings of a training on single faces."""
        if self.folder is None:
            return []
        return [f"data.people={self.folder}", f"data.people_detector={self.detector}"]

    def voices(self) -> list[str]:
        """Settings of the audio encoder."""
        if self.folder is None or not (self.folder / "grid_s1").is_dir():
            return []
        return [f"data.people={self.folder}", f"data.people_detector={self.detector}"]

    def clips(self, overrides: Sequence[str] = ()) -> list[str]:
        """Settings of a training on clips: where they are. What is missing is made, which takes hours for all; of the
        ``overrides`` those of ``data.talkers`` count."""
        if self.folder is None:
            return []
        found = {}
        if (self.folder / "portraits").is_dir():
            found["photos"] = self._make_photo_clips(self.folder / "portraits", _talkers(overrides))
        if (self.folder / "grid_s1").is_dir():
            found["grid"] = self._make_grid_clips(self.folder)
        return [f"data.more_clips.{name}.files={manifest}" for name, manifest in found.items()]

    def _make_photo_clips(self, photos: Path, talkers: TalkerData) -> Path:
        from latentsync.data.photo_talkers.crops import PhotoCrops, make_photo_crops
        from latentsync.data.photo_talkers.portrait import PortraitReader
        from latentsync.training.loop.clips import clips_folder

        shares = {"covered_share": talkers.covered_share or 0.0, "turned_share": talkers.turned_share or 0.0}
        crops = PhotoCrops(PHOTO_CLIPS, PHOTO_VALIDATION, PHOTO_SECONDS, SIDE, **shares)
        reader, folder = PortraitReader(self.detector), RUNS / clips_folder("photo_clips", talkers)
        return make_photo_crops(crops, photos, folder, reader, os.cpu_count() or 1, self._speech())

    def _speech(self) -> Speech:
        """What the audio encoder learns from: real and synthetic voices for the photographs."""
        from latentsync.training.builtin.audio_encoder import find_speech
        from latentsync.training.builtin.recipes import AudioEncoderRecipe

        return find_speech(load_config(AUDIO_CONFIG, AudioEncoderRecipe, self.voices()).data)

    def _make_grid_clips(self, people: Path) -> Path:
        from latentsync.data.grid import make_grid_crops
        from latentsync.face.backends import yunet

        return make_grid_crops(people, yunet.load(self.detector, "cpu"), SIDE, RUNS / "grid_clips")


Step = Callable[[People, Sequence[str]], bool]


def make_clips(people: People, overrides: Sequence[str]) -> bool:
    """All clips that the steps share: drawn talkers, photographs that speak, the GRID talker."""
    from latentsync.training.loop.clips import find_clips

    settings = [PLACE, *overrides, *people.clips(overrides)]
    recipe = load_config(CONFIGS / "unet" / "builtin_stage1.yaml", UNetRecipe, settings)
    logging.info("%s", find_clips(recipe.data, 1, RUNS / "cache").summary())
    return True


def train_codec(people: People, overrides: Sequence[str]) -> bool:
    return _train_codec("codec", [*people.still_faces(), *overrides])


def train_decoder(people: People, overrides: Sequence[str]) -> bool:
    """The decoder can go on while the U-Net is trained, since the latents stay as they are."""
    return _train_codec("decoder", [f"ckpt.resume_ckpt_path={CODEC}", *people.still_faces(), *overrides])


def train_small_decoder(people: People, overrides: Sequence[str]) -> bool:
    """A decoder of a quarter of the operations for the same latents."""
    settings = [f"ckpt.latents_of={DECODER}", *people.still_faces(), *overrides]
    return _train_codec("small_decoder", settings, "builtin_small.yaml")


def train_small_encoder(people: People, overrides: Sequence[str]) -> bool:
    """An encoder of three tenths of the operations in front of the small decoder."""
    from latentsync.training.builtin.small_encoder import train_small_encoder as train

    places = [f"ckpt.latents_of={DECODER}", f"ckpt.resume_ckpt_path={SMALL_DECODER}"]
    recipe = _codec_recipe("builtin_small_encoder.yaml", [*places, *people.still_faces(), *overrides])
    return _finished(train(recipe, "small_encoder"))


def train_audio_encoder(people: People, overrides: Sequence[str]) -> bool:
    from latentsync.training.builtin.audio_encoder import train_audio_encoder as train
    from latentsync.training.builtin.recipes import AudioEncoderRecipe

    settings = [PLACE, *people.voices(), *overrides]
    recipe = load_config(AUDIO_CONFIG, AudioEncoderRecipe, settings)
    return _finished(train(recipe, "audio_encoder"))


def train_syncnet(people: People, overrides: Sequence[str]) -> bool:
    return _train_syncnet(BUILTIN_SYNCNET_CONFIG.name, "syncnet", people, overrides)


def train_latent_syncnet(people: People, overrides: Sequence[str]) -> bool:
    """The one that supervises the U-Net; it is not published."""
    return _train_syncnet("builtin_latent.yaml", "syncnet_latent", people, [f"data.codec_path={CODEC}", *overrides])


def train_video_encoder(_: People, overrides: Sequence[str]) -> bool:
    """For the temporal loss, which the built-in models do without; so it is not among the steps that all take."""
    from latentsync.training.builtin.recipes import VideoEncoderRecipe
    from latentsync.training.builtin.video_encoder import train_video_encoder as train

    recipe = load_config(CONFIGS / "video_encoder" / "talkers.yaml", VideoEncoderRecipe, [PLACE, *overrides])
    return _finished(train(recipe, "video_encoder"))


def train_stage_1(people: People, overrides: Sequence[str]) -> bool:
    return _train_unet("builtin_stage1.yaml", "unet_stage1", people, overrides)


def train_stage_2(people: People, overrides: Sequence[str]) -> bool:
    return _train_unet("builtin_stage2.yaml", "unet_stage2", people, [f"ckpt.resume_ckpt_path={STAGE_1}", *overrides])


def train_student(people: People, overrides: Sequence[str]) -> bool:
    """The U-Net of two steps, distilled from that of stage 2."""
    return _train_unet("builtin_student.yaml", "student", people, [f"student.teacher={STAGE_2}", *overrides])


def publish(people: People, _: Sequence[str]) -> bool:
    """Put the results, in half precision, in the place of the built-in models; give the same people=DIR, for the
    cards."""
    from latentsync.checkpoint import load_whisper_weights, save_whisper
    from latentsync.checkpoint.codec import LATENTS_OF

    encoder_file = TARGET / "audio_encoder.pt"
    (TARGET / "codec").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(DECODER / "config.json", TARGET / "codec" / "config.json")
    name = "diffusion_pytorch_model.safetensors"
    _halve(DECODER / name, TARGET / "codec" / name)
    small = SMALL_CODEC if (SMALL_CODEC / name).exists() else SMALL_DECODER
    if (small / name).exists():
        (TARGET / "codec_small").mkdir(exist_ok=True)
        config = json.loads((small / "config.json").read_text(encoding="utf-8"))
        config.pop("block_out_channels", None)  # diffusers writes it, and warns of it when it reads the file
        if LATENTS_OF in config:
            config[LATENTS_OF] = "../codec"
        write_text(TARGET / "codec_small" / "config.json", json.dumps(config, indent=2) + "\n")
        _halve(small / name, TARGET / "codec_small" / name)
    credit = None if people.folder is None else TRAINED_ON
    _halve(SYNCNET, TARGET / BUILTIN_SYNCNET.name, replace(_card(SYNCNET), trained_on=credit))
    card = replace(_card(STAGE_2), audio_encoder=encoder_file.name, trained_on=credit)
    _halve(STAGE_2, TARGET / "unet.safetensors", card)
    if STUDENT.exists():
        card = replace(_card(STUDENT), audio_encoder=encoder_file.name, trained_on=credit)
        card = replace(card, base=fingerprint(TARGET / "unet.safetensors"), base_name="unet.safetensors")
        _halve(STUDENT, TARGET / "student.safetensors", card)
    dims, encoder = load_whisper_weights(AUDIO_ENCODER)
    save_whisper(encoder_file, dims, {name: tensor.half() for name, tensor in encoder.items()})
    return True


STEPS: dict[str, Step] = {
    "clips": make_clips,
    "codec": train_codec,
    "decoder": train_decoder,
    "audio_encoder": train_audio_encoder,
    "syncnet": train_syncnet,
    "syncnet_latent": train_latent_syncnet,
    "unet_stage1": train_stage_1,
    "unet_stage2": train_stage_2,
    "student": train_student,
    "publish": publish,
}
# Only when they are named.
ASIDE: dict[str, Step] = {
    "video_encoder": train_video_encoder,
    "small_decoder": train_small_decoder,
    "small_encoder": train_small_encoder,
}


_TALKERS = "data.talkers."
OF_PEOPLE = ("people", "detector")  # words key=DIR that are for all steps


def _train_codec(name: str, overrides: Sequence[str], config: str = "builtin.yaml") -> bool:
    from latentsync.training.builtin.codec import train_codec as train

    return _finished(train(_codec_recipe(config, overrides), name))


def _codec_recipe(config: str, overrides: Sequence[str]) -> CodecRecipe:
    from latentsync.training.builtin.recipes import CodecRecipe

    return load_config(CONFIGS / "codec" / config, CodecRecipe, [PLACE, *overrides])


def _train_unet(config: str, name: str, people: People, overrides: Sequence[str]) -> bool:
    from latentsync.training.student.run import train_student as distil
    from latentsync.training.unet.run import train_unet

    settings = [PLACE, *NETWORKS, *people.clips(overrides), *overrides]
    recipe = load_config(CONFIGS / "unet" / config, UNetRecipe, settings)
    return _finished((train_unet if recipe.student is None else distil)(recipe, name))


def _train_syncnet(config: str, name: str, people: People, overrides: Sequence[str]) -> bool:
    from latentsync.training.syncnet.run import train_syncnet as train

    own = [word for word in overrides if not word.startswith(_TALKERS)]  # those are of the clips, which have a list
    settings = [PLACE, f"data.train_fileslist={_drawn_talkers(overrides)}", *people.clips(overrides), *own]
    return _finished(train(load_config(CONFIGS / "syncnet" / config, SyncNetRecipe, settings), name))


def _drawn_talkers(overrides: Sequence[str]) -> Path:
    """The manifest of the drawn talkers of the U-Net, which sync networks see too, whatever their resolution."""
    from latentsync.training.loop.clips import draw_talkers

    return draw_talkers(_talkers(overrides), SIDE, RUNS)


def _talkers(overrides: Sequence[str]) -> TalkerData:
    """The settings of the clips that the U-Net and the sync networks share."""
    own = [word for word in overrides if word.startswith(_TALKERS)]
    return load_config(CONFIGS / "unet" / "builtin_stage1.yaml", UNetRecipe, own).data.talkers or TalkerData()


def _card(path: Path) -> WeightsCard:
    from latentsync.checkpoint import read_card

    return read_card(path) or WeightsCard("auxiliary")


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


def _values(words: Sequence[str], key: str) -> list[str]:
    return [word.partition("=")[2] for word in words if word.startswith(f"{key}=")]


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
    given = {key: Path(value).resolve() for key in OF_PEOPLE for value in _values(words, key)}
    people = People(given.get("people"), given.get("detector", ROOT / "checkpoints" / "auxiliary"))
    overrides = [word for word in words if "=" in word and word.partition("=")[0] not in OF_PEOPLE]
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
            if not known[step](people, overrides):
                print("Stopped and saved. The same command goes on from there.", file=sys.stderr)
                return INTERRUPTED_EXIT_CODE
        except LatentSyncError as error:
            return report(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
