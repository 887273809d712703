"""Features of FID (Heusel et al. 2017): Inception v3 as TensorFlow published it in 2015.

The weights are those of pytorch-fid, which carries them over to torchvision's layer names. Against torchvision's own
network, average pooling ignores the padding, the last block pools by the maximum, and there are 1008 classes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torchvision.models.inception import Inception3, InceptionA, InceptionC, InceptionE

from latentsync.metrics.weights import load_published

SIDE = 299  # pixels that images are resized to
_CLASSES = 1008


class _BlockA(InceptionA):
    def _forward(self, x: Tensor) -> list[Tensor]:
        pooled = nnf.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, self.branch_pool(pooled)]


class _BlockC(InceptionC):
    def _forward(self, x: Tensor) -> list[Tensor]:
        pooled = nnf.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return [self.branch1x1(x), seven, double, self.branch_pool(pooled)]


class _BlockE(InceptionE):
    def _forward(self, x: Tensor) -> list[Tensor]:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return [
            self.branch1x1(x),
            torch.cat([self.branch3x3_2a(three), self.branch3x3_2b(three)], 1),
            torch.cat([self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)], 1),
            self.branch_pool(self._pool(x)),
        ]

    def _pool(self, x: Tensor) -> Tensor:
        return nnf.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class _LastBlock(_BlockE):
    def _pool(self, x: Tensor) -> Tensor:
        return nnf.max_pool2d(x, 3, stride=1, padding=1)


class FidInception(Inception3):
    """``forward``: (N, 3, H, W) RGB in [0, 1] -> (N, 2048), what precedes the classes."""

    def __init__(self) -> None:
        super().__init__(num_classes=_CLASSES, aux_logits=False, init_weights=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _BlockA(192, 32), _BlockA(256, 64), _BlockA(288, 64)
        self.Mixed_6b, self.Mixed_6c = _BlockC(768, 128), _BlockC(768, 160)
        self.Mixed_6d, self.Mixed_6e = _BlockC(768, 160), _BlockC(768, 192)
        self.Mixed_7b, self.Mixed_7c = _BlockE(1280), _LastBlock(2048)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        x = nnf.interpolate(images, size=(SIDE, SIDE), mode="bilinear", align_corners=False) * 2 - 1
        x = self.maxpool1(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = self.maxpool2(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean(dim=(2, 3))


def load_inception(path: str | Path, device: torch.device | str = "cpu") -> FidInception:
    """The network of ``pt_inception-2015-12-05-6726825d.pth``; raises as ``load_published``."""
    return load_published(FidInception, path, "the Inception v3 of FID", device)


@torch.inference_mode()
def inception_features(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """(N, 2048) float32 of (N, H, W, 3) uint8 RGB."""
    device = next(network.parameters()).device
    parts = (torch.from_numpy(part).to(device) for part in np.array_split(images, max(1, len(images) // 8)))
    return np.concatenate([network(part.permute(0, 3, 1, 2).float() / 255).cpu().numpy() for part in parts])
