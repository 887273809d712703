"""Box arithmetic of the face detector S3FD: the grid of prior boxes, decoding against it, and suppression.

Boxes are x0, y0, x1, y1 in pixels of the network's input unless said otherwise; P prior boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import nms

# One prior box for each cell of each of six maps: distance of the cells and side of the square, pixels.
STEPS = (4, 8, 16, 32, 64, 128)
SIDES = (16, 32, 64, 128, 256, 512)
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2  # units of the network's numbers for centre and size

CANDIDATE_SCORE = 0.05  # boxes below are no candidates
CANDIDATES = 5000  # strongest boxes that enter the first suppression
CANDIDATE_OVERLAP = 0.3  # intersection over union above which the weaker box goes
SURVIVORS = 750


def prior_boxes(map_sizes: Sequence[tuple[int, int]]) -> Tensor:
    """(P, 4) float32 centre x, centre y, width, height for maps of the given (rows, columns), row by row."""
    grids = []
    for (rows, columns), step, side in zip(map_sizes, STEPS, SIDES, strict=True):
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centres = (torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5) * step
        grids.append(torch.cat([centres, torch.full_like(centres, side)], dim=1))
    return torch.cat(grids)


def decode_boxes(offsets: Tensor, priors: Tensor) -> Tensor:
    """(..., P, 4) numbers of the network and (P, 4) priors -> (..., P, 4) boxes (Liu et al. 2016, SSD, equation 2)."""
    centres = priors[:, :2] + offsets[..., :2] * CENTRE_VARIANCE * priors[:, 2:]
    sizes = priors[:, 2:] * torch.exp(offsets[..., 2:] * SIZE_VARIANCE)
    return torch.cat([centres - sizes / 2, centres + sizes / 2], dim=-1)


def select_faces(boxes: Tensor, scores: Tensor, min_score: float, max_overlap: float) -> Tensor:
    """(n, 5) boxes and scores of one frame's faces, strongest first, out of (P, 4) boxes and (P,) scores.

    Two suppressions, as published: a loose one among all candidates, a strict one (``max_overlap``) among those that
    score more than ``min_score``. A box that the loose one removed stays removed even if its remover goes as well.
    """
    candidates = torch.nonzero(scores > CANDIDATE_SCORE).flatten()
    strongest = scores[candidates].argsort(descending=True, stable=True)[:CANDIDATES]
    boxes, scores = boxes[candidates[strongest]], scores[candidates[strongest]]
    kept = nms(boxes, scores, CANDIDATE_OVERLAP)[:SURVIVORS]
    kept = kept[scores[kept] > min_score]
    boxes, scores = boxes[kept], scores[kept]
    kept = nms(boxes, scores, max_overlap)
    return torch.cat([boxes[kept], scores[kept, None]], dim=1)
