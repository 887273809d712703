"""How every run begins: its folder, its devices, its clips, and the loop's part of its configuration.

The same command finds its run again, and another one does not spoil it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator
from accelerate.state import AcceleratorState, is_initialized
from accelerate.utils import InitProcessGroupKwargs

from latentsync.config import dump_config, read_yaml, save_config
from latentsync.errors import ConfigError
from latentsync.runtime.compilation import require_compiler
from latentsync.runtime.device import choose_device
from latentsync.training.loop.clips import RunClips
from latentsync.training.loop.optimizers import LearningRate
from latentsync.training.loop.precision import precision_on, set_tf32
from latentsync.training.loop.task import LoopSettings

logger = logging.getLogger(__name__)

CONFIG_NAME = "config.yaml"
LONGEST_WAIT = timedelta(hours=6)  # of a process for the first one: it opens all clips, and dubs the validation video


class DataSection(Protocol):
    """What every training file says under ``data``."""

    train_output_dir: str
    batch_size: int


class CheckpointSection(Protocol):
    """What every training file says under ``ckpt``."""

    save_ckpt_steps: int
    keep_checkpoints: int


class RunSection(Protocol):
    """What every training file says under ``run``."""

    max_train_steps: int
    validation_steps: int
    log_steps: int
    seed: int
    tf32: bool


class OptimizerSection(Protocol):
    """What every training file says under ``optimizer``."""

    lr: float
    max_grad_norm: float
    weight_decay: float
    lr_scheduler: str
    lr_warmup_steps: int


class Recipe(Protocol):
    """A training file, whatever it trains."""

    @property
    def data(self) -> DataSection: ...

    @property
    def ckpt(self) -> CheckpointSection: ...

    @property
    def run(self) -> RunSection: ...

    @property
    def optimizer(self) -> OptimizerSection: ...


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has begun, or goes on."""

    folder: Path
    accelerator: Accelerator

    def claim(self, recipe: Recipe) -> None:
        """On the main process: make the folder and write the resolved configuration into it."""
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_config(recipe, self.folder / CONFIG_NAME)

    def open_clips(self, recipe: Recipe, find: Callable[[], RunClips]) -> RunClips:
        """The clips that ``find`` gives, on the main process first, so that the others find its cache. Then it claims
        the folder, and writes and logs what there is. Raises as ``find``."""
        with self.accelerator.main_process_first():
            clips = find()
        self.claim(recipe)
        if self.accelerator.is_main_process:
            clips.write_report(self.folder / "clips.json")
            logger.info("%s", clips.summary())
        return clips


def run_folder(recipe: Recipe, name: str) -> Path:
    """Where the run ``name`` of a configuration lives."""
    return Path(recipe.data.train_output_dir) / name


def open_run(
    recipe: Recipe, name: str, may_change: Collection[str], *, mixed_precision: str = "no", compiled: bool = False
) -> Run:
    """Begin the run ``<train_output_dir>/<name>``, or go on with it. Nothing is written yet, see ``Run.claim``.

    ``may_change`` names the keys, such as ``run.max_train_steps`` or ``ckpt`` for a whole section, that may differ
    between two starts of one run; ``mixed_precision`` is fp16, bf16 or no. Raises ``ConfigError`` if the folder holds
    a run of another configuration, or if ``compiled`` networks are asked for where there is no compiler, and
    ``DeviceError`` for a GPU that torch cannot use.
    """
    folder = run_folder(recipe, name)
    check_run_folder(folder, recipe, may_change)
    accelerator = make_accelerator(mixed_precision)
    set_tf32(accelerator.device, recipe.run.tf32)
    if compiled:
        require_compiler(accelerator.device.type, "run.compile")
    return Run(folder, accelerator)


def make_accelerator(mixed_precision: str = "no") -> Accelerator:
    """Devices and precision, see ``precision.precision_on``.

    Raises ``DeviceError`` on a machine whose GPU torch cannot use.
    """
    device = choose_device(required_gpu=True)
    precision = precision_on(device.type, mixed_precision)
    if is_initialized() and AcceleratorState().mixed_precision != precision:
        AcceleratorState._reset_state()  # a training before this one in the same process had another precision
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=precision,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_WAIT)],
    )


def loop_settings(
    recipe: Recipe,
    *,
    max_steps: int | None = None,
    lr_factor: int = 1,
    optimizer: str = "adamw",
    accumulation: int = 1,
    num_workers: int = 0,
) -> LoopSettings:
    """The loop's part of a configuration; the arguments are what not every configuration says. ``max_steps`` goes
    before ``run.max_train_steps``. Raises ``ConfigError`` for an unknown optimizer or schedule."""
    run, chosen = recipe.run, recipe.optimizer
    steps = run.max_train_steps if max_steps is None else max_steps
    return LoopSettings(
        max_steps=steps,
        batch_size=recipe.data.batch_size,
        learning_rate=LearningRate(chosen.lr * lr_factor, chosen.lr_scheduler, chosen.lr_warmup_steps, steps),
        optimizer=optimizer,
        accumulation=accumulation,
        max_grad_norm=chosen.max_grad_norm,
        weight_decay=chosen.weight_decay,
        num_workers=num_workers,
        seed=run.seed,
        log_steps=run.log_steps,
        validation_steps=run.validation_steps,
        save_steps=recipe.ckpt.save_ckpt_steps,
        keep_checkpoints=recipe.ckpt.keep_checkpoints,
    )


def check_run_folder(folder: Path, recipe: object, may_change: Collection[str]) -> None:
    """Raise ``ConfigError`` if ``folder`` holds a run of another configuration; ``may_change`` as in ``open_run``."""
    from omegaconf import OmegaConf

    stored = folder / CONFIG_NAME
    if not stored.is_file():
        return
    before, now = _flat(read_yaml(stored)), _flat(OmegaConf.to_container(OmegaConf.create(dump_config(recipe))))
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


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys of nested mappings; lists are values."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {
        key: value
        for name, branch in tree.items()
        for key, value in _flat(branch, f"{prefix}.{name}".strip(".")).items()
    }
