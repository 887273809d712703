"""What the landmarks of a mouth say: how far it opens, whether it follows another, where it is, whether it rests.

N frames; landmarks (68, 2) in iBUG order, pixels. All of this sees the outline of the lips as a landmark network draws
it: nothing of teeth, tongue or blur. Landmark networks prefer likely mouths and disagree with one another, so both
sides of a comparison must come from the same one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latentsync.errors import DataError
from latentsync.face.similarity import anchor_points, estimate_similarity, transform

RESOLUTION = 256  # face side that distances are counted at
MOUTH = slice(48, 68)
_UPPER_INNER_LIP = [61, 62, 63]
_LOWER_INNER_LIP = [67, 66, 65]
_OUTER_EYE_CORNERS = (36, 45)
_SHORTEST_SPAN = 5  # frames, 0.2 s: shorter pauses lie inside words


def mouth_opening(landmarks: np.ndarray) -> np.ndarray:
    """(N,) float64: gap between the inner lips over the distance of the outer eye corners, of (N, 68, 2) landmarks.

    Does not depend on where the face is, how large or how it is turned in the frame; a turn of the head to the side
    makes it larger, because the eyes come closer. Raises ``DataError`` if the eye corners of a frame coincide.
    """
    landmarks = np.asarray(landmarks, np.float64)
    gaps = np.linalg.norm(landmarks[:, _UPPER_INNER_LIP] - landmarks[:, _LOWER_INNER_LIP], axis=2).mean(axis=1)
    left, right = _OUTER_EYE_CORNERS
    widths = np.linalg.norm(landmarks[:, left] - landmarks[:, right], axis=1)
    if not (widths > 0).all():
        raise DataError("The landmarks of a face have both eyes in one place.", remedy="Use another face detector.")
    return gaps / widths


def fill_gaps(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """(N,) with what was not measured (not a number) put in linearly from the neighbours; all missing stays so."""
    found = np.asarray(values, np.float64)
    known = np.flatnonzero(np.isfinite(found))
    if not len(known):
        return found
    return np.interp(np.arange(len(found)), known, found[known])


def opening_correlation(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Pearson correlation of two (N,) mouth openings, -1 to 1: does the mouth open and close when it should?

    Blind to how far it opens and to a constant offset; half a word of delay ruins it. Raises ``DataError`` if either
    mouth does not move at all, for then there is nothing to correlate, and ``ValueError`` for different lengths.
    """
    prediction, reference = np.asarray(prediction, np.float64), np.asarray(reference, np.float64)
    if prediction.shape != reference.shape or prediction.ndim != 1:
        raise ValueError(f"openings must both be (N,), not {prediction.shape} and {reference.shape}")
    if np.ptp(prediction) == 0 or np.ptp(reference) == 0:
        raise DataError(
            "A mouth that keeps still correlates with nothing.", remedy="Score clips in which somebody speaks."
        )
    return float(np.corrcoef(prediction, reference)[0, 1])


def opening_leak(prediction: np.ndarray, source: np.ndarray, reference: np.ndarray) -> float:
    """How much of the (N,) opening of a dubbed mouth comes from the ``source`` video's own instead of the audio.

    Semi-partial correlation: of the prediction with that part of the source's opening which the ``reference``, what the
    audio asks for, does not explain. So two sentences that resemble each other by chance are no leak, and the scale is
    that of a plain correlation. Over a few seconds chance alone gives 0.1 to 0.2 either way: average over clips, and
    compare with the true video. Raises as ``opening_correlation``, and ``DataError`` if the source says nothing else
    than the reference.
    """
    common = opening_correlation(source, reference)
    own = 1 - common**2
    if own < 1e-6:
        raise DataError("The source says what the sound says.", remedy="Dub with the audio of another clip.")
    shared = opening_correlation(prediction, reference) * common
    return float((opening_correlation(prediction, source) - shared) / np.sqrt(own))


def opening_lag(prediction: np.ndarray, reference: np.ndarray, reach: int = 10) -> int:
    """Frames that the (N,) opening ``prediction`` comes later than ``reference``: where they correlate best, of shifts
    up to ``reach`` either way. Raises as ``opening_correlation``, and ``ValueError`` if N is not above 2 x ``reach``.
    """
    count = len(prediction)
    if count <= 2 * reach or count != len(reference):
        raise ValueError(f"openings of {count} and {len(reference)} frames cannot be shifted by {reach}")
    middle = reference[reach : count - reach]  # of the same length at every shift
    shifts = range(-reach, reach + 1)
    return max(shifts, key=lambda lag: opening_correlation(prediction[reach + lag : count - reach + lag], middle))


def landmark_distance(prediction: np.ndarray, reference: np.ndarray) -> float:
    """LMD: mean distance of the 20 mouth landmarks of two (N, 68, 2) faces, in pixels of the aligned crop at 256.

    Each face is brought onto the template by its own brows and nose (``face.similarity``), so position, size and
    in-plane rotation of the head do not count, but a mouth that sits in the wrong place does. Chen et al. (2018), who
    introduced LMD, align by the mean of the mouth instead: their numbers are smaller. Raises ``ValueError`` for
    different shapes or landmarks that no alignment exists for.
    """
    if prediction.shape != reference.shape or prediction.shape[1:] != (68, 2) or not len(prediction):
        raise ValueError(f"landmarks must both be (N, 68, 2), not {prediction.shape} and {reference.shape}")
    pairs = zip(prediction, reference, strict=True)
    return float(np.mean([np.linalg.norm(_aligned_mouth(a) - _aligned_mouth(b), axis=1).mean() for a, b in pairs]))


def silence_movement(opening: np.ndarray, speaking: np.ndarray) -> float:
    """Variance of the (N,) mouth opening in silence over that in speech; 0 = rests in silence, 1 = never rests.

    ``speaking`` (N,) bool. Each span counts around its own mean, so different resting mouths are no movement; spans of
    less than 0.2 s are left out. Landmark noise alone gives more than 0: compare with the true recording. Raises
    ``DataError`` if the clip has no silence, no speech, or a mouth that does not move in speech.
    """
    opening, speaking = np.asarray(opening, np.float64), np.asarray(speaking, bool)
    if opening.shape != speaking.shape or opening.ndim != 1:
        raise ValueError(f"opening and speaking must both be (N,), not {opening.shape} and {speaking.shape}")
    silent, spoken = (_variance_within(opening, speaking == kind) for kind in (False, True))
    if silent is None or not spoken:
        missing = "silence" if silent is None else "speech with a moving mouth"
        raise DataError(
            f"The clip has no {missing} of {_SHORTEST_SPAN} frames.", remedy="Score clips with pauses in the speech."
        )
    return silent / spoken


def _aligned_mouth(landmarks: np.ndarray) -> np.ndarray:
    return transform(estimate_similarity(anchor_points(landmarks), RESOLUTION), landmarks[MOUTH].astype(np.float64))


def _variance_within(values: np.ndarray, chosen: np.ndarray) -> float | None:
    """Mean squared distance of the chosen values from the mean of their own span."""
    borders = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    spans = [values[a:b] for a, b in zip(borders[::2], borders[1::2], strict=True) if b - a >= _SHORTEST_SPAN]
    if not spans:
        return None
    return float(sum(((span - span.mean()) ** 2).sum() for span in spans) / sum(len(span) for span in spans))
