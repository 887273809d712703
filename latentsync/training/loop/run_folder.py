"""The folder of a run and its configuration: the same command finds the run again, another one does not spoil it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from latentsync.config import dump_config, read_yaml, save_config
from latentsync.errors import ConfigError

CONFIG_NAME = "config.yaml"


def check_run_folder(folder: Path, config: object, may_change: Collection[str]) -> None:
    """Raise ``ConfigError`` if ``folder`` holds a run of another configuration; ``may_change`` names harmless keys.

    A key is dotted (``run.max_train_steps``); a section's name stands for all of it.
    """
    from omegaconf import OmegaConf

    stored = folder / CONFIG_NAME
    if not stored.is_file():
        return
    before, now = _flat(read_yaml(stored)), _flat(OmegaConf.to_container(OmegaConf.create(dump_config(config))))
    changed = [
        f"{key}: {before.get(key)} there, {now.get(key)} now"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not any(key == k or key.startswith(k + ".") for k in may_change)
    ]
    if changed:
        raise ConfigError(
            f"{folder} holds a run of another configuration ({'; '.join(changed)}).",
            remedy="Give data.train_output_dir another name, or go back to that configuration to continue the run.",
        )


def claim_run_folder(folder: Path, config: object) -> None:
    """Make the folder and write the resolved configuration into it."""
    folder.mkdir(parents=True, exist_ok=True)
    save_config(config, folder / CONFIG_NAME)


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys of nested mappings; lists are values."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {
        key: value
        for name, branch in tree.items()
        for key, value in _flat(branch, f"{prefix}.{name}".strip(".")).items()
    }
