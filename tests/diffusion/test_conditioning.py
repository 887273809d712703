"""Channel order of the U-Net's input and reduction of the mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentsync.diffusion.conditioning import Conditioning, build_unet_input, latent_mask
from tests.golden import golden_arrays


def test_channel_order():
    def block(channels: int, value: float) -> torch.Tensor:
        return torch.full((2, channels, 3, 8, 8), value)

    conditioning = Conditioning(keep_mask=block(1, 2.0), masked=block(4, 3.0), reference=block(4, 4.0))
    unet_input = build_unet_input(block(4, 1.0), conditioning)
    assert unet_input.shape == (2, 13, 3, 8, 8)
    assert unet_input[1, :, 2, 7, 7].tolist() == [1] * 4 + [2] + [3] * 4 + [4] * 4


@pytest.mark.parametrize("name", ["mask", "mask2", "mask3", "mask4"])
@pytest.mark.parametrize("resolution", [256, 512])
def test_latent_mask_equals_the_published_one(name, resolution):
    golden = golden_arrays("geometry/latent_masks")
    mask = torch.from_numpy(golden[f"mask_{name}_{resolution}"]).float() / 255
    cells = latent_mask(mask.expand(2, 1, -1, -1))
    assert cells.shape == (2, 1, resolution // 8, resolution // 8)
    assert np.array_equal(cells[1, 0].numpy(), golden[f"latent_{name}_{resolution}"])
