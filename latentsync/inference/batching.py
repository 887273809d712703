"""Running the network over windows: batches that shrink when memory runs out, and a look at what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import torch

from latentsync.constants import LATENT_DOWNSCALE
from latentsync.errors import GenerationError, OutOfMemoryError
from latentsync.inference.windows import FrameGroup
from latentsync.types import Window, WindowGenerator


@dataclass(frozen=True, slots=True)
class GeneratedGroup:
    """A group with the generated faces of its windows. ``faces``: one (F, 3, R, R) float32 array per window."""

    group: FrameGroup
    faces: tuple[np.ndarray, ...]


def generate_groups(
    groups: Iterator[FrameGroup], generate: Callable[[list[Window]], list[np.ndarray]], batch: int
) -> Iterator[GeneratedGroup]:
    """Feed the windows of several groups to the network together; groups come out in order, with their faces.

    At most ``2 * batch`` groups wait, so stretches without faces do not pile up.
    """
    pending: list[FrameGroup] = []
    n_windows = 0
    for group in groups:
        pending.append(group)
        n_windows += len(group.windows)
        if n_windows >= batch or n_windows == 0 or len(pending) >= 2 * batch:
            yield from _run(pending, generate)
            pending, n_windows = [], 0
    yield from _run(pending, generate)


def _run(groups: list[FrameGroup], generate: Callable[[list[Window]], list[np.ndarray]]) -> Iterator[GeneratedGroup]:
    windows = [window for group in groups for window in group.windows]
    faces = iter(generate(windows) if windows else ())
    for group in groups:
        yield GeneratedGroup(group, tuple(next(faces) for _ in group.windows))


class AdaptiveBatch:
    """Calls the network with as many windows as fit: halves the number when memory runs out, and stays there.

    ``limit`` is the present number; ``reductions`` lists what it was halved from, for the report.
    """

    def __init__(self, generator: WindowGenerator, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a batch has at least one window, not {limit}")
        self.generator = generator
        self.limit = limit
        self.reductions: list[int] = []

    def __call__(self, windows: list[Window]) -> list[np.ndarray]:
        """One (F, 3, R, R) per window. Raises ``OutOfMemoryError`` when one window alone does not fit."""
        faces: list[np.ndarray] = []
        while len(faces) < len(windows):
            chunk = _same_length(windows[len(faces) : len(faces) + self.limit])
            try:
                faces.extend(self.generator(chunk))
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                if len(chunk) == 1:
                    raise OutOfMemoryError(
                        "There is not enough memory for a single window of frames.",
                        remedy="Close other programs, use a 256-pixel checkpoint, or run with --device cpu.",
                    ) from error
                self.reductions.append(self.limit)
                self.limit = len(chunk) // 2
            if self.reductions and torch.cuda.is_available():
                torch.cuda.empty_cache()
        return faces


def _same_length(windows: list[Window]) -> list[Window]:
    """The leading windows that have as many frames as the first (a last window may be shorter)."""
    length = len(windows[0].faces)
    return list(takewhile(lambda window: len(window.faces) == length, windows))


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text


class OutputGuard:
    """Refuses what is no face, before it reaches the picture.

    Looks at the generated area only, (F, 3, R, R) in [-1, 1]. The limits are wide: they catch a broken network (wrong
    precision, foreign weights), not an ugly mouth.
    """

    BLACK_LEVEL = -0.97  # mean of an all-black mouth; fp16 overflow decodes to this
    FLAT_DEVIATION = 0.01  # standard deviation over space, about one grey level
    MASK_LEVEL = 0.03  # mean distance to mid-grey, the value of the masked input
    # Correlation of the picture with itself a 32nd of its side to the right. Eight clips of real people gave 0.78 to
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
    """A generator whose faulty windows are done again in full precision, once; still faulty is an error.

    ``retry`` gives the same network in fp32, or None when it already runs in fp32; ``on_retry(n)`` hears that ``n``
    windows are done again.
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
                self.generator, self._retry = self._retry(), None  # the other windows would suffer the same
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
    """Rows and columns of the central half of the bounding box of a boolean picture."""
    spans = []
    for axis in (1, 0):
        indices = np.flatnonzero(area.any(axis=axis))
        if not len(indices):
            raise ValueError("the mask has no area to generate")
        start, stop = int(indices[0]), int(indices[-1]) + 1
        margin = (stop - start) // 4
        spans.append(slice(start + margin, stop - margin))
    return spans[0], spans[1]


def _shifted_correlation(pictures: np.ndarray, shift: int) -> float:
    """Of (F, 3, H, W) with itself ``shift`` pixels to the right, the mean of each picture taken out."""
    centred = pictures - pictures.mean(axis=(2, 3), keepdims=True)
    power = float((centred**2).mean())
    return float((centred[..., shift:] * centred[..., :-shift]).mean()) / power if power else 1.0
