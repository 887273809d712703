"""The sync loss: its number from the published embeddings, and what is put before the network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from latentsync.losses.sync import LatentSyncLoss, PixelSyncLoss
from tests.golden import golden_arrays, rule_input
from tests.models.networks import small_syncnet

MEL = rule_input("mel", (2, 1, 80, 52))


class Recorded(nn.Module):
    """A sync network that answers with given embeddings and remembers what it saw."""

    def __init__(self, visual: Tensor, audio: Tensor) -> None:
        super().__init__()
        self.visual, self.audio = nn.Parameter(visual), nn.Parameter(audio)
        self.seen = None

    def forward(self, visual: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        self.seen = visual, mel
        return self.visual, self.audio


@pytest.mark.parametrize("side", [256, 512])
def test_the_published_embeddings_give_the_published_loss(side):
    golden = golden_arrays("syncnet/16_pixel_attn") | golden_arrays("training/sync_loss")
    network = Recorded(*(torch.from_numpy(golden[f"unet_sync_{kind}_{side}"]) for kind in ("vision", "audio")))
    pixels, mel = rule_input(f"unet_sync_pred_pixels_{side}", (1, 16, 3, side, side)), rule_input("m", (1, 1, 80, 52))
    loss = PixelSyncLoss(network)(pixels, mel)
    assert loss.tolist() == pytest.approx(golden[f"unet_sync_loss_{side}"].tolist(), rel=1e-5)
    assert network.seen[0].shape == (1, 48, 128, 256)


def test_every_clip_has_its_own_loss_and_a_perfect_fit_costs_nothing():
    embedding = torch.eye(2, 4)
    half = torch.tensor([0.5, 0.75**0.5, 0.0, 0.0])
    loss = LatentSyncLoss(Recorded(embedding, torch.stack([embedding[0], half])))(torch.zeros(2, 4, 3, 8, 8), MEL)
    assert loss.tolist() == pytest.approx([0.0, -torch.tensor(0.75**0.5).log().item()], abs=1e-6)


def test_a_network_that_sees_whole_small_faces():
    network = Recorded(torch.eye(1, 4), torch.eye(1, 4))
    pixels = rule_input("faces", (1, 2, 3, 32, 32))
    PixelSyncLoss(network, side=32, lower_half=False)(pixels, MEL[:1])
    assert torch.equal(network.seen[0], pixels.flatten(1, 2))


def test_latents_are_folded_frame_by_frame():
    network = Recorded(torch.eye(2, 4), torch.eye(2, 4))
    latents = rule_input("latents", (2, 4, 3, 8, 8))
    LatentSyncLoss(network)(latents, MEL)
    assert network.seen[0].shape == (2, 12, 8, 8)
    assert torch.equal(network.seen[0][1, 4:8], latents[1, :, 1])


def test_of_latents_the_lower_half_is_seen_and_taught_if_the_network_was_trained_on_that():
    network = Recorded(torch.eye(2, 4), torch.eye(2, 4))
    latents = rule_input("latents", (2, 8, 3, 8, 8))
    LatentSyncLoss(network, lower_half=True)(latents, MEL)
    assert network.seen[0].shape == (2, 24, 4, 8)
    assert torch.equal(network.seen[0][1, 8:16], latents[1, :, 1, 4:])
    latents = rule_input("latents", (2, 4, 3, 32, 16)).requires_grad_()
    LatentSyncLoss(small_syncnet(), lower_half=True)(latents, MEL).mean().backward()
    assert latents.grad[..., 16:, :].abs().sum() > 0
    assert not latents.grad[..., :16, :].any()


def test_the_gradient_reaches_the_latents_and_not_the_network():
    network = small_syncnet()
    latents = rule_input("latents", (2, 4, 3, 16, 16)).requires_grad_()
    LatentSyncLoss(network)(latents, MEL).mean().backward()
    assert latents.grad.abs().sum() > 0
    assert all(p.grad is None for p in network.parameters())
    assert not network.training


@torch.no_grad()
def test_a_network_in_half_precision_gives_about_the_same_loss_in_single():
    latents = rule_input("latents", (2, 4, 3, 16, 16))
    single = LatentSyncLoss(small_syncnet())(latents, MEL)
    half = LatentSyncLoss(small_syncnet().bfloat16())(latents, MEL)
    assert half.dtype is torch.float32
    assert torch.allclose(half, single, rtol=0.05)
