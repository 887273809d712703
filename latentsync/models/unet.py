"""The denoiser: a Stable-Diffusion-1.x U-Net that hears (audio cross-attention) and sees time (motion modules).

B clips · F frames · N = B*F pictures · C channels · h, w latent · S audio tokens per frame · D their width
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor, nn

from latentsync.models.blocks import Condition, Downsampler, JointGroupNorm, Stage, Upsampler
from latentsync.models.unet_config import UNetConfig
from latentsync.types import FeatureCache

__all__ = ["UNet3D", "UNetConfig"]


class UNet3D(nn.Module):
    """Predicts the noise in a window of latents. State-dict names are those of releases 1.5 and 1.6.

    The frames are folded into the batch once, on entry; only the norms of the residual blocks and the motion modules
    look across them. Convolutions run in channels-last memory.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.block_out_channels
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_proj = Timesteps(widths[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(widths[0], 4 * widths[0])
        self.down_blocks = nn.ModuleList(_down_stages(config))
        self.mid_block = Stage(config, [widths[-1]] * 2, widths[-1], attentions=1, motion=False)
        self.up_blocks = nn.ModuleList(_up_stages(config))
        self.conv_norm_out = JointGroupNorm(config.norm_num_groups, widths[0], eps=config.norm_eps)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)
        for conv in (self.conv_in, self.conv_out):
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)

    def enable_gradient_checkpointing(self) -> None:
        """Keep only the inputs of residual blocks, transformers and motion modules for the backward pass."""
        for stage in (*self.down_blocks, self.mid_block, *self.up_blocks):
            stage.gradient_checkpointing = True

    def layers(self) -> Iterator[nn.Module]:
        """The parts that run one after another, but the first and the last convolution."""
        for stage in (*self.down_blocks, self.mid_block, *self.up_blocks):
            for part in (stage.resnets, stage.attentions, stage.motion_modules, stage.downsamplers, stage.upsamplers):
                yield from part

    def forward(
        self, sample: Tensor, timestep: Tensor, audio: Tensor | None, *, feature_cache: FeatureCache | None = None
    ) -> Tensor:
        """The predicted noise (B, 4, F, h, w).

        ``sample`` (B, 13, F, h, w): noisy latents 4, keep mask 1, masked latents 4, reference latents 4.
        ``timestep`` () or (B,). ``audio`` (B, F, S, D) or (B*F, S, D); None leaves the audio attention out.
        ``feature_cache``: with ``reuse`` only the outermost layer runs, on the hidden state that the last full run
        left there (DeepCache, arXiv 2312.00858, branch 0); without it the full run leaves that state there.

        Raises ``ValueError`` if the motion modules know fewer positions than F, or if there is nothing to reuse.
        """
        batch, _, frames, height, width = sample.shape
        if self.config.use_motion_module and frames > self.config.max_frames:
            raise ValueError(f"a window of {frames} frames; the motion modules know {self.config.max_frames} positions")
        condition = Condition(frames, self._embed_time(timestep, batch), _fold_audio(audio))
        pictures = sample.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        skip = self.conv_in(pictures)
        if feature_cache is None:
            hidden = self._deep(skip, condition)
        elif feature_cache.reuse:
            if feature_cache.hidden is None:
                raise ValueError("the feature cache is to be reused but holds nothing yet")
            hidden = feature_cache.hidden
        else:
            hidden = feature_cache.hidden = self._deep(skip, condition)
        hidden = self.up_blocks[-1].layer(-1, torch.cat([hidden, skip], dim=1), condition)
        hidden = self.conv_out(F.silu(self.conv_norm_out(hidden, frames)))
        return hidden.unflatten(0, (batch, frames)).transpose(1, 2).contiguous()

    def _embed_time(self, timestep: Tensor, batch: int) -> Tensor:
        """timestep () or (B,) -> (B, 4*C)."""
        weight = self.time_embedding.linear_1.weight  # schedulers keep their time steps on the CPU
        embedding = self.time_proj(timestep.to(weight.device).expand(batch))
        return self.time_embedding(embedding.to(weight.dtype))

    def _deep(self, hidden: Tensor, condition: Condition) -> Tensor:
        """All layers but the last one: the output of ``conv_in`` -> what enters the last residual block with it."""
        skips = [hidden]
        for stage in self.down_blocks:
            for index in range(len(stage.resnets)):
                hidden = stage.layer(index, hidden, condition)
                skips.append(hidden)
            for downsampler in stage.downsamplers:
                hidden = downsampler(hidden)
                skips.append(hidden)
        for index in range(len(self.mid_block.resnets)):
            hidden = self.mid_block.layer(index, hidden, condition)
        for stage in self.up_blocks:
            last = stage is self.up_blocks[-1]
            for index in range(len(stage.resnets) - last):
                hidden = stage.layer(index, torch.cat([hidden, skips.pop()], dim=1), condition)
            for upsampler in stage.upsamplers:
                hidden = upsampler(hidden, skips[-1].shape[2:])
        return hidden


def _down_stages(config: UNetConfig) -> list[Stage]:
    motion = config.use_motion_module and not config.motion_module_decoder_only
    layers = config.layers_per_block
    stages = []
    previous = config.block_out_channels[0]
    for width in config.block_out_channels[:-1]:
        channels = [previous] + [width] * (layers - 1)
        stages.append(Stage(config, channels, width, attentions=layers, motion=motion, resample=Downsampler))
        previous = width
    width = config.block_out_channels[-1]
    channels = [previous] + [width] * (layers - 1)
    stages.append(Stage(config, channels, width, attentions=0, motion=motion))
    return stages


def _up_stages(config: UNetConfig) -> list[Stage]:
    """Each layer takes the hidden state together with what one layer, sampler or ``conv_in`` gave on the way down."""
    widths = config.block_out_channels
    layers = config.layers_per_block + 1
    stages = []
    previous = widths[-1]
    for level in reversed(range(len(widths))):
        width, lower = widths[level], widths[max(level - 1, 0)]
        hidden = [previous] + [width] * (layers - 1)
        skips = [width] * (layers - 1) + [lower]
        channels = [a + b for a, b in zip(hidden, skips, strict=True)]
        attentions = 0 if level == len(widths) - 1 else layers
        resample = Upsampler if level > 0 else None
        stages.append(
            Stage(config, channels, width, attentions=attentions, motion=config.use_motion_module, resample=resample)
        )
        previous = width
    return stages


def _fold_audio(audio: Tensor | None) -> Tensor | None:
    """(B, F, S, D) or (B*F, S, D) -> (B*F, S, D)."""
    return audio.flatten(0, 1) if audio is not None and audio.ndim == 4 else audio
