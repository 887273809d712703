"""Which weight files a run uses, and what their cards say. No weights are loaded here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latentsync.checkpoint import AdapterChoice, inspect_file, read_card, require_base, require_resolution, sha256_file
from latentsync.checkpoint.registry import CODEC_WEIGHTS
from latentsync.config import load_config
from latentsync.constants import WINDOW_FRAMES
from latentsync.errors import ConfigError, WeightsError, WeightsMismatchError, WeightsMissingError
from latentsync.places import BUILTIN, WEIGHTS
from latentsync.recipe import UNetRecipe

BUILTIN_NAME = "built-in models"
BUILTIN_UNET = BUILTIN / "unet.safetensors"
STUDENT = "student.safetensors"  # beside a U-Net, what was distilled from it
BUILTIN_UNETS = (BUILTIN_UNET, BUILTIN_UNET.with_name(STUDENT))
BUILTIN_NOTES = (
    "without published weights the built-in models are used; "
    "`latentsync weights --for inference` fetches the published ones",
    "the built-in models are small and work at 128 pixels: on a video of a real person expect a soft mouth that "
    "follows the audio roughly",
)


@dataclass(frozen=True, slots=True)
class WeightPaths:
    """The weight files of one pipeline."""

    unet: Path
    codec: Path  # a diffusers folder
    whisper: Path
    auxiliary: Path  # folder of the face detectors
    adapter: AdapterChoice | None = None  # changes the U-Net for one person or one language

    @classmethod
    def choose(
        cls, directory: Path | None = None, unet: Path | None = None, adapter: AdapterChoice | None = None
    ) -> WeightPaths:
        """The files of a run: those that are named, else the published ones in ``WEIGHTS``, else, if none of
        these is there, the built-in ones; with the ``adapter``, if there is one.
        """
        published = cls.in_directory(directory or WEIGHTS, unet)
        if directory is None and unet is None and not any(path.exists() for path in published.networks().values()):
            return replace(cls.builtin(), adapter=adapter)
        return replace(published, adapter=adapter)

    @classmethod
    def builtin(cls) -> WeightPaths:
        """The small models that come with the repository (checkpoints/builtin/README.md)."""
        return cls(
            unet=BUILTIN_UNET,
            codec=BUILTIN / "codec",
            whisper=BUILTIN / "audio_encoder.pt",
            auxiliary=WEIGHTS / "auxiliary",
        )

    @property
    def are_builtin(self) -> bool:
        """Whether these are the models that come with the repository."""
        return self.unet in BUILTIN_UNETS

    @classmethod
    def in_directory(cls, directory: Path = WEIGHTS, unet: Path | None = None) -> WeightPaths:
        """The published file names under ``directory``; ``unet`` instead of that of the U-Net."""
        return cls(
            unet=unet or directory / "latentsync_unet.pt",
            codec=directory / "vae",
            whisper=directory / "whisper" / "tiny.pt",
            auxiliary=directory / "auxiliary",
        )

    def with_student(self) -> WeightPaths:
        """The same files with the student (docs/train_unet.md) that lies beside the U-Net, if there is one.

        Not with an adapter, which is for the U-Net that it was made for.
        """
        student = replace(self, unet=self.unet.with_name(STUDENT))
        return student if self.adapter is None and student.unet.exists() else self

    def with_small_codec(self) -> WeightPaths:
        """The same files with a small codec of the same latents, where it is there: TAESD, or for the built-in models
        their own (docs/train_builtin.md)."""
        small = replace(self, codec=self.codec.with_name("codec_small" if self.are_builtin else "taesd"))
        return small if small.codec_file.exists() else self

    @property
    def codec_file(self) -> Path:
        """The weight file in the codec's folder."""
        return self.codec / CODEC_WEIGHTS

    def networks(self) -> dict[str, Path]:
        """Name -> weight file of the networks that the run needs, with the adapter if there is one."""
        files = {"unet": self.unet, "codec": self.codec_file, "whisper": self.whisper}
        return files if self.adapter is None else files | {"adapter": self.adapter.path}

    def check(self) -> dict[str, Mapping[str, Any]]:
        """Name -> path, size, release and checksum of each file, without loading it; of an adapter also its strength,
        and what its card says of videos and consent.

        Raises ``WeightsMissingError`` with all files that are missing, and the ``WeightsError`` family for the first
        one that cannot be used.
        """
        missing = [str(path) for path in self.networks().values() if not path.exists()]
        if missing:
            raise WeightsMissingError(
                f"These weights are missing: {', '.join(missing)}.",
                remedy="Fetch them with `latentsync weights --for inference`, or bring in copies "
                "with its --import option.",
            )
        described: dict[str, Mapping[str, Any]] = {}
        for name, path in self.networks().items():
            inspect_file(path)
            card = read_card(path)
            if card is not None and card.kind != name:
                raise WeightsMismatchError(
                    f"{path} is of the kind '{card.kind}', where one of the kind '{name}' belongs.",
                    remedy="Name another file, or leave the option out.",
                )
            described[name] = {
                "path": str(path),
                "bytes": path.stat().st_size,
                "release": card.release if card else None,
                "sha256": card.sha256 if card else None,
            }
        if self.adapter is not None:
            card = require_base(self.adapter.path, self.unet)
            described["adapter"] = {
                **described["adapter"],
                "strength": self.adapter.strength,
                "videos": card.videos,
                "consent": card.consent,
            }
        return described


def with_checksums(described: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The result of ``WeightPaths.check`` with the SHA-256 of files whose cards do not state it: a second per GB."""
    return {
        name: {**facts, "sha256": facts["sha256"] or sha256_file(facts["path"])} for name, facts in described.items()
    }


def identities(described: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Name -> what tells the weights of one run from those of another: the SHA-256, and the strength of an adapter."""
    return {
        name: facts["sha256"] + (f" at {facts['strength']!r}" if "strength" in facts else "")
        for name, facts in with_checksums(described).items()
    }


def installed_weights(directory: Path | None = None) -> dict[str, WeightPaths]:
    """Name for people -> files: the U-Nets in ``directory`` (``WEIGHTS``) and the built-in models; then each of them
    with every adapter in ``directory``/adapters that was trained on it."""
    directory = directory or WEIGHTS
    found: dict[str, WeightPaths] = {}
    for path in sorted([*directory.glob("*.pt"), *directory.glob("*.safetensors")]):
        try:
            card = read_card(path)
        except WeightsError:  # whoever chooses this file is told then
            card = None
        if path.name == "latentsync_unet.pt" or (card is not None and card.kind == "unet"):
            release = f"release {card.release}" if card and card.release else path.stem
            found[f"{release} ({path.name})"] = WeightPaths.in_directory(directory, path)
    found[BUILTIN_NAME] = WeightPaths.builtin()
    return found | _with_adapters(found, directory / "adapters")


def _with_adapters(found: Mapping[str, WeightPaths], folder: Path) -> dict[str, WeightPaths]:
    adapted: dict[str, WeightPaths] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, weights in found.items():
            try:
                require_base(path, weights.unet)
            except WeightsError:  # of another U-Net, or none at all: nothing to choose
                continue
            adapted[f"{path.stem} on {name}"] = replace(weights, adapter=AdapterChoice(path))
    return adapted


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Settings that belong to the weights: face side R in pixels, frames per window F, the mask, and whether a shot has
    one reference (``windows``). ``notes`` are for the user.
    """

    resolution: int
    num_frames: int = WINDOW_FRAMES
    mask: str = "mask"
    notes: tuple[str, ...] = ()
    steady_reference: bool = False


def model_settings(unet: Path, config_path: Path | None) -> ModelSettings:
    """Settings from a U-Net YAML file and the card of the checkpoint; from the card alone without a file.

    Raises ``WeightsMismatchError`` if they disagree, and ``ConfigError`` if neither states the resolution.
    """
    card = read_card(unet)
    if config_path is not None:
        data = load_config(config_path, UNetRecipe).data
        note = require_resolution(card, data.resolution)
        mask = Path(data.mask_image_path).stem if data.mask_image_path else "mask"
        return ModelSettings(data.resolution, data.num_frames, mask, (note,) if note else ())
    if card is None or card.resolution is None:
        raise ConfigError(
            f"{unet} does not say which resolution it was trained at.",
            remedy="Add --unet_config_path configs/unet/stage2.yaml (256 pixels: releases 1.0 and 1.5) or "
            "configs/unet/stage2_512.yaml (512: release 1.6), or bring the file in with "
            "`latentsync weights --import`, which writes it down.",
        )
    settings = ModelSettings(card.resolution, card.num_frames or WINDOW_FRAMES, Path(card.mask or "mask").stem)
    return replace(settings, notes=BUILTIN_NOTES, steady_reference=True) if unet in BUILTIN_UNETS else settings
