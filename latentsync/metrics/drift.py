"""Whether a result keeps its place in time: where its audio and its frames lie in the recording they come from.

Both look for one clip inside the other, so they need neither a face nor a network, and they see what the length alone
does not: a result that starts late, or runs a little slow and ends late.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.signal import correlate

from latentsync.errors import DataError

AUDIO_REACH = 0.5  # s either way
FRAME_REACH = 12  # frames either way
_SHARE = 3  # a third of the clip at its start and a third at its end are compared
_SAME_AUDIO = 0.3  # normalised correlation below which it is other audio
_MOVEMENT = 0.5  # grey levels between thumbnails some frames apart, below which nothing moves
_SHORTEST = 3 * (2 * FRAME_REACH + 1)  # frames


class Lag(NamedTuple):
    """``start``: how much later the result comes than the reference; ``drift``: how much more at its end."""

    start: float
    drift: float


def audio_lag(prediction: np.ndarray, reference: np.ndarray, rate: int) -> Lag:
    """Seconds, from the audio (n,) and (m,) of two clips at ``rate`` samples per second.

    Raises ``DataError`` if either is silent or shorter than 2 s, or if it is not the same audio.
    """
    count = min(len(prediction), len(reference))
    if count < 2 * rate:
        raise DataError("The sound is shorter than 2 s.", remedy="Measure drift on longer clips.")
    reach, part = round(AUDIO_REACH * rate), count // _SHARE
    start, end = (_audio_shift(prediction[s], reference[s], reach) for s in (slice(part), slice(count - part, count)))
    return Lag(start / rate, (end - start) / rate)


def video_lag(prediction: np.ndarray, reference: np.ndarray) -> Lag:
    """Frames, from the thumbnails (N, D) of two clips at one rate, compared by their mean absolute difference.

    Raises ``DataError`` for less than 75 frames in common or for frames in which nothing moves.
    """
    count = min(len(prediction), len(reference))
    if count < _SHORTEST:
        raise DataError(f"The pictures last less than {_SHORTEST} frames.", remedy="Measure drift on longer clips.")
    prediction, reference = (np.asarray(x[:count], np.float32) for x in (prediction, reference))
    part = max(count // _SHARE, 2 * FRAME_REACH + 1)
    start, end = (_frame_shift(prediction[s], reference[s]) for s in (slice(part), slice(count - part, count)))
    return Lag(start, end - start)


def _audio_shift(prediction: np.ndarray, reference: np.ndarray, reach: int) -> int:
    """Samples."""
    power = np.linalg.norm(prediction.astype(np.float64)) * np.linalg.norm(reference.astype(np.float64))
    if power == 0:
        raise DataError("A third of the sound is silent.", remedy="Measure drift where somebody speaks.")
    products = correlate(prediction.astype(np.float64), reference.astype(np.float64), mode="full", method="fft")
    middle = len(reference) - 1
    near = products[middle - reach : middle + reach + 1] / power
    best = int(np.argmax(near))
    if near[best] < _SAME_AUDIO:
        raise DataError(
            "The sound is not the one it is compared with.", remedy="Compare with the audio that was given."
        )
    return best - reach


def _frame_shift(prediction: np.ndarray, reference: np.ndarray) -> int:
    """Frames; of equally good shifts the smallest."""
    count = len(reference)
    middle = reference[FRAME_REACH : count - FRAME_REACH]
    if np.abs(reference[2 * FRAME_REACH :] - reference[: -2 * FRAME_REACH]).mean() < _MOVEMENT:
        raise DataError("Nothing moves in the pictures.", remedy="Measure drift where the head moves.")
    shifts = sorted(range(-FRAME_REACH, FRAME_REACH + 1), key=abs)
    errors = [np.abs(prediction[FRAME_REACH + s : count - FRAME_REACH + s] - middle).mean() for s in shifts]
    return shifts[int(np.argmin(errors))]
