"""PSNR, SSIM and LPIPS of a whole image or of a part of it: inside and outside the generated area must be told apart.

Over the whole image they mostly count pixels that no generator touched. Inside the area PSNR and SSIM ask for the very
pixels of the reference, so they reward blur over a sharp mouth that is a pixel off; LPIPS sees blur. Outside it all
show what pasting and encoding cost. They need the true image and are meaningless between different words.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from lpips import LPIPS

from latentsync.levels import normalize
from latentsync.models.lpips import perceptual_distance

WHITE = 255.0
_SIGMA, _SIDE = 1.5, 11  # pixels: the window of Wang et al.
_C1, _C2 = (0.01 * WHITE) ** 2, (0.03 * WHITE) ** 2  # and their constants


def psnr(prediction: np.ndarray, reference: np.ndarray, region: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB, of all pixels and channels together; infinite for equal images.

    ``prediction``, ``reference`` (..., H, W, 3) uint8; ``region`` (H, W) weights in [0, 1] or bool, None = everywhere.
    A whole clip may be given at once: its errors are pooled before the logarithm. Raises ``ValueError`` for different
    shapes or an empty region.
    """
    return psnr_of(mean_squared_error(prediction, reference, region))


def mean_squared_error(prediction: np.ndarray, reference: np.ndarray, region: np.ndarray | None = None) -> float:
    """What ``psnr`` is the logarithm of, in grey levels squared; arguments and errors as there."""
    return average(squared_errors(prediction, reference), region)


def squared_errors(prediction: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(..., H, W) float64, mean of the channels, in grey levels squared; arguments and errors as ``psnr``."""
    _check(prediction, reference)
    squares = np.square(cv2.absdiff(prediction, reference), dtype=np.float32)  # whole numbers, exact up to their sum
    return (squares[..., 0] + squares[..., 1] + squares[..., 2]) / np.float64(3)


def psnr_of(error: float) -> float:
    """dB of a mean squared error; infinite for none."""
    return float("inf") if error == 0 else float(10 * np.log10(WHITE**2 / error))


def ssim(prediction: np.ndarray, reference: np.ndarray, region: np.ndarray | None = None) -> float:
    """Structural similarity (Wang et al. 2004; Gaussian window of sigma 1.5, 11 px wide), at most 1; mean of channels.

    Arguments and errors as for ``psnr``. A pixel of the region is compared with its surroundings of 5 px.
    """
    return average(similarities(prediction, reference), region)


def similarities(prediction: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(..., H, W) float64: what ``ssim`` is the mean of; arguments and errors as there."""
    _check(prediction, reference)
    shape = (-1, *prediction.shape[-3:])
    pairs = zip(prediction.reshape(shape), reference.reshape(shape), strict=True)
    # One channel at a time: what is held at once then fits into the processor's cache.
    channels = (zip(cv2.split(a), cv2.split(b), strict=True) for a, b in pairs)
    maps = [np.mean([_similarity(*channel) for channel in image], axis=0) for image in channels]
    return np.stack(maps).reshape(prediction.shape[:-1])


def _similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(H, W) float64 of one channel (H, W) uint8 of two images."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b, squares, product = (
        cv2.GaussianBlur(x, (_SIDE, _SIDE), _SIGMA, borderType=cv2.BORDER_REFLECT_101)
        for x in (a, b, a * a + b * b, a * b)
    )
    means, mean_squares = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    likeness = (2 * means + _C1) * (2 * (product - means) + _C2)
    return likeness / ((mean_squares + _C1) * (squares - mean_squares + _C2))


@torch.inference_mode()
def lpips_distance(
    network: LPIPS, prediction: np.ndarray, reference: np.ndarray, region: np.ndarray | None = None
) -> float:
    """LPIPS (Zhang et al. 2018), mean over (N, H, W, 3) uint8 RGB images; 0 for equal ones.

    ``network``: ``checkpoint.load_lpips`` (VGG-16). ``region`` (H, W) weights in [0, 1]: outside it both images are the
    reference, so that only differences inside count; the value is still that of the whole image, and so grows with the
    region. Raises ``ValueError`` for different shapes.
    """
    if prediction.shape != reference.shape or prediction.ndim != 4:
        raise ValueError(f"images must both be (N, H, W, 3), not {prediction.shape} and {reference.shape}")
    device = next(network.parameters()).device
    weights = None if region is None else torch.from_numpy(region.astype(np.float32)).to(device)
    distances = []
    for mine, true in zip(prediction, reference, strict=True):
        a, b = (normalize(torch.from_numpy(x).to(device).permute(2, 0, 1)) for x in (mine, true))
        a = a if weights is None else torch.lerp(b, a, weights)
        distances.append(float(perceptual_distance(network, a[None], b[None])))
    return float(np.mean(distances))


def _check(prediction: np.ndarray, reference: np.ndarray) -> None:
    if prediction.shape != reference.shape or prediction.shape[-1] != 3 or prediction.ndim < 3:
        raise ValueError(f"images must both be (..., H, W, 3), not {prediction.shape} and {reference.shape}")
    if prediction.dtype != np.uint8 or reference.dtype != np.uint8:
        raise ValueError(f"images must be uint8, not {prediction.dtype} and {reference.dtype}")


def average(values: np.ndarray, region: np.ndarray | None = None) -> float:
    """Mean of (..., H, W) values, weighted by (H, W); None = everywhere. Raises ``ValueError`` for an empty region."""
    if region is None:
        return float(values.mean())
    weights = np.broadcast_to(region.astype(np.float64), values.shape)
    if not weights.any():
        raise ValueError("the region is empty")
    return float((values * weights).sum() / weights.sum())
