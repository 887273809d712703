"""The Fréchet distance between two sets of features (Heusel et al. 2017), in float64: FID and FVD by their network.

It compares two clouds, not pairs: a system that gives every face the mouth of another scores well. It depends on the
number of samples (fewer make it larger), so it compares only at equal counts; state the count with the number.
"""

from __future__ import annotations

import numpy as np


def frechet_distance(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Squared Fréchet distance of the normal distributions fitted to two (n, D) sets of features; n >= 2 each.

    The trace of the root of the product of the covariances is the nuclear norm of the product of their factors: no
    matrix root is taken, so fewer samples than dimensions (singular covariances) cost no accuracy. Symmetric; zero for
    equal sets up to rounding, never negative. Raises ``ValueError`` for less than two samples, different widths or
    values that are not finite.
    """
    prediction, reference = np.asarray(prediction, np.float64), np.asarray(reference, np.float64)
    if prediction.ndim != 2 or reference.ndim != 2 or prediction.shape[1] != reference.shape[1]:
        raise ValueError(f"features must be (n, D) and (m, D), not {prediction.shape} and {reference.shape}")
    if min(len(prediction), len(reference)) < 2:
        raise ValueError("a covariance needs at least two samples")
    if not (np.isfinite(prediction).all() and np.isfinite(reference).all()):
        raise ValueError("features must be finite")
    means = prediction.mean(axis=0) - reference.mean(axis=0)
    a, b = _factor(prediction), _factor(reference)
    shared = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return max(0.0, float(means @ means + (a**2).sum() + (b**2).sum() - 2 * shared))


def _factor(features: np.ndarray) -> np.ndarray:
    """(min(n, D), D) matrix F with F^T F = the covariance of (n, D) features."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r")) if centred.shape[0] > centred.shape[1] else centred
