"""The check of what the network gives: NaN, black, noise or a grey mask must not reach the video."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from latentsync.constants import LATENT_DOWNSCALE
from latentsync.errors import GenerationError
from latentsync.types import Window, WindowGenerator


class OutputGuard:
    """Recognises output that is no face.

    Looks only at the middle of the generated area of faces (F, 3, R, R) in [-1, 1]. The limits are wide: they catch a
    broken network (wrong precision, wrong weights), not an ugly mouth.
    """

    BLACK_LEVEL = -0.97  # mean of an all-black mouth; fp16 overflow decodes to this
    FLAT_DEVIATION = 0.01  # standard deviation over space, about one grey level
    MASK_LEVEL = 0.03  # mean distance to mid-grey, the value of the masked input
    # Correlation of the image with itself, shifted right by 1/32 of its side. Eight clips of real people gave 0.78 to
    # 0.91, decoded latent noise 0.14.
    NOISE_CORRELATION = 0.4
    NOISE_SHIFT = 32

    def __init__(self, keep_mask: np.ndarray) -> None:
        """``keep_mask`` (1, R, R), 1 = keep."""
        self._rows, self._columns = _inner_box(keep_mask[0] < 0.5)
        self._shift = max(LATENT_DOWNSCALE, keep_mask.shape[-1] // self.NOISE_SHIFT)

    def fault(self, faces: np.ndarray) -> str | None:
        """What is wrong with one window's faces, in words, or None."""
        mouth = faces[:, :, self._rows, self._columns]
        if not np.isfinite(mouth).all():
            return "values that are not finite numbers"
        if mouth.mean() < self.BLACK_LEVEL:
            return "a black mouth"
        if np.abs(mouth).mean() < self.MASK_LEVEL:
            return "its own grey mask"
        if mouth.std(axis=(2, 3)).mean() < self.FLAT_DEVIATION:
            return "a flat color"
        if _shifted_correlation(mouth, self._shift) < self.NOISE_CORRELATION:
            return "noise"
        return None


class GuardedGenerator:
    """A ``WindowGenerator`` that generates faulty windows again in full precision, once; a second fault is an error.

    ``retry`` gives the same network in fp32, or None when it already runs in fp32; ``on_retry(n)`` is called when ``n``
    windows are generated again.
    """

    def __init__(
        self,
        generator: WindowGenerator,
        guard: OutputGuard,
        retry: Callable[[], WindowGenerator] | None = None,
        on_retry: Callable[[int], None] | None = None,
    ) -> None:
        self.generator = generator
        self.resolution = generator.resolution
        self._guard = guard
        self._retry = retry
        self._on_retry = on_retry

    def __call__(self, windows: list[Window]) -> np.ndarray:
        """As ``WindowGenerator``; raises ``GenerationError``."""
        faces = self.generator(windows)
        for k, window in enumerate(windows):
            fault = self._guard.fault(faces[k])
            if fault is not None and self._retry is not None:
                self.generator, self._retry = self._retry(), None  # the other windows would have the same fault
                if self._on_retry is not None:
                    self._on_retry(len(windows))
                return self(windows)
            if fault is not None:
                raise GenerationError(
                    f"The network gave {fault} in window {window.number}.",
                    remedy="Check that the checkpoint belongs to this configuration "
                    "(python -m scripts.download_checkpoints --list --verify).",
                )
        return faces


def _inner_box(area: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the central half of the bounding box of a boolean image."""
    spans = []
    for axis in (1, 0):
        indices = np.flatnonzero(area.any(axis=axis))
        if not len(indices):
            raise ValueError("the mask has no area to generate")
        start, stop = int(indices[0]), int(indices[-1]) + 1
        margin = (stop - start) // 4
        spans.append(slice(start + margin, stop - margin))
    return spans[0], spans[1]


def _shifted_correlation(images: np.ndarray, shift: int) -> float:
    """Correlation of (F, 3, H, W) with itself ``shift`` pixels to the right, without the mean of each channel."""
    centred = images - images.mean(axis=(2, 3), keepdims=True)
    power = float((centred**2).mean())
    return float((centred[..., shift:] * centred[..., :-shift]).mean()) / power if power else 1.0
