"""SyncNet v2 (Chung & Zisserman 2016, "Out of time"): lips and audio of 0.2 s as vectors that lie close if they agree.

N clips · T frames at 25 fps · W = T - 4 windows of 5 frames. The attribute names are those of the published file.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from latentsync.metrics.weights import load_published

WINDOW_FRAMES = 5  # frames that the lip network sees at once
WINDOW_MFCC = 20  # MFCC frames of the same 0.2 s
LIP_SIDE = 224  # pixels
EMBEDDING = 1024


class SyncNetV2(nn.Module):
    """Two towers without common weights. Strides in time are 1: a run of frames gives all its windows at once."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_convolved(nn.Conv2d(1, 64, 3, padding=1)),
            nn.Identity(),  # a pooling of 1 x 1 in the published network, which counts among the names
            *_convolved(nn.Conv2d(64, 192, 3, padding=1)),
            nn.MaxPool2d(3, stride=(1, 2)),
            *_convolved(nn.Conv2d(192, 384, 3, padding=1)),
            *_convolved(nn.Conv2d(384, 256, 3, padding=1)),
            *_convolved(nn.Conv2d(256, 256, 3, padding=1)),
            nn.MaxPool2d(3, stride=2),
            *_convolved(nn.Conv2d(256, 512, (5, 4))),
        )
        self.netfcaud = _projection()
        self.netfclip = _projection()
        self.netcnnlip = nn.Sequential(
            *_convolved(nn.Conv3d(3, 96, (WINDOW_FRAMES, 7, 7), stride=(1, 2, 2))),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2)),
            *_convolved(nn.Conv3d(96, 256, (1, 5, 5), stride=(1, 2, 2), padding=(0, 1, 1))),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
            *_convolved(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
            *_convolved(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
            *_convolved(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2)),
            *_convolved(nn.Conv3d(256, 512, (1, 6, 6))),
        )

    def lip_features(self, frames: Tensor) -> Tensor:
        """(N, 3, T, 224, 224) float32 **BGR** from 0 to 255 -> (N, W, 512), what precedes the embedding."""
        return self.netcnnlip(frames).flatten(2).transpose(1, 2)

    def embed_lips(self, frames: Tensor) -> Tensor:
        """(N, 3, T, 224, 224) float32 **BGR** from 0 to 255 -> (N, W, 1024); window ``w`` is frames w to w + 4."""
        features = self.lip_features(frames)
        return self.netfclip(features.flatten(0, 1)).unflatten(0, features.shape[:2])

    def embed_audio(self, windows: Tensor) -> Tensor:
        """(N, 13, 20) float32 MFCC of 16-bit audio -> (N, 1024)."""
        return self.netfcaud(self.netcnnaud(windows.unsqueeze(1)).flatten(1))


def load_syncnet_v2(path: str | Path, device: torch.device | str = "cpu") -> SyncNetV2:
    """The network of the published file ``syncnet_v2.model``; raises as ``load_published``."""
    return load_published(SyncNetV2, path, "SyncNet v2", device)


def _convolved(convolution: nn.Conv2d | nn.Conv3d) -> tuple[nn.Module, ...]:
    norm = nn.BatchNorm2d if isinstance(convolution, nn.Conv2d) else nn.BatchNorm3d
    return convolution, norm(convolution.out_channels), nn.ReLU(inplace=True)


def _projection() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Linear(512, EMBEDDING))
