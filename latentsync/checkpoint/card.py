"""The card of a weight file: which network, release and resolution it is for, and where it came from.

Our own files carry it in their safetensors metadata. A published file says nothing of itself, so the download command
writes its card beside it, as ``<file>.json``, together with a fingerprint that ties the card to that very file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from latentsync.atomic import write_text
from latentsync.checkpoint.files import FileKind, corrupt, fingerprint, inspect_file
from latentsync.errors import WeightsCorruptError, WeightsMismatchError

CARD_KEY = "latentsync.card"  # in the safetensors metadata, as JSON
CONFIG_KEY = "latentsync.config"  # the network's model: block, as JSON

Kind = Literal["unet", "syncnet", "codec", "whisper", "auxiliary", "adapter"]


@dataclass(frozen=True, slots=True)
class WeightsCard:
    """What is known of a weight file; None = not known."""

    kind: Kind
    release: str | None = None  # "1.0", "1.5" or "1.6" for the published ones
    resolution: int | None = None  # face side R in pixels that the weights were trained at
    num_frames: int | None = None  # frames per window
    mask: str | None = None  # name of the mask that training used
    audio_encoder: str | None = None  # "whisper-tiny": whose features the U-Net attends to
    latents: str | None = None  # whose latents a sync network sees or a decoder reads, see codec.latent_signature
    lower_half: bool | None = None  # whether a sync network sees the lower half of the face only
    fps: int | None = None  # frames per second that a sync network sees
    global_step: int | None = None
    distilled_steps: int | None = None  # of a student: evaluations that it is to be sampled with
    distilled_timesteps: tuple[int, ...] | None = None  # and the training steps that these are at
    guidance_inside: float | None = None  # of a student: the guidance scale that it has learnt, so it is given none
    prediction: str | None = None  # "v" (diffusion.noise.Prediction); None = epsilon
    trained_on: str | None = None  # people whose faces and voices it learnt from, with the attribution that is due
    sha256: str | None = None  # of the whole file; of a file that carries its own card it cannot be stated
    source: str | None = None  # address that the file was fetched from, with the resolved revision, or "hand-copied"
    base: str | None = None  # of an adapter: fingerprint of the U-Net that it changes
    base_name: str | None = None  # and that file's name
    videos: str | None = None  # of an adapter: whence the videos are that it learnt from
    consent: str | None = None  # of an adapter: who allowed to imitate the person in them, when and for what
    fingerprint: str | None = None  # of the file that a card lies beside, see files.fingerprint

    def to_json(self) -> str:
        """JSON text without the unknowns."""
        return json.dumps({key: value for key, value in asdict(self).items() if value is not None}, indent=1)

    @classmethod
    def from_json(cls, text: str, origin: str) -> WeightsCard:
        """Read ``to_json``'s text; ``origin`` names it in the ``WeightsCorruptError`` that anything else raises."""
        try:
            values = json.loads(text)
            unknown = set(values) - {each.name for each in fields(cls)}
            if unknown:
                raise ValueError(f"unknown entries {sorted(unknown)}")
            if "distilled_timesteps" in values:
                values["distilled_timesteps"] = tuple(values["distilled_timesteps"])
            return cls(**values)
        except (ValueError, TypeError) as error:
            raise WeightsCorruptError(
                f"{origin} is no card of a weight file: {error}.",
                remedy="Remove the card and bring the file in again with `latentsync weights --import`, "
                "which writes a new one.",
            ) from error


def sidecar_path(path: Path) -> Path:
    """Where the card of a published file lies."""
    return path.with_name(path.name + ".json")


def write_sidecar(path: Path, card: WeightsCard) -> None:
    """Lay ``card`` beside the published file ``path``."""
    write_text(sidecar_path(path), card.to_json() + "\n", durable=True)


def read_card(path: str | Path) -> WeightsCard | None:
    """The card inside or beside a weight file; None if it has none.

    Raises ``WeightsMissingError`` and ``WeightsCorruptError`` as ``inspect_file`` does, and ``WeightsMismatchError``
    if the card beside the file was written for another file.
    """
    path = Path(path)
    if inspect_file(path) is FileKind.SAFETENSORS:
        text = read_metadata(path).get(CARD_KEY)
        if text is not None:
            return WeightsCard.from_json(text, f"The card inside {path}")
    sidecar = sidecar_path(path)
    if not sidecar.is_file():
        return None
    card = WeightsCard.from_json(sidecar.read_text(encoding="utf-8", errors="replace"), str(sidecar))
    if card.fingerprint is not None and card.fingerprint != fingerprint(path):
        raise WeightsMismatchError(
            f"{path} is not the file that its card {sidecar.name} describes (release {card.release or 'unknown'}, "
            f"SHA-256 {card.sha256 or 'unknown'}): one of the two has been replaced.",
            remedy="Remove the card if the weight file is the right one, and bring that in again with "
            "`latentsync weights --import`; otherwise fetch it again.",
        )
    return card


def read_metadata(path: Path) -> dict[str, str]:
    """The free-form header entries of a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as archive:
        return archive.metadata() or {}


def read_config(path: Path) -> dict | None:
    """The ``model:`` block inside one of our own files; None if ``path`` carries none."""
    text = read_metadata(path).get(CONFIG_KEY) if inspect_file(path) is FileKind.SAFETENSORS else None
    if text is None:
        return None
    try:
        config = json.loads(text)
    except ValueError as error:
        raise corrupt(path, f"carries a configuration that is not JSON ({error})") from error
    if not isinstance(config, dict):
        raise corrupt(path, "carries a configuration that is not a mapping")
    return config


def require_resolution(card: WeightsCard | None, resolution: int) -> str | None:
    """Hold the face side of the configuration, in pixels, against what the weights were trained at.

    Returns None if they agree, and a sentence for the user if the weights do not say. Raises ``WeightsMismatchError``
    naming both if they differ: the tensors fit either way, but the network would draw blurred mouths out of sync.
    """
    if card is None or card.resolution is None:
        return (
            f"The weights do not say which resolution they were trained at; {resolution} is taken on trust. "
            "Published: 256 for releases 1.0 and 1.5, 512 for 1.6."
        )
    if card.resolution != resolution:
        release = f" (release {card.release})" if card.release else ""
        raise WeightsMismatchError(
            f"The weights{release} were trained at {card.resolution} x {card.resolution}, "
            f"the configuration asks for {resolution} x {resolution}.",
            remedy=f"Take a configuration with `resolution: {card.resolution}`, such as "
            f"configs/unet/stage2{'_512' if card.resolution == 512 else ''}.yaml, or weights for {resolution}.",
        )
    return None
