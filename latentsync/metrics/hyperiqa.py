"""hyperIQA (Su et al. 2020): quality of an image without a reference, 0 to 100, as people rated photographs (KonIQ).

A hyper network looks at what is in the image and makes the weights of a small target network, which rates it. It was
trained on whole photographs, not on faces: it sees blur, noise and compression, but neither identity nor wrong teeth.
The attribute names are those of the published file. N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from latentsync.errors import DataError
from latentsync.metrics.weights import load_published

SIDE = 224  # pixels, cut out of the centre
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of pixels in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)
TARGET_WIDTHS = (224, 112, 56, 28, 14, 1)  # of the target network, input to output
CONTENT_CHANNELS = 112  # of the features that make its weights
CONTENT_CELLS = 49  # 7 x 7 places of these features
LOCAL_CHANNELS = 16  # of the target's input from each of the first three stages


@dataclass(frozen=True, slots=True)
class TargetNetwork:
    """The network that rates one image, for each of N images.

    ``vector`` (N, 224) is its input; ``weights`` (N, out, in) and ``biases`` (N, out) of its five layers.
    """

    vector: Tensor
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def __call__(self) -> Tensor:
        """(N,) ratings. The first four layers end in a sigmoid."""
        x = self.vector
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.einsum("noi,ni->no", weight, x) + bias
            if layer < len(self.weights) - 1:
                x = x.sigmoid()
        return x[:, 0]


class LocalDistortionNet(ResNet):
    """ResNet-50 that also gathers, from each stage, what is wrong at which place."""

    def __init__(self) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3])
        del self.fc, self.avgpool
        self.lda1_pool = _pooled(256, 16)
        self.lda1_fc = nn.Linear(16 * 64, LOCAL_CHANNELS)
        self.lda2_pool = _pooled(512, 32)
        self.lda2_fc = nn.Linear(32 * 16, LOCAL_CHANNELS)
        self.lda3_pool = _pooled(1024, 64)
        self.lda3_fc = nn.Linear(64 * 4, LOCAL_CHANNELS)
        self.lda4_pool = nn.AvgPool2d(7)
        self.lda4_fc = nn.Linear(2048, TARGET_WIDTHS[0] - 3 * LOCAL_CHANNELS)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, 224, 224) -> deepest features (N, 2048, 7, 7) and the target network's input (N, 224)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        gathered = []
        for stage, pool, project in (
            (self.layer1, self.lda1_pool, self.lda1_fc),
            (self.layer2, self.lda2_pool, self.lda2_fc),
            (self.layer3, self.lda3_pool, self.lda3_fc),
            (self.layer4, self.lda4_pool, self.lda4_fc),
        ):
            x = stage(x)
            gathered.append(project(pool(x).flatten(1)))
        return x, torch.cat(gathered, dim=1)


class HyperIQA(nn.Module):
    """The hyper network; its target network has no weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.res = LocalDistortionNet()
        self.conv1 = nn.Sequential(
            nn.Conv2d(2048, 1024, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(1024, 512, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(512, CONTENT_CHANNELS, 1),
            nn.ReLU(inplace=True),
        )
        shapes = list(zip(TARGET_WIDTHS, TARGET_WIDTHS[1:], strict=False))
        for number, (inputs, outputs) in enumerate(shapes[:-1], start=1):
            channels = inputs * outputs // CONTENT_CELLS
            self.add_module(f"fc{number}w_conv", nn.Conv2d(CONTENT_CHANNELS, channels, 3, padding=1))
            self.add_module(f"fc{number}b_fc", nn.Linear(CONTENT_CHANNELS, outputs))
        self.fc5w_fc = nn.Linear(CONTENT_CHANNELS, shapes[-1][0])
        self.fc5b_fc = nn.Linear(CONTENT_CHANNELS, shapes[-1][1])

    def target(self, images: Tensor) -> TargetNetwork:
        """(N, 3, 224, 224) float32, ImageNet-normalised RGB -> the network that rates each."""
        deepest, vector = self.res(images)
        content = self.conv1(deepest)
        mean = content.mean(dim=(2, 3))
        makers = [getattr(self, f"fc{number}w_conv") for number in range(1, 5)]
        flat = [*(maker(content).flatten(1) for maker in makers), self.fc5w_fc(mean)]
        weights = tuple(
            values.view(-1, outputs, inputs)
            for values, inputs, outputs in zip(flat, TARGET_WIDTHS, TARGET_WIDTHS[1:], strict=False)
        )
        biases = tuple(getattr(self, f"fc{number}b_fc")(mean) for number in range(1, 6))
        return TargetNetwork(vector, weights, biases)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, 224, 224) float32, ImageNet-normalised RGB -> (N,) quality, about 0 to 100."""
        return self.target(images)()


def load_hyperiqa(path: str | Path, device: torch.device | str = "cpu") -> HyperIQA:
    """The network of the published file ``koniq_pretrained.pkl``; raises as ``load_published``."""
    return load_published(HyperIQA, path, "hyperIQA", device)


@torch.inference_mode()
def quality(network: HyperIQA, frames: Sequence[np.ndarray]) -> float:
    """The published rating of a clip: mean over its first, middle and last frame, 0 (bad) to 100.

    ``frames`` (H, W, 3) uint8 RGB; the 224 x 224 px in the centre are looked at, without any resizing, so clips compare
    only at one size. Raises ``DataError`` for a clip without frames or with smaller ones.
    """
    if not len(frames):
        raise DataError("A clip without frames has no quality.", remedy="Check that the video can be decoded.")
    chosen = [frames[0], frames[len(frames) // 2], frames[-1]]
    centres = np.stack([_centre(frame) for frame in chosen])
    images = torch.from_numpy(centres).to(next(network.parameters()).device).permute(0, 3, 1, 2).float() / 255
    mean, std = (images.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return float(network((images - mean) / std).mean())


def _centre(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    if min(height, width) < SIDE:
        raise DataError(
            f"hyperIQA rates {SIDE} x {SIDE} px from the centre of a frame; these have {width} x {height} px.",
            remedy="Rate larger frames: enlarging these would lower the rating.",
        )
    top, left = round((height - SIDE) / 2), round((width - SIDE) / 2)
    return frame[top : top + SIDE, left : left + SIDE]


def _pooled(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.AvgPool2d(7))
