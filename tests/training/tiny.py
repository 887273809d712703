"""A sync network of a few thousand weights and a recipe around it, for tests that train."""

from __future__ import annotations

from pathlib import Path

from latentsync.config import build_config
from latentsync.recipe import SyncNetRecipe

MODEL = {
    "audio_encoder": {
        "in_channels": 1,
        "block_out_channels": [32, 32, 64],
        "downsample_factors": [[4, 4], [4, 4], [3, 2]],
        "dropout": 0.1,  # so that a resumed run must also get its random numbers back
    },
    "visual_encoder": {
        "in_channels": 48,
        "block_out_channels": [32, 32, 64],
        "downsample_factors": [[2, 4], [4, 8], 1],
        "dropout": 0.1,
    },
}


def tiny_settings(folder: Path, clips: Path, **sections: dict) -> dict:
    """The mapping of a recipe for the clips of ``tests.data.clips``; ``sections`` replace single keys."""
    settings = {
        "model": MODEL,
        "data": {
            "train_output_dir": str(folder),
            "train_data_dir": str(clips),
            "num_val_samples": 8,
            "validation_share": 0.25,
            "batch_size": 2,
            "num_workers": 0,
            "resolution": 32,
        },
        "ckpt": {"save_ckpt_steps": 5},
        "run": {"max_train_steps": 20, "validation_steps": 10, "log_steps": 1, "mixed_precision_training": False},
        "optimizer": {"lr": 1e-3},
    }
    for name, values in sections.items():
        settings[name] = settings[name] | values
    return settings


def tiny_recipe(folder: Path, clips: Path, **sections: dict) -> SyncNetRecipe:
    """``tiny_settings`` as a recipe."""
    return build_config(tiny_settings(folder, clips, **sections), SyncNetRecipe, source="tests")
