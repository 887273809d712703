"""Sync networks for tests: one whose answers are known, and small ones in files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from latentsync.checkpoint import WeightsCard, save_weights
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig
from tests.golden import fill_by_rule

_GRID = torch.linspace(-3, 3, 24)


def one_hot_envelope(envelope: torch.Tensor) -> torch.Tensor:
    """(N, 16) values -> unit vectors whose product tells how alike two envelopes are."""
    z = (envelope - envelope.mean(1, keepdim=True)) / (envelope.std(1, keepdim=True) + 1e-6)
    bumps = torch.exp(-4 * (z[..., None] - _GRID) ** 2).flatten(1)
    return nn.functional.normalize(bumps, dim=1)


class Knowing(nn.Module):
    """Reads the opening of ``tests.data.clips.talking_square`` off the frames and the loudness off the mel."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def visual_encoder(self, visual):
        dark = visual.unflatten(1, (16, 3)).mean(2)[:, :, :, 8:24] < -0.3
        return one_hot_envelope(dark.float().mean((2, 3)))

    def audio_encoder(self, mel):
        loudness = torch.exp(mel[:, 0].mean(1) / 2)
        frames = [loudness[:, int(3.2 * k) : int(3.2 * k) + 4].mean(1) for k in range(16)]
        return one_hot_envelope(torch.stack(frames, 1))

    def forward(self, visual, mel):
        return self.visual_encoder(visual), self.audio_encoder(mel)


WHOLE_FACE = SyncNetConfig.from_dict(  # of 32 pixels: both towers end at 64 channels of 2 x 1
    {
        "audio_encoder": {
            "in_channels": 1,
            "block_out_channels": [32, 32, 64],
            "downsample_factors": [[4, 4], [4, 4], [3, 4]],
        },
        "visual_encoder": {
            "in_channels": 48,
            "block_out_channels": [32, 32, 64],
            "downsample_factors": [[4, 4], [4, 8], 1],
        },
    }
)


def write_whole_face(path: Path, **card: object) -> StableSyncNet:
    """A network on whole faces of 32 pixels, in a file whose card says so unless ``card`` says something else."""
    network = fill_by_rule(StableSyncNet(WHOLE_FACE)).eval()
    stated = {"resolution": 32, "num_frames": 16, "lower_half": False, "fps": 25} | card
    save_weights(path, network.state_dict(), WHOLE_FACE, WeightsCard("syncnet", **stated))
    return network
