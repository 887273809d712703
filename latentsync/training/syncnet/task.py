"""What a sync network's training computes, validates, shows and exports.

N pairs or windows
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from latentsync import checkpoint  # the codec's names are loaded where latents are: they bring seconds of imports
from latentsync.checkpoint import WeightsCard, save_weights
from latentsync.data.batches import ClipFault, SyncBatch
from latentsync.data.clip_dataset import SampleKey
from latentsync.data.clip_reader import MelReader
from latentsync.data.mixture import SampleSource
from latentsync.data.syncnet_dataset import SyncSample, collate_sync
from latentsync.metrics.stable_sync import StableSync
from latentsync.models.syncnet import cosine_similarity
from latentsync.recipe import SyncNetRecipe
from latentsync.training.latent_cache import LatentCache
from latentsync.training.loop.charts import Curve, Panel
from latentsync.training.loop.clips import RunClips
from latentsync.training.loop.task import Row
from latentsync.training.loop.validation import loader_of, rows_of_all
from latentsync.training.syncnet.alarm import CHANCE_LOSS, ChanceAlarm, measure_facts
from latentsync.training.syncnet.data import fixed_pairs, pair_set
from latentsync.training.syncnet.objective import (
    DECISION_COSINE,
    SyncScores,
    all_pairs_loss,
    compare_all,
    contrastive_loss,
    guessing_loss,
    sync_loss,
)

logger = logging.getLogger(__name__)


class SyncNetTask:
    """What the loop trains (``loop.task.Task``)."""

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
        data, seed = recipe.data, recipe.run.seed
        self.dataset = clips.samples("train", lambda some: pair_set(some, data, mels, seed, latents), seed)
        self._validation = clips.samples(
            "validation", lambda some: fixed_pairs(some, data, mels, seed + 1, latents), seed + 1
        )
        self._alarm = ChanceAlarm(
            recipe.run.alarm_steps,
            lambda: measure_facts(recipe, clips.train, mels, self._model.device),
            guessing_loss(recipe.run.positive_share),
        )

    @staticmethod
    def collate(samples: list[SyncSample]) -> SyncBatch:
        """See ``collate_sync``."""
        return collate_sync(samples)

    def loss(self, network: nn.Module, batch: SyncBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``Task.loss``; the figure is the accuracy on the batch, its positives weighing one half."""
        visual, audio = network(self._model.visual_input(batch.frames), batch.mel)
        rule = self._recipe.data.negatives
        if rule.windows_per_clip > 1:
            compared = compare_all(visual, audio, batch.origins, rule.min_distance)
            run = self._recipe.run
            loss, right = all_pairs_loss(compared, rule.other_clip_share, run.positive_share)
            even, _ = all_pairs_loss(compared, rule.other_clip_share)
            figures = {"accuracy": right, "loss": even.detach()}  # to be compared with that of the validation
            if run.contrastive_steps:
                weight = run.contrastive_weight * max(0.0, 1 - batch.step / run.contrastive_steps)
                contrast = contrastive_loss(compared, run.contrastive_temperature)
                loss, figures = loss + weight * contrast, figures | {"contrast": contrast.detach()}
            return loss, figures
        cosine = cosine_similarity(visual, audio)
        right = (cosine.detach() > DECISION_COSINE) == (batch.labels > 0.5)
        return sync_loss(cosine, batch.labels), {"accuracy": right.float().mean()}

    def validate(self, accelerator: Accelerator, step: int) -> dict[str, float]:
        """Loss and accuracy on the same pairs every time; every process scores its share of them."""
        data = self._recipe.data
        own = range(accelerator.process_index, data.num_val_samples, accelerator.num_processes)

        def score(batch_size: int) -> list[tuple[float, float]]:
            """Cosine and label of every pair."""
            scores, _ = score_pairs(self._model, self._validation, own, batch_size, data.num_workers)
            return list(zip(scores.cosine.tolist(), scores.label.tolist(), strict=True))

        cosine, label = torch.tensor(rows_of_all(accelerator, score, data.batch_size)).unbind(dim=1)
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
            logger.warning(message)


def score_pairs(
    model: StableSync, dataset: SampleSource, indices: Sequence[int], batch_size: int, num_workers: int = 0
) -> tuple[SyncScores, list[ClipFault]]:
    """Cosines of the samples ``indices`` of epoch 0, in that order, and the clips that had to be replaced."""
    keys = [SampleKey(0, index) for index in indices]
    loader = loader_of(dataset, keys, batch_size, collate_sync, model.device, num_workers)
    cosines, labels, faults = [torch.zeros(0)], [torch.zeros(0)], []
    for batch in loader:
        draws = torch.Generator(model.device).manual_seed(len(labels))  # equal whatever was drawn before
        batch = batch.to(model.device)
        cosines.append(model.score_pairs(batch.frames, batch.mel, draws).cpu())
        labels.append(batch.labels.cpu())
        faults += [fault for origin in batch.origins for fault in origin.faults]
    return SyncScores(torch.cat(cosines), torch.cat(labels)), faults
