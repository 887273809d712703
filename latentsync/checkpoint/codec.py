"""The autoencoder of the latents, from a diffusers folder or a single file; never from the hub."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models import AutoencoderKL, AutoencoderTiny
from safetensors.torch import save_file
from torch import Tensor

from latentsync.atomic import atomic_file, write_text
from latentsync.checkpoint.card import CARD_KEY, WeightsCard, read_card
from latentsync.checkpoint.files import FileKind, corrupt, inspect_file
from latentsync.checkpoint.registry import CODEC_WEIGHTS
from latentsync.checkpoint.tensors import fill, mismatch, read_table, refuse_extras, require_tensors, tensors_under
from latentsync.errors import WeightsMismatchError
from latentsync.models.codec import LatentCodec

WEIGHT_NAMES = (CODEC_WEIGHTS, "diffusion_pytorch_model.bin")  # diffusers' names, best first
LATENTS_OF = "latents_of"  # in config.json of a decoder: the folder of the codec whose latents it reads
LATENTS_AS = "latents_as"  # in config.json of a codec with an encoder of its own: signature of the one it learned from
CLASSES = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}

# The architecture of stabilityai/sd-vae-ft-mse, for a file that has lost its config.json.
SD_VAE_CONFIG: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "act_fn": "silu",
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 256,
}
# Names of the middle block's attention before diffusers 0.15, as the published file still has them.
OLD_ATTENTION_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_codec(
    path: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> LatentCodec:
    """The latent codec in ``path``: a diffusers folder with config.json, or the weight file of sd-vae-ft-mse alone.

    A folder whose config.json names another codec in ``latents_of`` is a decoder for it: its encoder is loaded as well.
    One whose config.json has another codec's signature in ``latents_as`` was trained to give and to read its latents.
    Raises ``WeightsMissingError``, ``WeightsCorruptError``, and ``WeightsMismatchError`` for another network.
    """
    path = Path(path)
    file = _weight_file(path)
    config = dict(_read_config(file.with_name("config.json")))
    encoder = _encoder(file, config.pop(LATENTS_OF, None), device, dtype)
    signature = config.pop(LATENTS_AS, None)
    tensors = _rename_attention(tensors_under(file, read_table(file), "state_dict"))
    class_name = config.get("_class_name")
    if class_name not in CLASSES:
        raise mismatch(file, f"belongs to a {class_name}, not to one of {', '.join(CLASSES)}")
    with torch.device("meta"):
        network = CLASSES[class_name].from_config(config)
    refuse_extras(file, require_tensors(file, tensors, network.state_dict(), f"the {class_name}"), f"the {class_name}")
    if encoder is not None:
        signature = latent_signature(encoder)
    elif signature is None and dtype is torch.bfloat16:  # which has lost bits that the signature is computed from
        signature = _signature(tensors)
    return LatentCodec(fill(network, tensors, device, dtype), signature=signature, encoder=encoder).eval()


def _encoder(file: Path, name: str | None, device: torch.device | str, dtype: torch.dtype) -> LatentCodec | None:
    """The codec whose latents the decoder in ``file`` reads; None if it has its own encoder. Raises as ``load_codec``,
    and ``WeightsMismatchError`` for a codec of other latents than the decoder was trained on."""
    if name is None:
        return None
    encoder = load_codec(file.parent / name, device=device, dtype=dtype)
    card = read_card(file)
    if card is not None and card.latents is not None and card.latents != latent_signature(encoder):
        raise WeightsMismatchError(
            f"The decoder {file} was trained on the latents of another codec than {file.parent / name}.",
            remedy=f"Lay that codec there, or name it in {LATENTS_OF} of {file.with_name('config.json')}.",
        )
    return encoder


def build_codec(path: str | Path) -> LatentCodec:
    """The codec that ``load_codec`` would give, with fresh weights; without config.json that of sd-vae-ft-mse."""
    file = _weight_file(Path(path)).with_name("config.json")
    config = dict(_read_config(file))
    other, signature = config.pop(LATENTS_OF, None), config.pop(LATENTS_AS, None)
    encoder = None if other is None else build_codec(file.parent / other)
    return LatentCodec(CLASSES[config["_class_name"]].from_config(config), signature=signature, encoder=encoder).eval()


def latent_signature(codec: LatentCodec) -> str:
    """What tells apart codecs that give other latents: the same for two that differ in decoder or precision only."""
    return codec.signature or _signature(codec.autoencoder.state_dict())


def _signature(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        if name.startswith(("encoder.", "quant_conv.")):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().half().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def require_latents(path: str | Path, codec: LatentCodec) -> None:
    """Hold ``codec`` against the latents that the sync network in ``path`` was trained on, if its card names them.

    Raises ``WeightsMismatchError``: tensors of equal shape fit, but its verdicts would mean nothing.
    """
    card = read_card(path)
    if card is not None and card.latents is not None and card.latents != latent_signature(codec):
        raise WeightsMismatchError(
            f"The sync network in {path} was trained on the latents of another codec.",
            remedy="Name the codec of its training (data.codec_path, networks.codec), or train it again on this one.",
        )


def save_codec(
    folder: str | Path,
    autoencoder: AutoencoderKL | AutoencoderTiny,
    card: WeightsCard | None = None,
    latents_of: str | Path | None = None,
    latents_as: str | None = None,
) -> None:
    """Write a diffusers folder that ``load_codec`` reads; each of its two files appears whole or not at all.
    ``latents_of``: folder of the codec whose encoder goes with it; ``latents_as``: signature of the one whose latents
    it was trained to give itself."""
    folder = Path(folder)
    config = {"_class_name": type(autoencoder).__name__, **autoencoder.config}
    config = {key: value for key, value in config.items() if key != "_name_or_path"}
    if latents_of is not None:
        config[LATENTS_OF] = os.path.relpath(Path(latents_of).absolute(), folder.absolute())
    if latents_as is not None:
        config[LATENTS_AS] = latents_as
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n", durable=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in autoencoder.state_dict().items()}
    with atomic_file(folder / WEIGHT_NAMES[0], durable=True) as temporary:
        metadata = {"format": "pt"} if card is None else {"format": "pt", CARD_KEY: card.to_json()}
        save_file(tensors, temporary, metadata=metadata)


def _weight_file(path: Path) -> Path:
    if not path.is_dir():
        return path  # a missing one is reported when it is read
    found = [path / name for name in WEIGHT_NAMES if (path / name).exists()]
    return found[0] if found else path / WEIGHT_NAMES[0]


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return SD_VAE_CONFIG
    inspect_file(path, accept=frozenset({FileKind.JSON}))
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise corrupt(path, f"is not valid JSON ({error})") from error


def _rename_attention(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under today's diffusers names. Old files store the projections with the same shapes."""
    renamed = {}
    for name, tensor in tensors.items():
        head, _, last = name.rpartition(".")
        block, _, layer = head.rpartition(".")
        if ".attentions." in block and layer in OLD_ATTENTION_NAMES:
            name = f"{block}.{OLD_ATTENTION_NAMES[layer]}.{last}"
        renamed[name] = tensor
    return renamed
