"""The U-Net's objective: a whole recorded training step of the published code, and what was added to it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor

from latentsync.data.batches import SampleOrigin, UNetBatch
from latentsync.diffusion.conditioning import Conditioning
from latentsync.diffusion.noise import level_weights, mix_noise
from latentsync.diffusion.schedule import make_scheduler
from latentsync.errors import ConfigError
from latentsync.face.mask import load_mask
from latentsync.losses.reconstruction import PerceptualLoss
from latentsync.losses.sync import LatentSyncLoss, PixelSyncLoss
from latentsync.losses.trepa import TrepaLoss
from latentsync.models.codec import LatentCodec
from latentsync.models.unet import UNet3D, UNetConfig
from latentsync.models.videomae import VideoMAE
from latentsync.training.unet.latents import LatentBatch, StepDraws, encode_faces
from latentsync.training.unet.objective import LossWeights, UNetObjective, drop_audio, trainable_parameters
from latentsync.types import Losses
from tests.golden import fill_by_rule, golden_arrays, golden_json, relative_error, rule_input
from tests.models.networks import REDUCED_VIDEOMAE, rule_syncnet, small_kl, small_syncnet
from tests.models.published import on_meta, rule_lpips

TOY = UNetConfig(block_out_channels=(16, 32), layers_per_block=1, cross_attention_dim=12, norm_num_groups=8)
MEL_SHAPE = (2, 1, 80, 52)
STAGE_2 = ["motion_modules.", "attentions."]
FRAMES = (1, 16)  # B, F of the recorded step


class RecordingCodec(LatentCodec):
    """Remembers what it decoded, and into what."""

    def decode(self, latents: Tensor) -> Tensor:
        self.latents, self.pixels = latents, super().decode(latents)
        return self.pixels


class RecordingUNet:
    """Remembers what it was given, and what it answered."""

    def __init__(self, unet: UNet3D) -> None:
        self.unet = unet

    def __call__(self, sample: Tensor, timestep: Tensor, audio: Tensor) -> Tensor:
        self.sample, self.noise = sample, self.unet(sample, timestep, audio)
        return self.noise


@dataclass
class RecordedStep:
    """The published training step as this project computes it, after its backward pass."""

    codec: RecordingCodec
    unet: RecordingUNet
    batch: LatentBatch
    draws: StepDraws
    networks: dict
    losses: Losses
    expected: dict


KEEP_MASK = torch.from_numpy(load_mask("mask.png", 64))


def recorded_faces() -> tuple[Tensor, Tensor, Tensor]:
    """Target, masked, reference: (1, 16, 3, 64, 64), finer than bytes."""
    target, reference = (
        torch.tanh(rule_input(f"train_{name}_pixels", (16, 3, 64, 64)))[None] for name in ("gt", "ref")
    )
    return target, target * KEEP_MASK, reference


def recorded_batch() -> UNetBatch:
    """All but the faces."""
    nobody = torch.zeros(1, 16, 3, 64, 64, dtype=torch.uint8)
    return UNetBatch(
        target=nobody,
        reference=nobody,
        keep_mask=KEEP_MASK,
        audio=rule_input("train_audio", (*FRAMES, 50, 384)),
        mel=rule_input("train_mel", (1, 1, 80, 52)),
        origins=(SampleOrigin("recorded", "recorded.mp4", 0),),
    )


def recorded_posterior() -> Tensor:
    names = ("gt", "masked", "ref")
    return torch.stack([rule_input(f"train_vae_eps_{name}", (16, 4, 8, 8))[None] for name in names])


def recorded_draws() -> StepDraws:
    shared, independent = (rule_input(f"train_noise_{name}", (1, 4, 16, 8, 8)) for name in ("shared", "ind"))
    return StepDraws(torch.tensor([600]), mix_noise(shared[:, :, :1], independent, 1.0))


@pytest.fixture(scope="module")
def step() -> RecordedStep:
    expected = golden_arrays("codec/tiny_kl") | golden_arrays("training/step") | golden_arrays("training/mixed_noise")
    codec = RecordingCodec(small_kl())
    unet = fill_by_rule(UNet3D(UNetConfig.from_dict(golden_json("training/config")["unet_config"])))
    unet.requires_grad_(False)
    for parameter in trainable_parameters(unet, STAGE_2).values():
        parameter.requires_grad_(True)
    networks = {
        "sync": PixelSyncLoss(rule_syncnet("16_pixel_attn")),
        "perceptual": PerceptualLoss(rule_lpips()),
        "trepa": TrepaLoss(fill_by_rule(VideoMAE(REDUCED_VIDEOMAE))),
    }
    recording, draws = RecordingUNet(unet), recorded_draws()
    batch = encode_faces(codec, recorded_faces(), recorded_batch(), recorded_posterior())
    losses = UNetObjective(codec, LossWeights(), **networks)(recording, batch, draws)
    losses.total.backward()
    return RecordedStep(codec, recording, batch, draws, networks, losses, expected)


def frames_first(latents: Tensor) -> Tensor:
    return latents[0].transpose(0, 1)


# -- numbers of the published code ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "index"), [("gt", 0), ("masked", 1), ("ref", 2)])
@torch.no_grad()
def test_posteriors_are_the_published_ones(step, name, index):
    pixels = recorded_faces()[index][0]
    mean, std = (torch.from_numpy(step.expected[f"vae_{kind}_{name}"]) for kind in ("mean", "std"))
    mode = step.codec.encode(pixels)
    assert relative_error(mode / 0.18215, mean) < 1e-5
    assert relative_error((step.codec.encode(pixels, torch.ones_like(mode)) - mode) / 0.18215, std) < 1e-4
    drawn = (step.batch.target, step.batch.conditioning.masked, step.batch.conditioning.reference)[index]
    assert relative_error(frames_first(drawn), (mean + std * recorded_posterior()[index, 0]) * 0.18215) < 1e-5


def test_the_way_to_the_prediction_is_the_published_one(step):
    expected = step.expected
    assert relative_error(step.batch.target, expected["gt_latents"]) < 1e-5
    assert (step.batch.conditioning.keep_mask - torch.from_numpy(expected["latent_mask_frame0"])).abs().max() < 1e-6
    assert relative_error(step.draws.noise, expected["mixed_noise"]) < 1e-6
    assert relative_error(step.unet.sample[:, :4], expected["noisy_latents"]) < 1e-5
    assert relative_error(step.unet.noise.detach(), expected["pred_noise"]) < 1e-5


def test_the_implied_face_is_the_published_one(step):
    expected = step.expected
    latents, pixels = step.codec.latents.detach(), step.codec.pixels.detach()
    assert relative_error(latents, frames_first(torch.from_numpy(expected["pred_x0_latents"]))) < 1e-5
    assert relative_error(pixels[0], expected["pred_pixels_frame0"]) < 1e-5
    assert relative_error(pixels[-1], expected["pred_pixels_last"]) < 1e-5


@pytest.mark.parametrize(
    ("name", "recorded", "tolerance"),
    [
        ("recon", "recon_loss", 1e-5),
        ("perceptual", "lpips_loss", 1e-5),
        ("sync", "sync_loss", 1e-5),
        ("trepa", "trepa_loss", 1e-3),
        ("total", "total_loss", 1e-5),
    ],
)
def test_the_losses_are_the_published_ones(step, name, recorded, tolerance):
    assert getattr(step.losses, name).item() == pytest.approx(step.expected[recorded].item(), rel=tolerance)


# At the lowest level of this small network a feature map is one cell and a norm group two numbers, whose gradient is a
# small difference of large ones. Below it single precision is worth two digits: computed in float64, the gradients of
# this step are 0.2 % and 0.7 % off the recorded ones and their norm 0.12 %; contiguous memory in place of channels-last
# moves them by up to 2 %.
def test_the_gradients_are_the_published_ones(step):
    named = dict(step.unet.unet.named_parameters())
    trained = [p.grad for p in named.values() if p.requires_grad]
    assert len(trained) == 936
    norm = torch.stack([gradient.norm() for gradient in trained]).norm().item()
    assert norm == pytest.approx(step.expected["grad_norm_trainable"].item(), rel=3e-3)
    recorded = {key.removeprefix("grad:"): value for key, value in step.expected.items() if key.startswith("grad:")}
    assert len(recorded) == 4
    for name, gradient in recorded.items():
        tolerance = 1e-4 if name.startswith("up_blocks") else 2e-2
        assert relative_error(named[name].grad, gradient) < tolerance
    assert all(p.grad is None for p in (*step.codec.parameters(), *(p for p in named.values() if not p.requires_grad)))


@pytest.mark.parametrize(("stage", "names"), [("stage1", ()), ("stage2_efficient", ("sync", "perceptual"))])
@torch.no_grad()
def test_the_totals_of_the_other_stages_are_the_published_ones(step, stage, names):
    objective = UNetObjective(step.codec, LossWeights(), **{name: step.networks[name] for name in names})
    losses = objective(lambda *_: step.unet.noise, step.batch, step.draws)
    assert losses.total.item() == pytest.approx(step.expected[f"total_{stage}"].item(), rel=1e-5)
    assert {name for name in ("sync", "perceptual", "trepa") if getattr(losses, name) is not None} == set(names)


@pytest.mark.parametrize(
    ("config", "patterns", "tensors", "parameters"),
    [
        ("stage2", STAGE_2, 936, 674_792_320),
        ("stage2_efficient", ["motion_modules.", "attn2."], 392, 284_660_480),
        ("stage1", None, 686, 849_962_244),
    ],
)
def test_the_published_stages_train_the_published_parameters(config, patterns, tensors, parameters):
    options = {"use_motion_module": config != "stage1", "motion_module_decoder_only": config == "stage2_efficient"}
    chosen = trainable_parameters(on_meta(lambda: UNet3D(UNetConfig(**options))), patterns)
    assert (len(chosen), sum(p.numel() for p in chosen.values())) == (tensors, parameters)


def test_a_pattern_that_fits_nothing_is_refused_by_name():
    with pytest.raises(ConfigError, match="'motion_modules.'"):
        trainable_parameters(
            on_meta(lambda: UNet3D(UNetConfig(use_motion_module=False))), ["attentions.", "motion_modules."]
        )


# -- with a small network ---------------------------------------------------------------------------------------------


def toy_batch() -> LatentBatch:
    """Two clips of three frames; the mouth's half of the latents is to be generated."""
    target, masked, reference = (rule_input(f"toy_{name}", (2, 4, 3, 16, 16)) for name in ("gt", "masked", "ref"))
    keep_mask = torch.ones(2, 1, 3, 16, 16)
    keep_mask[..., 8:, :] = 0
    conditioning = Conditioning(keep_mask, masked, reference)
    return LatentBatch(target, conditioning, rule_input("toy_audio", (2, 3, 5, 12)), None, rule_input("mel", MEL_SHAPE))


@cache
def toy_networks() -> tuple[UNet3D, LatentCodec]:
    return fill_by_rule(UNet3D(TOY)), LatentCodec(small_kl())


def toy_losses(weights: LossWeights, batch: LatentBatch, **networks: object) -> Losses:
    unet, codec = toy_networks()
    draws = StepDraws(torch.tensor([50, 950]), rule_input("toy_noise", (2, 4, 3, 16, 16)))
    return UNetObjective(codec, weights, **networks)(unet, batch, draws)


@torch.no_grad()
def test_a_sync_network_on_latents_needs_no_pixels():
    losses = toy_losses(LossWeights(sync=0.5), toy_batch(), sync=LatentSyncLoss(small_syncnet()))
    assert losses.total.item() == pytest.approx((losses.recon + 0.5 * losses.sync).item(), rel=1e-6)
    assert (losses.perceptual, losses.trepa) == (None, None)


@torch.no_grad()
def test_losses_on_the_estimate_can_be_weighted_by_noise_level():
    class Fixed(LatentSyncLoss):
        def __call__(self, latents: Tensor, mel: Tensor) -> Tensor:
            return torch.tensor([2.0, 4.0])

    sync, table = Fixed(small_syncnet()), level_weights(make_scheduler("ddim").alphas_cumprod, "alpha_bar")
    plain, weighted = (
        toy_losses(LossWeights(levels=name), toy_batch(), sync=sync) for name in ("uniform", "alpha_bar")
    )
    assert plain.sync.item() == 3
    assert weighted.sync.item() == pytest.approx((2 * table[50] + 4 * table[950]).item() / 2, rel=1e-5)
    assert weighted.recon == plain.recon


@torch.no_grad()
def test_only_the_area_to_be_generated_counts_if_asked():
    def unet(sample: Tensor, timestep: Tensor, audio: Tensor) -> Tensor:
        return rule_input("toy_noise", (2, 4, 3, 16, 16)) + 2 * sample[:, 4:5] + 1  # off by 3 where kept, else by 1

    draws = StepDraws(torch.tensor([50, 950]), rule_input("toy_noise", (2, 4, 3, 16, 16)))
    for kept_area, expected in ((1.0, 5.0), (0.0, 1.0)):
        objective = UNetObjective(toy_networks()[1], LossWeights(kept_area=kept_area))
        assert objective(unet, toy_batch(), draws).recon.item() == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_the_reconstruction_loss_can_be_weighted_by_noise_level():
    errors = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1, 1)

    def unet(sample: Tensor, timestep: Tensor, audio: Tensor) -> Tensor:
        return rule_input("toy_noise", (2, 4, 3, 16, 16)) + errors

    draws = StepDraws(torch.tensor([50, 950]), rule_input("toy_noise", (2, 4, 3, 16, 16)))
    table = level_weights(make_scheduler("ddim").alphas_cumprod, "velocity")
    for name, expected in (("uniform", 5.0), ("velocity", (table[50] + 9 * table[950]).item() / 2)):
        objective = UNetObjective(toy_networks()[1], LossWeights(recon_levels=name))
        assert objective(unet, toy_batch(), draws).recon.item() == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_movement_is_judged_if_asked_and_weighs_by_noise_level():
    assert toy_losses(LossWeights(), toy_batch()).movement is None
    losses = toy_losses(LossWeights(movement=0.5), toy_batch())
    assert losses.movement > 0
    assert losses.total.item() == pytest.approx((losses.recon + 0.5 * losses.movement).item(), rel=1e-6)
    weighted = toy_losses(LossWeights(movement=0.5, levels="alpha_bar"), toy_batch())
    assert weighted.movement != losses.movement


@pytest.mark.parametrize(
    ("loss", "missing", "named"),
    [(LatentSyncLoss, "mel", "mel spectrograms"), (PixelSyncLoss, "pixels", "ground truth in pixels")],
)
def test_what_a_loss_needs_and_the_batch_does_not_bring_is_named(loss, missing, named):
    with pytest.raises(ValueError, match=named):
        toy_losses(LossWeights(), dataclasses.replace(toy_batch(), **{missing: None}), sync=loss(small_syncnet()))


@torch.no_grad()
def test_a_clip_without_audio_or_with_a_covered_mouth_has_no_sync_loss():
    class Fixed(LatentSyncLoss):
        def __call__(self, latents: Tensor, mel: Tensor) -> Tensor:
            return torch.tensor([2.0, 4.0])

    dropped = drop_audio(toy_batch(), torch.tensor([1.0, 0.0]))
    assert dropped.audio[0].any()
    assert not dropped.audio[1].any()
    losses = toy_losses(LossWeights(), dropped, sync=Fixed(small_syncnet()))
    assert losses.sync.item() == 1.0
    with_audio = toy_losses(LossWeights(), toy_batch(), sync=Fixed(small_syncnet()))
    assert losses.recon != with_audio.recon
    for batch, expected in ((toy_batch(), 2.0), (dropped, 0.0)):
        covered = dataclasses.replace(batch, mouth_seen=torch.tensor([0.0, 1.0]))
        assert toy_losses(LossWeights(), covered, sync=Fixed(small_syncnet())).sync.item() == expected
