"""Where the sound of a sample starts when it must not fit the picture: pure arithmetic on frame numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class NegativeRule:
    """How unlike a negative has to be. Distances are between the starts of picture and sound, in frames.

    ``min_distance`` 1 and ``other_clip_share`` 0 are the published rule, which labels near copies of a positive as
    negative. Easier negatives first: the distance sinks from ``far_distance`` to ``min_distance`` during the first
    ``curriculum_steps`` training steps.
    """

    min_distance: int = 5  # 0.2 s at 25 frames/s, beyond what lips and sound of one phone share
    far_distance: int = 5
    curriculum_steps: int = 0
    other_clip_share: float = 0.25  # of the negatives take their sound from another clip

    def __post_init__(self) -> None:
        if not 1 <= self.min_distance <= self.far_distance:
            raise ValueError(f"1 <= min_distance <= far_distance is needed, got {self}")
        if not 0 <= self.other_clip_share <= 1 or self.curriculum_steps < 0:
            raise ValueError(f"a share from 0 to 1 and steps from 0 are needed, got {self}")

    def distance(self, step: int) -> int:
        """Least distance of a negative at training step ``step``."""
        if step >= self.curriculum_steps:
            return self.min_distance
        left = 1 - step / self.curriculum_steps
        return self.min_distance + round(left * (self.far_distance - self.min_distance))

    def final(self) -> NegativeRule:
        """The rule at the end of the curriculum, for validation."""
        return NegativeRule(self.min_distance, self.min_distance, 0, self.other_clip_share)

    def min_starts(self) -> int:
        """Possible starts that a clip needs so that each of them has a negative."""
        return 2 * self.min_distance


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
