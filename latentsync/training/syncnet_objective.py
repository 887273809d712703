"""What a sync network is trained for: the cosine of its two embeddings is the probability that mouth and sound fit.

N pairs · E embedding width
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

DECISION_COSINE = 0.5  # above it a pair is called fitting (the published accuracy)


def cosine_similarity(visual_embedding: Tensor, audio_embedding: Tensor) -> Tensor:
    """Cosines (N,) in [0, 1], float32, of unit-length embeddings (N, E) without negative entries."""
    return (visual_embedding.float() * audio_embedding.float()).sum(dim=1).clamp(0.0, 1.0)


def sync_loss(cosine: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of cosines (N,) in [0, 1] against labels (N,), mean, float32 (arXiv 2412.09262, eq. 4)."""
    return F.binary_cross_entropy(cosine.float(), labels.float())


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
