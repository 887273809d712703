"""Whisper files in openai-whisper's format."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from latentsync.atomic import atomic_file
from latentsync.checkpoint.files import corrupt, sha256_file
from latentsync.checkpoint.registry import WHISPER_SHA256
from latentsync.checkpoint.tensors import mismatch, read_table, tensors_under

logger = logging.getLogger(__name__)

ENCODER = "encoder."
ENCODER_DIMS = ("n_mels", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer")


def load_whisper_weights(path: str | Path) -> tuple[dict[str, int], dict[str, Tensor]]:
    """The dimensions of a Whisper network and the tensors of its encoder, without their ``encoder.`` prefix.

    A file that bears the name of one of OpenAI's but is another is said so in the log: an encoder that was trained
    further gives features that the U-Net has not learnt. Raises ``WeightsMissingError``, ``WeightsCorruptError`` and,
    for a file of another format, ``WeightsMismatchError``.
    """
    path = Path(path)
    table = read_table(path)
    dims = table.get("dims")
    if not isinstance(dims, Mapping) or "model_state_dict" not in table:
        raise mismatch(path, "is no Whisper file in OpenAI's format (`dims` and `model_state_dict`)")
    missing = [name for name in ENCODER_DIMS if not isinstance(dims.get(name), int)]
    if missing:
        raise corrupt(path, f"does not state its dimension {missing[0]}")
    tensors = tensors_under(path, table, "model_state_dict")
    encoder = {name.removeprefix(ENCODER): tensor for name, tensor in tensors.items() if name.startswith(ENCODER)}
    if not encoder:
        raise mismatch(path, "holds no Whisper encoder")
    known = WHISPER_SHA256.get(path.name)
    if known is not None and sha256_file(path) != known:
        logger.warning("%s is not OpenAI's file of that name: its SHA-256 is another.", path)
    return dict(dims), encoder


def save_whisper(path: str | Path, dims: Mapping[str, int], encoder: Mapping[str, Tensor]) -> None:
    """Write an encoder's tensors as ``load_whisper_weights`` reads them; the file appears whole or not at all."""
    state = {f"{ENCODER}{name}": tensor.detach().cpu().contiguous() for name, tensor in encoder.items()}
    with atomic_file(Path(path), durable=True) as temporary:
        torch.save({"dims": dict(dims), "model_state_dict": state}, temporary)
