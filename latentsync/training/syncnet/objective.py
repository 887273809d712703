"""What a sync network is trained for: the cosine of its two embeddings is the probability that mouth and audio fit.

N pairs or windows · E embedding width
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentsync.data.batches import SampleOrigin
from latentsync.metrics.bootstrap import Interval, wilson_interval

DECISION_COSINE = 0.5  # above it a pair is called fitting (the published accuracy)


def sync_loss(cosine: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of cosines (N,) in [0, 1] against labels (N,), mean, float32 (arXiv 2412.09262, eq. 4)."""
    return F.binary_cross_entropy(cosine.float(), labels.float())


@dataclass(frozen=True, slots=True)
class Comparisons:
    """N windows, each compared with the audio of all N.

    ``cosine`` (N, N), frames by rows. The others are places in it, as it lies in memory, on its device, int64:
    ``fit``, the window's own audio; ``near``, that of another window of its clip, far enough away; ``foreign``, that of
    another clip. What is none of these is too near to be a negative.

    Places and not masks: how many a mask selects the host would have to ask the device.
    """

    cosine: Tensor
    fit: Tensor
    near: Tensor
    foreign: Tensor


def compare_all(
    visual_embedding: Tensor, audio_embedding: Tensor, origins: Sequence[SampleOrigin], min_distance: int
) -> Comparisons:
    """Embeddings (N, E) at unit length; ``origins`` say which windows belong to one clip. A window and the audio of
    another one of its clip are a negative if they start at least ``min_distance`` frames apart."""
    cosine = torch.einsum("ve,ae->va", visual_embedding.float(), audio_embedding.float()).clamp(0.0, 1.0)
    clip = np.array([origin.clip_id for origin in origins])
    start = np.array([origin.start_frame for origin in origins])
    same = clip[:, None] == clip[None, :]
    far = np.abs(start[:, None] - start[None, :]) >= min_distance
    masks = np.eye(len(origins), dtype=bool), same & far, ~same
    return Comparisons(cosine, *(_places(mask, cosine.device) for mask in masks))


def _places(mask: np.ndarray, device: torch.device) -> Tensor:
    """Where ``mask`` is true, in the order of memory, (K,) int64 on ``device``."""
    places = torch.from_numpy(np.flatnonzero(mask))
    if torch.cuda.is_available():  # from pinned memory, so that the host does not wait
        places = places.pin_memory()
    return places.to(device, non_blocking=True)


def all_pairs_loss(
    compared: Comparisons, other_clip_share: float, positive_share: float = 0.5
) -> tuple[Tensor, Tensor]:
    """``sync_loss`` over all comparisons, and the accuracy on them, in which positives weigh one half.

    ``positive_share`` of the loss is that of the positives; of the rest ``other_clip_share`` is that of negatives from
    other clips. With a half the expected loss is that of pairs drawn one by one, but about N^2 comparisons estimate it
    instead of N. Less than a half moves all cosines down, and with them the one that divides fits from misfits best.
    """
    cosine = compared.cosine.flatten()
    positives, own, others = cosine[compared.fit], cosine[compared.near], cosine[compared.foreign]
    share = other_clip_share if len(own) else 1.0
    share = share if len(others) else 0.0
    loss = positive_share * sync_loss(positives, torch.ones_like(positives))
    right = 0.5 * (positives.detach() > DECISION_COSINE).float().mean()
    for cosines, weight in ((own, 1 - share), (others, share)):
        if weight > 0:
            loss = loss + (1 - positive_share) * weight * sync_loss(cosines, torch.zeros_like(cosines))
            right = right + 0.5 * weight * (cosines.detach() <= DECISION_COSINE).float().mean()
    return loss, right


def guessing_loss(positive_share: float = 0.5) -> float:
    """``all_pairs_loss`` with even shares, of a network that answers everything with the one cosine that costs least
    when positives weigh ``positive_share``; ln 2 for one half."""
    return -0.5 * math.log(positive_share * (1 - positive_share))


def contrastive_loss(compared: Comparisons, temperature: float) -> Tensor:
    """Cross-entropy of the cosines over ``temperature``: which audio belongs to the frames, and which frames to the
    audio, mean of both (InfoNCE, van den Oord et al. 2018, arXiv 1807.03748; both ways as in CLIP, Radford et al. 2021,
    arXiv 2103.00020).

    It asks for an order and not for values, so it goes on teaching where ``sync_loss`` is content with likely and
    unlikely. The cosines that it leads to are no probabilities, so its weight has to sink during a training.
    """
    excluded = torch.ones_like(compared.cosine, dtype=torch.bool).flatten()
    excluded[torch.cat([compared.fit, compared.near, compared.foreign])] = False
    logits = (compared.cosine / temperature).masked_fill(excluded.view_as(compared.cosine), -math.inf)
    own = torch.arange(len(logits), device=logits.device)
    return 0.5 * (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own))


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

    def accuracy_interval(self) -> Interval:
        """95 % confidence interval of ``accuracy`` for pairs drawn like these (Wilson 1927)."""
        return wilson_interval(round(self.accuracy * len(self.label)), len(self.label))

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
