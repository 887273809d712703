"""Reusing the U-Net's deep features over neighbouring denoising steps (DeepCache, Ma et al. 2023).

Deep features change slowly from step to step, so only every ``interval``-th step computes the whole network; the
steps between run the outermost layers on the features kept from it.
"""

from __future__ import annotations

from latentsync.types import FeatureCache


class StepCache:
    """Says for each step of one sampling run what the denoiser may reuse. ``interval`` 1 is off; published: 3."""

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._features = FeatureCache()
        self._guided = True  # whether the features kept are of both halves, the one with sound second

    def at(self, index: int, guided: bool = True) -> FeatureCache | None:
        """The cache to hand to the denoiser at step ``index`` (from 0), or None when caching is off.

        ``guided``: whether the step runs both halves. Where guidance ends, the half with sound goes on with its
        features; where it begins, the whole network runs.
        """
        if self._interval == 1:
            return None
        features = self._features
        features.reuse = index % self._interval != 0 and (self._guided or not guided)
        if features.reuse and self._guided and not guided:
            features.hidden = features.hidden.chunk(2)[1]
        self._guided = guided
        return features
