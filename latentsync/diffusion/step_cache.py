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

    def at(self, index: int) -> FeatureCache | None:
        """The cache to hand to the denoiser at step ``index`` (from 0), or None when caching is off."""
        if self._interval == 1:
            return None
        self._features.reuse = index % self._interval != 0
        return self._features
