"""Every task of the training with tiny networks of the rule, and a batch of it that needs no file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import torch
from lpips import LPIPS
from torch import Tensor, nn
from whisper.model import ModelDimensions

from latentsync.config import load_config
from latentsync.constants import LATENT_CHANNELS
from latentsync.data.batches import SampleOrigin, SyncBatch, UNetBatch
from latentsync.data.clip_reader import ArrayCache, MelReader
from latentsync.data.image_dataset import ImageBatch, MouthBatch
from latentsync.data.manifest import Clip
from latentsync.data.speech.collection import Speech
from latentsync.data.speech.dataset import MOUTH_NAMES, NOTHING, SpeechDataset
from latentsync.face.mask import load_mask
from latentsync.losses.reconstruction import PerceptualLoss
from latentsync.losses.sync import LatentSyncLoss, PixelSyncLoss
from latentsync.losses.trepa import TrepaLoss
from latentsync.metrics.stable_sync import StableSync
from latentsync.models.codec import LatentCodec
from latentsync.models.discriminator import PatchDiscriminator
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig
from latentsync.models.unet import UNet3D, UNetConfig
from latentsync.models.videomae import VideoMAE
from latentsync.recipe import StudentSection, SyncNetNegatives, SyncNetRecipe, UNetRecipe
from latentsync.training.builtin.audio_encoder import AudioEncoderTask, TrainedEncoder
from latentsync.training.builtin.codec import CodecTask, TrainedCodec
from latentsync.training.builtin.recipes import AudioEncoderRecipe, CodecRecipe, VideoEncoderRecipe
from latentsync.training.builtin.video_encoder import TrainedVideoEncoder, VideoEncoderTask
from latentsync.training.loop.clips import RunClips
from latentsync.training.loop.ema import EMA
from latentsync.training.student.objective import StudentObjective, Teacher
from latentsync.training.syncnet.task import SyncNetTask
from latentsync.training.unet.data import DrawnBatch, DrawnWindows, UNetWindows
from latentsync.training.unet.latents import Noise, PosteriorBatch, stack_draws
from latentsync.training.unet.objective import LossWeights, UNetObjective
from latentsync.training.unet.task import UNetSetup, UNetTask
from latentsync.types import SyncView
from tests.golden import fill_by_rule, rule_input
from tests.models.networks import SMALL_VIDEOMAE, small_kl
from tests.models.published import rule_lpips
from tests.training.tiny_unet import ROOT

UNET = UNetConfig(
    block_out_channels=(8, 8), layers_per_block=1, num_attention_heads=1, motion_num_attention_heads=1,
    cross_attention_dim=8, norm_num_groups=4,
)  # fmt: skip
# For 12 channels of 16 x 16, and embeddings of 2 x 2: a norm over two numbers has gradients of rounding only.
SYNCNET = {
    "audio_encoder": {"in_channels": 1, "block_out_channels": [32, 64], "downsample_factors": [[16, 16], [3, 2]]},
    "visual_encoder": {"in_channels": 12, "block_out_channels": [32, 64], "downsample_factors": [4, 2]},
}
ORIGINS = tuple(SampleOrigin(clip, f"{clip}.mp4", start) for clip in "ab" for start in (0, 9))
CLIP = Clip(Path("none.mp4"), "a", 60, Fraction(25), 32, 32, 2.4)
CLIPS = RunClips((CLIP,), (CLIP,), ())


@dataclass(frozen=True)
class TinyTask:
    """A task with a batch of it; ``frozen`` are the networks around the one that it trains."""

    task: Any
    batch: Any
    frozen: tuple[nn.Module, ...] = ()


def images(name: str, *shape: int) -> Tensor:
    """Random bytes."""
    return rule_input(name, shape).tanh().mul(127).add(128).byte()


@cache
def lpips_network() -> LPIPS:
    return rule_lpips()


def small_syncnet() -> StableSyncNet:
    return fill_by_rule(StableSyncNet(SyncNetConfig.from_dict(SYNCNET)))


class _Nothing(DrawnWindows):
    """Windows of no clip."""

    def __init__(self) -> None:
        self._windows = self

    def __len__(self) -> int:
        return 1


def _unet(
    objective: UNetObjective, batch: UNetBatch | PosteriorBatch, motion: bool, frozen: list[nn.Module]
) -> TinyTask:
    network = fill_by_rule(UNet3D(replace(UNET, use_motion_module=motion))).train()
    windows = UNetWindows(_Nothing(), _Nothing(), None)  # type: ignore[arg-type]  # nothing is shown
    side = batch.keep_mask.shape[-1]
    draws = stack_draws([Noise(batch.audio.shape[1], side, 1.0, 0.5).draw(seed) for seed in (0, 1)])
    draws = replace(draws, audio_kept=torch.tensor([0.0, 1.0]))
    task = UNetTask(UNetSetup(UNetRecipe(model={}), network, objective.codec, objective, windows))
    return TinyTask(task, DrawnBatch(batch, draws), (objective.codec, *frozen))


def student(dtype: torch.dtype) -> TinyTask:
    """A student of few noise levels, out of the cache."""
    section = StudentSection(timesteps=[500, 200], levels=4)
    teacher = fill_by_rule(UNet3D(UNET)).to(dtype).requires_grad_(False)
    objective = StudentObjective(
        LatentCodec(small_kl().to(dtype)),
        LossWeights(),
        section=section,
        teacher=Teacher(teacher, dtype, "epsilon", section.guidance),
        target=nullcontext,
    )
    return _unet(objective, _cached(_windows(3, 16)), True, [teacher])


def _windows(frames: int, side: int) -> UNetBatch:
    faces = [images(name, 2, frames, 3, side, side) for name in ("target", "reference")]
    mask = torch.from_numpy(load_mask("mask.png", side))
    audio, mel = rule_input("audio", (2, frames, 5, 8)), rule_input("mel", (2, 1, 80, 52))
    return UNetBatch(*faces, mask, audio, mel, ORIGINS[:2])


def _cached(windows: UNetBatch) -> PosteriorBatch:
    frames, side = windows.target.shape[1], windows.target.shape[-1] // 8
    moments = [rule_input(name, (2, frames, 2, LATENT_CHANNELS, side, side)) for name in ("t", "m", "r")]
    return PosteriorBatch(*moments, windows.target, windows.keep_mask, windows.audio, windows.mel, windows.origins)


def unet_stage_1(dtype: torch.dtype) -> TinyTask:
    return _unet(UNetObjective(LatentCodec(small_kl().to(dtype)), LossWeights()), _windows(2, 16), False, [])


def unet_stage_2(dtype: torch.dtype) -> TinyTask:
    """All losses on pixels, and movement."""
    sync, encoder = small_syncnet().to(dtype), fill_by_rule(VideoMAE(SMALL_VIDEOMAE)).to(dtype)
    objective = UNetObjective(
        LatentCodec(small_kl().to(dtype)),
        LossWeights(movement=0.01, levels="min_snr", kept_area=0.5),
        sync=PixelSyncLoss(sync, side=16, lower_half=False),
        perceptual=PerceptualLoss(lpips_network()),
        trepa=TrepaLoss(encoder),
    )
    return _unet(objective, _windows(4, 32), True, [sync, encoder, lpips_network()])


def unet_on_cached_latents(dtype: torch.dtype) -> TinyTask:
    """With a sync network on latents."""
    sync = small_syncnet().to(dtype)
    objective = UNetObjective(LatentCodec(small_kl().to(dtype)), LossWeights(), sync=LatentSyncLoss(sync))
    return _unet(objective, _cached(_windows(3, 128)), True, [sync])


def _syncnet(frames: Tensor, view: SyncView, codec: LatentCodec | None, **wishes: Any) -> TinyTask:
    recipe = SyncNetRecipe(model={})
    for section, values in wishes.items():
        for name, value in values.items():
            setattr(getattr(recipe, section), name, value)
    model = StableSync(small_syncnet().train(), view, codec)
    task = SyncNetTask(recipe, CLIPS, MelReader(ArrayCache(Path("nowhere"))), model)
    mel, labels = rule_input("mel", (4, 1, 80, 52)), torch.tensor([1.0, 0.0, 1.0, 0.0])
    return TinyTask(task, SyncBatch(frames, mel, labels, ORIGINS, 3), () if codec is None else (codec,))


def syncnet_pairs(dtype: torch.dtype) -> TinyTask:
    return _syncnet(images("faces", 4, 4, 3, 16, 16), SyncView(4, 16, lower_half=False), None)


def syncnet_all_pairs(dtype: torch.dtype) -> TinyTask:
    """With the contrast."""
    rule = SyncNetNegatives(windows_per_clip=2)
    wishes = {"data": {"negatives": rule}, "run": {"contrastive_weight": 1.0, "contrastive_steps": 10}}
    return _syncnet(images("faces", 4, 4, 3, 16, 16), SyncView(4, 16, lower_half=False), None, **wishes)


def syncnet_on_latents(dtype: torch.dtype) -> TinyTask:
    """Out of the cache."""
    moments = rule_input("latents", (4, 3, 2, LATENT_CHANNELS, 16, 16)).abs()
    return _syncnet(moments, SyncView(3, 128, lower_half=False, latent=True), LatentCodec(small_kl().to(dtype)))


def codec(dtype: torch.dtype) -> TinyTask:
    recipe = load_config(ROOT / "configs/codec/builtin.yaml", CodecRecipe, ["data.resolution=32"])
    torch.manual_seed(0)
    network = TrainedCodec(small_kl(), PatchDiscriminator(8)).train()
    task = CodecTask(recipe, CLIPS, network, EMA(list(network.autoencoder.parameters()), 0.9))
    step = recipe.run.adversarial_start + recipe.run.adversarial_warmup
    return TinyTask(task, ImageBatch(images("faces", 2, 3, 32, 32), ORIGINS[:2], step))


def audio_encoder(dtype: torch.dtype) -> TinyTask:
    small = ["data.sentences=1", "data.validation_sentences=1", "data.sentence_seconds=1"]
    recipe = load_config(ROOT / "configs/audio_encoder/talkers.yaml", AudioEncoderRecipe, small)
    network = fill_by_rule(TrainedEncoder(ModelDimensions(80, 1500, 8, 1, 1, 0, 0, 0, 0, 0))).train()
    phones = torch.full((1, 1500), NOTHING)
    phones[0, :40] = torch.arange(40) % 5
    sample = rule_input("mel", (80, 3000)), phones[0], rule_input("mouth", (1500, len(MOUTH_NAMES))), ORIGINS[0]
    return TinyTask(AudioEncoderTask(recipe, network, Speech((), ())), SpeechDataset.collate([sample]))


def video_encoder(dtype: torch.dtype) -> TinyTask:
    config = replace(SMALL_VIDEOMAE, num_classes=2 * len(MOUTH_NAMES))
    network = fill_by_rule(TrainedVideoEncoder(VideoMAE(config))).train()
    recipe = VideoEncoderRecipe(model={})
    mouth = rule_input("mouth", (3, 4, len(MOUTH_NAMES))).sigmoid()
    return TinyTask(
        VideoEncoderTask(recipe, CLIPS, network), MouthBatch(images("faces", 3, 4, 3, 32, 32), mouth, ORIGINS[:3])
    )


TASKS: tuple[Callable[[torch.dtype], TinyTask], ...] = (
    unet_stage_1, unet_stage_2, unet_on_cached_latents, student, syncnet_pairs, syncnet_all_pairs, syncnet_on_latents,
    codec, audio_encoder, video_encoder,
)  # fmt: skip
