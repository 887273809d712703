"""Where the audio of a sample starts when it must not fit the frames: pure arithmetic on frame numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class NegativeRule:
    """How unlike a negative has to be. Distances are between the starts of frames and audio, in frames.

    ``min_distance`` 1 and ``other_clip_share`` 0 are the published rule, which labels near copies of a positive as
    negative. Easier negatives first: the distance sinks from ``far_distance`` to ``min_distance`` during the first
    ``curriculum_steps`` training steps.
    """

    min_distance: int = 5  # 0.2 s at 25 frames/s, beyond what lips and audio of one phone share
    far_distance: int = 5
    curriculum_steps: int = 0
    other_clip_share: float = 0.25  # of the negatives take their audio from another clip
    windows_per_clip: int = 1  # 1: its audio fits or not; more: all fit, and are each other's negatives

    def __post_init__(self) -> None:
        if not 1 <= self.min_distance <= self.far_distance:
            raise ValueError(f"1 <= min_distance <= far_distance is needed, got {self}")
        if not 0 <= self.other_clip_share <= 1 or self.curriculum_steps < 0 or self.windows_per_clip < 1:
            raise ValueError(f"a share from 0 to 1, steps from 0 and windows from 1 are needed, got {self}")

    def distance(self, step: int) -> int:
        """Least distance of a negative at training step ``step``."""
        if step >= self.curriculum_steps:
            return self.min_distance
        left = 1 - step / self.curriculum_steps
        return self.min_distance + round(left * (self.far_distance - self.min_distance))

    def final(self) -> NegativeRule:
        """Pairs drawn one by one, as at the end of the curriculum: the rule to validate with."""
        return NegativeRule(self.min_distance, self.min_distance, 0, self.other_clip_share)

    def min_starts(self) -> int:
        """Possible starts that a clip needs so that each of them has a negative, and all its windows have room."""
        return max(2, self.windows_per_clip) * self.min_distance


def shifted_start(rng: np.random.Generator, start: int, n_starts: int, distance: int) -> int:
    """A start in [0, n_starts), uniform among those at least ``distance`` frames from ``start``.

    Where the clip is too short for ``distance``, the largest distance that every start allows, ``n_starts // 2``, takes
    its place. Raises ``ValueError`` for fewer than two starts.
    """
    if n_starts < 2:
        raise ValueError("a clip with a single possible start has no negative")
    distance = min(distance, n_starts // 2)
    before = max(0, start - distance + 1)  # starts 0 .. start - distance
    after = max(0, n_starts - start - distance)  # starts start + distance .. n_starts - 1
    choice = int(rng.integers(before + after))
    return choice if choice < before else start + distance + choice - before


def spread_starts(rng: np.random.Generator, n_starts: int, count: int, distance: int) -> list[int]:
    """``count`` starts in [0, n_starts), in random order, each at least ``distance`` frames from the others.

    Uniform over all such sets. Where the clip is too short, the largest distance that it has room for takes its place.
    Raises ``ValueError`` for fewer starts than ``count``.
    """
    if n_starts < count:
        raise ValueError(f"a clip with {n_starts} possible starts has no {count} windows")
    gap = min(distance, (n_starts - 1) // (count - 1)) - 1 if count > 1 else 0  # forbidden starts between neighbours
    chosen = np.sort(rng.choice(n_starts - gap * (count - 1), count, replace=False))
    return [int(start) for start in rng.permutation(chosen + gap * np.arange(count))]
