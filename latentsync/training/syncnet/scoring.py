"""How well a sync network tells pairs that fit from pairs that do not.

N pairs
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from latentsync.data.clip_dataset import SampleKey
from latentsync.data.syncnet_dataset import SyncNetDataset, collate_sync
from latentsync.metrics.stable_sync import StableSync
from latentsync.training.syncnet.objective import DECISION_COSINE, sync_loss
from latentsync.types import ClipFault


@dataclass(frozen=True, slots=True)
class SyncScores:
    """Cosines and labels of pairs, and what follows from them. ``cosine`` and ``label`` (N,) float32 on the CPU."""

    cosine: Tensor
    label: Tensor

    @property
    def loss(self) -> float:
        """``sync_loss`` over all pairs."""
        return float(sync_loss(self.cosine, self.label))

    @property
    def accuracy(self) -> float:
        """Share of pairs on the right side of ``DECISION_COSINE``."""
        return float(((self.cosine > DECISION_COSINE) == (self.label > 0.5)).float().mean())

    def accuracy_interval(self) -> tuple[float, float]:
        """95 % confidence interval of ``accuracy`` for pairs drawn like these (Wilson 1927)."""
        n, p, z = len(self.label), self.accuracy, 1.959964  # z: 97.5 % quantile of the normal distribution
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return centre - half, centre + half

    def best_threshold(self) -> tuple[float, float]:
        """(threshold, accuracy) of the cut that separates these very pairs best: how far a bad ``accuracy`` is only a
        matter of calibration."""
        order = self.cosine.argsort(descending=True)
        labels = self.label[order] > 0.5
        # Calling the k highest pairs fitting gets right the fits among them and the misfits among the others.
        right = torch.cat([torch.zeros(1), labels.float().cumsum(0)]) + torch.cat(
            [(~labels).float().flip(0).cumsum(0).flip(0), torch.zeros(1)]
        )
        k = int(right.argmax())
        cosines = torch.cat([torch.ones(1), self.cosine[order], torch.zeros(1)])
        return float(cosines[k : k + 2].mean()), float(right[k]) / len(labels)


def score_pairs(
    model: StableSync, dataset: SyncNetDataset, indices: Sequence[int], batch_size: int, num_workers: int = 0
) -> tuple[SyncScores, list[ClipFault]]:
    """Cosines of the samples ``indices`` of epoch 0, in that order, and the clips that had to be replaced."""
    loader = DataLoader(
        dataset,
        sampler=[SampleKey(0, index) for index in indices],
        batch_size=batch_size,
        collate_fn=collate_sync,
        num_workers=num_workers,
        generator=torch.Generator(),
    )
    cosines, labels, faults = [torch.zeros(0)], [torch.zeros(0)], []
    for batch in loader:
        draws = torch.Generator(model.device).manual_seed(len(labels))  # equal whatever was drawn before
        batch = batch.to(model.device)
        cosines.append(model.score_pairs(batch.frames, batch.mel, draws).cpu())
        labels.append(batch.labels.cpu())
        faults += [fault for origin in batch.origins for fault in origin.faults]
    return SyncScores(torch.cat(cosines), torch.cat(labels)), faults
