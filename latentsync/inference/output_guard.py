"""The check of what the network gives: NaN, black, noise or a grey mask must not reach the video.

Where it does, the frames of the window stay those of the source."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from latentsync.constants import LATENT_DOWNSCALE
from latentsync.errors import GenerationError, OutOfMemoryError
from latentsync.inference.record import PrecisionChange
from latentsync.types import Window, WindowGenerator


class OutputGuard:
    """Recognises output that is no face.

    Looks only at the middle of the generated area of faces (F, 3, R, R) in [-1, 1], and compares it with the source
    there: a dark, faded or grainy source has a dark, faded or grainy copy. The limits are wide: they catch a broken
    network (wrong precision, wrong weights), not an ugly mouth.
    """

    BLACK_LEVEL = -0.97  # mean of an all-black mouth; fp16 overflow decodes to this
    BLACK_MARGIN = 0.02  # a mouth that is darker than the source by less than that is as dark as the source
    FLAT_DEVIATION = 0.01  # standard deviation over space, about one grey level
    MASK_LEVEL = 0.03  # mean distance to mid-grey, the value of the masked input
    SHARE_OF_SOURCE = 0.5  # of the source's deviation, and of its distance to mid-grey, that a copy keeps at least
    # Correlation of the image with itself, shifted right by 1/32 of its side. Eight clips of real people gave 0.78 to
    # 0.91, decoded latent noise 0.14. Codecs take grain away and add none, so a copy has more of it than the source.
    NOISE_CORRELATION = 0.4
    NOISE_SHARE = 0.75  # of the source's correlation that a copy keeps at least
    NOISE_SHIFT = 32

    def __init__(self, keep_mask: np.ndarray) -> None:
        """``keep_mask`` (1, R, R), 1 = keep."""
        self._rows, self._columns = _inner_box(keep_mask[0] < 0.5)
        self._shift = max(LATENT_DOWNSCALE, keep_mask.shape[-1] // self.NOISE_SHIFT)

    def fault(self, faces: np.ndarray, source: np.ndarray) -> str | None:
        """What is wrong with one window's faces, in words, or None. ``source``: the same faces before, whole."""
        mouth, original = (each[:, :, self._rows, self._columns] for each in (faces, source))
        if not np.isfinite(mouth).all():
            return "values that are not finite numbers"
        if mouth.mean() < min(self.BLACK_LEVEL, original.mean() - self.BLACK_MARGIN):
            return "a black mouth"
        if _greyness(mouth) < min(self.MASK_LEVEL, self.SHARE_OF_SOURCE * _greyness(original)):
            return "its own grey mask"
        if _deviation(mouth) < min(self.FLAT_DEVIATION, self.SHARE_OF_SOURCE * _deviation(original)):
            return "a flat color"
        as_smooth = self.NOISE_SHARE * _shifted_correlation(original, self._shift)
        if _shifted_correlation(mouth, self._shift) < min(self.NOISE_CORRELATION, as_smooth):
            return "noise" if _deviation(mouth) >= self.FLAT_DEVIATION else None
        return None


class GuardedGenerator:
    """A ``WindowGenerator`` that looks at what another gives, window by window.

    Faulty windows are generated again in other precisions. ``retries``: name of a precision -> what gives the same
    network in it, in the order in which they are tried; each takes the place of the one before for good, because the
    windows that follow would have the same fault. ``on_retry`` is told, also of one that there is no memory for.

    A window that stays faulty is refused: ``on_refused(number, fault)`` is called, and its faces are not to be shown.
    ``MOST_REFUSED`` of them in a row are no accident, and end the run.
    """

    MOST_REFUSED = 4

    def __init__(
        self,
        generator: WindowGenerator,
        guard: OutputGuard,
        on_refused: Callable[[int, str], None],
        retries: Mapping[str, Callable[[], WindowGenerator]] = MappingProxyType({}),
        on_retry: Callable[[PrecisionChange], None] = lambda change: None,
    ) -> None:
        self.generator = generator
        self.resolution = generator.resolution
        self._guard = guard
        self._on_refused = on_refused
        self._retries = dict(retries)
        self._precision = ""  # of the last retry
        self._on_retry = on_retry
        self._refused: set[int] = set()  # numbers of windows, which come in any order
        self._lock = threading.Lock()

    def __call__(self, windows: list[Window]) -> np.ndarray:
        """As ``WindowGenerator``; several threads may call it at once. Raises ``GenerationError``."""
        generator = self.generator
        faces = generator(windows)
        faults = [self._guard.fault(made, window.faces) for made, window in zip(faces, windows, strict=True)]
        if any(faults) and self._replaced(generator, windows, faults):
            return self(windows)
        for window, fault in zip(windows, faults, strict=True):
            if fault is not None:
                self._refuse(window.number, fault)
        return faces

    def _replaced(self, faulty: WindowGenerator, windows: list[Window], faults: list[str | None]) -> bool:
        """Whether another generator stands in the place of the ``faulty`` one, which made ``windows``."""
        number, fault = next((w.number, f) for w, f in zip(windows, faults, strict=True) if f is not None)
        with self._lock:
            while self.generator is faulty and self._retries:
                self._precision = next(iter(self._retries))
                make = self._retries.pop(self._precision)
                try:
                    self.generator = make()
                except OutOfMemoryError as error:
                    self._on_retry(PrecisionChange(number, fault, self._precision, 0, error.message))
            if self.generator is faulty:
                return False
            self._on_retry(PrecisionChange(number, fault, self._precision, len(windows)))
            return True

    def _refuse(self, number: int, fault: str) -> None:
        with self._lock:
            self._refused.add(number)
            first = last = number
            while first - 1 in self._refused:
                first -= 1
            while last + 1 in self._refused:
                last += 1
            if last - first + 1 >= self.MOST_REFUSED:
                raise unusable_output(f"{fault} in {self.MOST_REFUSED} windows in a row, the last of them {last}")
            self._on_refused(number, fault)


def unusable_output(what: str) -> GenerationError:
    """The error for a network that gave ``what`` instead of faces."""
    return GenerationError(
        f"The network gave {what}.",
        remedy="Check that the checkpoint belongs to this configuration "
        "(`latentsync weights --list --verify`), and look at the source there.",
    )


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


def _greyness(images: np.ndarray) -> float:
    """Mean distance to mid-grey."""
    return float(np.abs(images).mean())


def _deviation(images: np.ndarray) -> float:
    """Standard deviation over space of (F, 3, H, W), mean over frames and channels."""
    return float(images.std(axis=(2, 3)).mean())


def _shifted_correlation(images: np.ndarray, shift: int) -> float:
    """Correlation of (F, 3, H, W) with itself ``shift`` pixels to the right, without the mean of each channel."""
    centred = images - images.mean(axis=(2, 3), keepdims=True)
    power = float((centred**2).mean())
    return float((centred[..., shift:] * centred[..., :-shift]).mean()) / power if power else 1.0
