"""Accuracy of a trained sync network on the validation clips of its configuration, in a form that others can repeat."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from latentsync.checkpoint import sha256_file
from latentsync.constants import VERSION
from latentsync.data.manifest import Clip
from latentsync.errors import ConfigError
from latentsync.metrics.stable_sync import load_stable_sync
from latentsync.models.syncnet import SyncNetConfig
from latentsync.recipe import SyncNetRecipe
from latentsync.training.syncnet.data import find_validation_clips, fixed_pairs, mel_reader
from latentsync.training.syncnet.run import load_frozen_codec
from latentsync.training.syncnet.task import score_pairs


def evaluate_syncnet(recipe: SyncNetRecipe, folder: Path, seed: int, device: torch.device) -> dict[str, Any]:
    """Score ``data.num_val_samples`` pairs that ``seed`` chooses, half of them fitting, with the weights of
    ``ckpt.inference_ckpt_path``; ``folder`` keeps what was found out about the clips.

    Clips that cannot be used are replaced, and counted in the result. The interval treats the pairs as independent;
    several pairs of one clip are not quite. Raises ``ConfigError`` without weights, ``WeightsError``, ``DataError``.
    """
    weights = recipe.ckpt.inference_ckpt_path
    if weights is None:
        raise ConfigError(
            "The configuration names no trained network.", remedy="Set ckpt.inference_ckpt_path to its weight file."
        )
    clips = find_validation_clips(recipe.data, folder / "cache")
    pairs = fixed_pairs(clips.validation, recipe.data, mel_reader(recipe.data, folder), seed)
    config, codec = SyncNetConfig.from_dict(recipe.model), load_frozen_codec(recipe, device)
    model = load_stable_sync(weights, config, recipe.data.view, codec=codec, device=device)
    scores, replaced = score_pairs(
        model, pairs, range(recipe.data.num_val_samples), recipe.data.batch_size, recipe.data.num_workers
    )
    threshold, best = scores.best_threshold()
    return {
        "accuracy": scores.accuracy,
        "accuracy_95_percent_interval": scores.accuracy_interval(),
        "loss": scores.loss,
        "best_threshold": threshold,
        "accuracy_at_best_threshold": best,
        "mean_cosine_fit": float(scores.cosine[scores.label > 0.5].mean()),
        "mean_cosine_misfit": float(scores.cosine[scores.label < 0.5].mean()),
        "pairs": len(scores.label),
        "seed": seed,
        "clips": len(clips.validation),
        "clips_sha256": _digest(clips.validation),
        "unusable_files": [asdict(fault) for fault in clips.faults],
        "replaced_clips": [asdict(fault) for fault in {fault.path: fault for fault in replaced}.values()],
        "negatives": asdict(recipe.data.negatives),
        "shuffled_sound": recipe.data.shuffled_sound,
        "weights": weights,
        "weights_sha256": sha256_file(weights),
        "version": VERSION,
    }


def _digest(clips: Sequence[Clip]) -> str:
    """One value for the set of clips and their order."""
    return hashlib.sha256("".join(clip.content for clip in clips).encode()).hexdigest()
