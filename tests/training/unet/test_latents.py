"""Batches in latent space and the draws of a step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from latentsync.data.batches import UNetBatch
from latentsync.models.codec import LatentCodec
from latentsync.training.unet.latents import draw_posterior, draw_step, encode_batch
from tests.golden import rule_input
from tests.models.networks import small_kl


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch_of(clips: int, frames: int) -> UNetBatch:
    shape = (clips, frames, 3, 16, 16)
    target, reference = (rule_input(n, shape).tanh().mul(127).add(128).byte() for n in ("target", "reference"))
    keep_mask = torch.ones(1, 16, 16)
    keep_mask[:, 8:] = 0
    audio = torch.zeros(clips, frames, 5, 12)
    return UNetBatch(target, reference, keep_mask, audio, None, ())


def test_every_picture_has_its_own_latents_at_its_own_place():
    codec, batch, posterior = LatentCodec(small_kl()), batch_of(2, 3), draw_posterior(generator(), 2, 3, 2)
    latents = encode_batch(codec, batch, posterior)
    assert latents.target.shape == latents.conditioning.masked.shape == (2, 4, 3, 2, 2)
    target, reference = (faces.float() / 127.5 - 1 for faces in (batch.target, batch.reference))
    masked = target.clone()
    masked[..., 8:, :] = 0  # mid-grey
    assert torch.equal(latents.pixels, target)
    for drawn, pixels, eps in (
        (latents.target, target, posterior[0]),
        (latents.conditioning.masked, masked, posterior[1]),
        (latents.conditioning.reference, reference, posterior[2]),
    ):
        alone = codec.encode(pixels[1, 2:], eps[1, 2:])[0]
        assert torch.allclose(drawn[1, :, 2], alone, atol=1e-5)
    assert not latents.target.requires_grad
    assert latents.mouth_seen is latents.can_be_in_sync is None
    covered = replace(batch, mouth_seen=torch.tensor([1.0, 0.0]))
    assert encode_batch(codec, covered, posterior).can_be_in_sync.tolist() == [1, 0]


def test_the_keep_mask_is_that_of_every_frame():
    conditioning = encode_batch(
        LatentCodec(small_kl()), batch_of(2, 3), draw_posterior(generator(), 2, 3, 2)
    ).conditioning
    assert conditioning.keep_mask.shape == (2, 1, 3, 2, 2)
    assert (conditioning.keep_mask[..., 0, :] == 1).all()
    assert (conditioning.keep_mask[..., 1, :] == 0).all()


@pytest.mark.parametrize("alpha", [None, 0.5, 1.0])
def test_a_seed_gives_the_same_draws(alpha):
    first, again, other = (draw_step(generator(seed), 2, 4, 3, 1000, alpha) for seed in (0, 0, 1))
    assert first.noise.shape == (2, 4, 4, 3, 3)
    assert torch.equal(first.timesteps, again.timesteps)
    assert torch.equal(first.noise, again.noise)
    assert not torch.equal(first.noise, other.noise)


def test_without_mixed_noise_the_frames_of_a_clip_share_theirs_and_clips_do_not():
    noise = draw_step(generator(), 2, 4, 3, 1000, None).noise
    assert torch.equal(noise[:, :, 0], noise[:, :, 3])
    assert not torch.equal(noise[0], noise[1])


def test_time_steps_cover_the_whole_schedule_evenly():
    steps = draw_step(generator(), 4000, 1, 1, 10, 1.0).timesteps
    counts = torch.bincount(steps, minlength=10)
    assert len(counts) == 10
    assert (counts - 400).abs().max() < 100  # five standard deviations
