"""Training a sync network from its configuration file (arXiv 2412.09262, section 3.3)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, gather_object, set_seed
from torch import Tensor, nn

from latentsync import checkpoint  # the codec's names are loaded where latents are: they bring seconds of imports
from latentsync.checkpoint import WeightsCard, load_syncnet, save_weights
from latentsync.data.clip_reader import MelReader
from latentsync.data.syncnet_dataset import collate_sync
from latentsync.metrics.stable_sync import StableSync
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig, cosine_similarity
from latentsync.recipe import SyncNetRecipe
from latentsync.runtime.compilation import compile_in_place, require_compiler
from latentsync.training.latents.cache import LatentCache
from latentsync.training.latents.filling import fill_cache
from latentsync.training.loop.charts import Curve, Panel
from latentsync.training.loop.learning_rate import LearningRate
from latentsync.training.loop.metrics_log import Row
from latentsync.training.loop.run_clips import RunClips
from latentsync.training.loop.run_folder import check_run_folder, claim_run_folder
from latentsync.training.loop.task import LoopSettings
from latentsync.training.loop.trainer import Outcome, Trainer
from latentsync.training.syncnet.chance_alarm import CHANCE_LOSS, ChanceAlarm
from latentsync.training.syncnet.data import find_clips, fixed_pairs, mel_reader, pair_set
from latentsync.training.syncnet.facts import measure_facts, require_sync
from latentsync.training.syncnet.latents import latent_cache
from latentsync.training.syncnet.objective import (
    DECISION_COSINE,
    all_pairs_loss,
    compare_all,
    contrastive_loss,
    guessing_loss,
    sync_loss,
)
from latentsync.training.syncnet.scoring import SyncScores, score_pairs
from latentsync.types import SyncBatch

log = logging.getLogger(__name__)

LONGEST_WAIT = timedelta(hours=6)  # of a process for the first one, which opens every clip of a folder once

# What may differ between two starts of one run without changing what it computes.
MAY_CHANGE = (
    "run.max_train_steps", "run.validation_steps", "run.log_steps", "run.alarm_steps", "run.offset_syncnet_path",
    "run.compile", "data.num_val_samples", "data.num_workers", "data.audio_mel_cache_dir", "data.train_output_dir",
    "ckpt",
)  # fmt: skip


class SyncNetTask:
    """What the loop trains (``task.Task``)."""

    collate = staticmethod(collate_sync)

    def __init__(
        self,
        recipe: SyncNetRecipe,
        clips: RunClips,
        mels: MelReader,
        model: StableSync,
        latents: LatentCache | None = None,
    ) -> None:
        self._recipe = recipe
        self._model = model
        self.network = model.network
        self.dataset = pair_set(clips.train, recipe.data, mels, recipe.run.seed, latents)
        self._validation = fixed_pairs(clips.validation, recipe.data, mels, recipe.run.seed + 1, latents)
        self._alarm = ChanceAlarm(
            recipe.run.alarm_steps,
            lambda: measure_facts(recipe, clips.train, mels, self._model.device),
            guessing_loss(recipe.run.positive_share),
        )

    def loss(self, network: nn.Module, batch: SyncBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``Task.loss``; the figure is the accuracy on the batch, its positives weighing one half."""
        embeddings = network(self._model.visual_input(batch.frames), batch.mel)
        rule = self._recipe.data.negatives
        if rule.windows_per_clip > 1:
            compared = compare_all(*embeddings, batch.origins, rule.min_distance)
            run = self._recipe.run
            loss, right = all_pairs_loss(compared, rule.other_clip_share, run.positive_share)
            even, _ = all_pairs_loss(compared, rule.other_clip_share)
            figures = {"accuracy": right, "loss": even.detach()}  # to be compared with that of the validation
            if run.contrastive_steps:
                weight = run.contrastive_weight * max(0.0, 1 - batch.step / run.contrastive_steps)
                contrast = contrastive_loss(compared, run.contrastive_temperature)
                loss, figures = loss + weight * contrast, figures | {"contrast": contrast.detach()}
            return loss, figures
        cosine = cosine_similarity(*embeddings)
        right = (cosine.detach() > DECISION_COSINE) == (batch.labels > 0.5)
        return sync_loss(cosine, batch.labels), {"accuracy": right.float().mean()}

    def validate(self, accelerator: Accelerator, step: int) -> dict[str, float]:
        """Loss and accuracy on the same pairs every time; every process scores its share of them."""
        data = self._recipe.data
        own = range(accelerator.process_index, data.num_val_samples, accelerator.num_processes)
        scores, _ = score_pairs(self._model, self._validation, own, data.batch_size, data.num_workers)
        pairs = gather_object(list(zip(scores.cosine.tolist(), scores.label.tolist(), strict=True)))
        cosine, label = torch.tensor(pairs).unbind(dim=1)
        scores = SyncScores(cosine, label)
        threshold, best = scores.best_threshold()
        return {
            "score": scores.accuracy,
            "loss": scores.loss,
            "accuracy": scores.accuracy,
            "best_threshold": threshold,
            "accuracy_at_best_threshold": best,
            "mean_cosine_fit": float(cosine[label > 0.5].mean()),
            "mean_cosine_misfit": float(cosine[label < 0.5].mean()),
        }

    def panels(self, rows: Mapping[str, list[Row]]) -> list[Panel]:
        """Loss and accuracy of training and validation, each with its chance level."""
        marks = {"loss": ("chance (ln 2)", CHANCE_LOSS), "accuracy": ("chance", 0.5)}
        return [
            Panel(
                name,
                [
                    Curve(table, [r["step"] for r in rows[table]], [r[name] for r in rows[table]], table == "train")
                    for table in ("train", "validation")
                ],
                [mark],
            )
            for name, mark in marks.items()
        ]

    def export(self, path: Path, step: int) -> None:
        """Write the weights with their card."""
        view, codec = self._model.view, self._model.codec
        card = WeightsCard(
            "syncnet",
            resolution=view.resolution,
            num_frames=view.num_frames,
            latents=None if codec is None else checkpoint.latent_signature(codec),
            lower_half=view.lower_half,
            fps=int(view.fps),
            global_step=step,
        )
        save_weights(path, self.network.state_dict(), self.network.config, card)

    def watch(self, step: int, rows: Mapping[str, list[Row]]) -> None:
        """Raise the alarm if the loss stays at chance level."""
        message = self._alarm.check(step, rows["train"])
        if message:
            log.warning(message)


def run_folder(recipe: SyncNetRecipe, name: str) -> Path:
    """Where the run ``name`` of this configuration lives."""
    return Path(recipe.data.train_output_dir) / name


def train_syncnet(recipe: SyncNetRecipe, name: str) -> Outcome:
    """Train, or go on training, in ``<train_output_dir>/<name>``.

    Raises ``ConfigError`` for a configuration that contradicts itself or a folder of another run, ``DataError`` if
    there is nothing to train on, the ``WeightsError`` family, and ``TrainingError``.
    """
    folder = run_folder(recipe, name)
    settings = loop_settings(recipe)
    check_run_folder(folder, recipe, MAY_CHANGE)
    accelerator = make_accelerator(recipe)
    if recipe.run.compile:
        require_compiler(accelerator.device.type, "run.compile")
    set_seed(recipe.run.seed, device_specific=True)
    with accelerator.main_process_first():  # the others find its cache
        clips = find_clips(recipe.data, folder / "cache")
    mels = mel_reader(recipe.data, folder)
    if accelerator.is_main_process:
        claim_run_folder(folder, recipe)
        clips.write_report(folder / "clips.json")
        log.info("%s", clips.summary())
        require_sync(recipe, clips.train, mels, accelerator.device)
    model = build_model(recipe, accelerator.device, recipe.ckpt.resume_ckpt_path)
    if recipe.run.compile:
        compile_in_place(model.network)
    latents = latent_cache(recipe.data, folder / "cache", model.codec)
    if latents is not None:
        fill_cache(clips, lambda clip: latents.fill(clip, model.codec), "encoding the clips", accelerator)
        accelerator.wait_for_everyone()
    task = SyncNetTask(recipe, clips, mels, model, latents)
    return Trainer(task, settings, folder, accelerator).run()


def build_model(recipe: SyncNetRecipe, device: torch.device, weights: str | None) -> StableSync:
    """The network of a configuration, fresh or with the ``weights`` of a file, and the codec of a latent one."""
    config = SyncNetConfig.from_dict(recipe.model)
    network = StableSyncNet(config) if weights is None else load_syncnet(weights, config)
    codec = None
    if recipe.data.latent_space:
        half = torch.float16 if device.type == "cuda" else torch.float32
        codec = checkpoint.load_codec(recipe.data.codec_path, device=device, dtype=half).requires_grad_(False)
    # A CPU takes 15 % longer for a step with channels last.
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    network = network.to(device, memory_format=layout).train()
    return StableSync(network, recipe.data.view, codec)


def make_accelerator(recipe: SyncNetRecipe) -> Accelerator:
    """Devices and precision: half precision only on an accelerator, where it is quicker."""
    on_cpu = not torch.accelerator.is_available()
    half = recipe.run.mixed_precision if recipe.run.mixed_precision_training and not on_cpu else "no"
    patience = InitProcessGroupKwargs(timeout=LONGEST_WAIT)
    return Accelerator(cpu=on_cpu, mixed_precision=half, kwargs_handlers=[patience])


def loop_settings(recipe: SyncNetRecipe) -> LoopSettings:
    """The loop's part of the configuration."""
    data, run, optimizer = recipe.data, recipe.run, recipe.optimizer
    return LoopSettings(
        max_steps=run.max_train_steps,
        batch_size=data.batch_size,
        learning_rate=LearningRate(
            optimizer.lr, optimizer.lr_scheduler, optimizer.lr_warmup_steps, run.max_train_steps
        ),
        optimizer=optimizer.name,
        accumulation=data.gradient_accumulation_steps,
        max_grad_norm=optimizer.max_grad_norm,
        weight_decay=optimizer.weight_decay,
        num_workers=data.num_workers,
        seed=run.seed,
        log_steps=run.log_steps,
        validation_steps=run.validation_steps,
        save_steps=recipe.ckpt.save_ckpt_steps,
        keep_checkpoints=recipe.ckpt.keep_checkpoints,
    )
