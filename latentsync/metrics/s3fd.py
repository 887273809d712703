"""The face detector S3FD (Zhang et al. 2017, "S3FD: Single Shot Scale-invariant Face Detector") of the sync score.

It finds the boxes that the published sync score is defined on; it gives no landmarks, so alignment uses
``latentsync.face``. The attribute names are those of the published file. Boxes are x0, y0, x1, y1 in pixels of the
network's input unless said otherwise; P prior boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torchvision.ops import nms

from latentsync.errors import DataError
from latentsync.metrics.weights import load_published

MEAN_RGB = (123.0, 117.0, 104.0)  # taken off the 8-bit pixels
SCALE = 0.25  # of the frame that the published score looks at
MIN_SCORE = 0.9
MAX_OVERLAP = 0.1
SHORTEST_SIDE = 32  # pixels of the network's input; the deepest pooling leaves nothing of less

_VGG = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool up", 512, 512, 512, "pool", 512, 512, 512, "pool")
_TAPS = (15, 22, 29)  # last layers of stages 3, 4 and 5, whose outputs are normalised and searched for faces
_MAP_CHANNELS = (256, 512, 512, 1024, 512, 256)
_BACKGROUNDS = (3, 1, 1, 1, 1, 1)  # scores for "no face" per map; the strongest of them counts

# One prior box for each cell of each of six maps: distance of the cells and side of the square, pixels.
STEPS = (4, 8, 16, 32, 64, 128)
SIDES = (16, 32, 64, 128, 256, 512)
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2  # units of the network's numbers for centre and size

CANDIDATE_SCORE = 0.05  # boxes below are no candidates
CANDIDATES = 5000  # strongest boxes that enter the first suppression
CANDIDATE_OVERLAP = 0.3  # intersection over union above which the weaker box goes
SURVIVORS = 750


class ChannelNorm(nn.Module):
    """Scales the vector of channels at each place to length 1, then every channel by its weight."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        return x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) * self.weight[:, None, None]


class S3FD(nn.Module):
    """Face boxes and scores at six scales on a VGG-16 trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.vgg = nn.ModuleList(_trunk())
        self.L2Norm3_3 = ChannelNorm(256, 10.0)
        self.L2Norm4_3 = ChannelNorm(512, 8.0)
        self.L2Norm5_3 = ChannelNorm(512, 5.0)
        self.extras = nn.ModuleList(
            [
                nn.Conv2d(1024, 256, 1),
                nn.Conv2d(256, 512, 3, stride=2, padding=1),
                nn.Conv2d(512, 128, 1),
                nn.Conv2d(128, 256, 3, stride=2, padding=1),
            ]
        )
        self.loc = nn.ModuleList(nn.Conv2d(channels, 4, 3, padding=1) for channels in _MAP_CHANNELS)
        self.conf = nn.ModuleList(
            nn.Conv2d(channels, backgrounds + 1, 3, padding=1)
            for channels, backgrounds in zip(_MAP_CHANNELS, _BACKGROUNDS, strict=True)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, h, w) RGB less ``MEAN_RGB`` -> boxes (N, P, 4) in pixels of the image, scores (N, P) in [0, 1]."""
        maps = self._maps(images)
        offsets, scores = [], []
        for x, locate, classify in zip(maps, self.loc, self.conf, strict=True):
            offsets.append(locate(x).flatten(2).transpose(1, 2))
            classes = classify(x).flatten(2)
            classes = torch.stack([classes[:, :-1].amax(dim=1), classes[:, -1]], dim=1)
            scores.append(classes.softmax(dim=1)[:, 1])
        priors = prior_boxes([(x.shape[2], x.shape[3]) for x in maps]).to(images.device)
        return decode_boxes(torch.cat(offsets, dim=1), priors), torch.cat(scores, dim=1)

    def _maps(self, x: Tensor) -> list[Tensor]:
        maps = []
        norms = dict(zip(_TAPS, (self.L2Norm3_3, self.L2Norm4_3, self.L2Norm5_3), strict=True))
        for index, layer in enumerate(self.vgg):
            x = layer(x)
            if index in norms:
                maps.append(norms[index](x))
        maps.append(x)
        for narrow, shrink in zip(self.extras[::2], self.extras[1::2], strict=True):
            x = nnf.relu(shrink(nnf.relu(narrow(x))))
            maps.append(x)
        return maps


def load_s3fd(path: str | Path, device: torch.device | str = "cpu") -> S3FD:
    """The network of the published file ``sfd_face.pth``; raises as ``load_published``."""
    return load_published(S3FD, path, "the face detector S3FD", device)


@torch.inference_mode()
def detect_faces(network: S3FD, frames: Sequence[np.ndarray], scale: float = SCALE) -> list[np.ndarray]:
    """The faces of each frame: (n, 5) float32 x0, y0, x1, y1 in frame pixels and score, strongest first.

    ``frames`` (H, W, 3) uint8 RGB of one size pass the network together, shrunk to ``scale``. Raises ``DataError`` if
    they are too small for that.
    """
    if not frames:
        return []
    shrunk = [cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR) for frame in frames]
    height, width = frames[0].shape[:2]
    if min(shrunk[0].shape[:2]) < SHORTEST_SIDE:
        raise DataError(
            f"Frames of {width} x {height} px are too small to look for faces at {scale:g} of their size.",
            remedy=f"The shorter side must have {int(np.ceil(SHORTEST_SIDE / scale))} px.",
        )
    images = torch.from_numpy(np.stack(shrunk)).to(next(network.parameters()).device).permute(0, 3, 1, 2).float()
    boxes, scores = network(images - images.new_tensor(MEAN_RGB)[:, None, None])
    to_frame = boxes.new_tensor([width / images.shape[3], height / images.shape[2]]).repeat(2)
    found = zip(boxes * to_frame, scores, strict=True)
    return [select_faces(*each, min_score=MIN_SCORE, max_overlap=MAX_OVERLAP).cpu().numpy() for each in found]


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


def _trunk() -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels = 3
    for step in _VGG:
        if isinstance(step, int):
            layers += [nn.Conv2d(channels, step, 3, padding=1), nn.ReLU(inplace=True)]
            channels = step
        else:
            layers.append(nn.MaxPool2d(2, ceil_mode=step == "pool up"))
    return [
        *layers,
        nn.Conv2d(512, 1024, 3, padding=6, dilation=6),
        nn.ReLU(inplace=True),
        nn.Conv2d(1024, 1024, 1),
        nn.ReLU(inplace=True),
    ]
