"""Audio features of training clips, computed once per clip and encoder."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from latentsync.data.array_cache import ArrayCache
from latentsync.data.manifest import Clip
from latentsync.errors import DataError, LatentSyncError
from latentsync.features import AudioEncoder
from latentsync.media.audio import read_audio
from latentsync.types import AudioFeatures


class AudioFeatureReader:
    """Features of a clip's whole sound, kept in ``cache`` as float16 (the precision that the published code trains on).

    ``cache`` belongs to one encoder: name its folder after the encoder's weights. Worker processes compute on the
    encoder's device, so fill the cache first (call this once per clip) where that is a GPU.
    """

    def __init__(self, encoder: AudioEncoder, cache: ArrayCache) -> None:
        self._encoder = encoder
        self._cache = cache

    def __call__(self, clip: Clip) -> AudioFeatures:
        """Raises ``DataError`` if the sound cannot be read or is too short for a single encoder position."""
        states = self._cache.get(clip.content, lambda: self._compute(clip))
        return AudioFeatures(states.astype(np.float32), Fraction(clip.sound_seconds).limit_denominator(16_000))

    def _compute(self, clip: Clip) -> np.ndarray:
        try:
            return self._encoder.encode(read_audio(clip.path)).states.astype(np.float16)
        except LatentSyncError as error:
            raise DataError(f"unreadable sound: {error.message}") from error
