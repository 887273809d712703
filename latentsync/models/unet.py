"""The denoiser: the U-Net of Stable Diffusion 1.x with cross-attention to audio and with motion modules.

B clips · F frames · N = B*F · C channels · h, w latent · S audio tokens per frame · D their width
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from einops import rearrange
from torch import Tensor, nn

from latentsync.models.attention import attend_plainly
from latentsync.models.blocks import Condition, DownStage, MiddleStage, Stage, StageShape, UpStage
from latentsync.models.norms import JointGroupNorm
from latentsync.models.unet_config import UNetConfig
from latentsync.types import FeatureCache

__all__ = ["UNet3D", "UNetConfig"]

_ALL_BUT_LAST, _LAST_LAYER = slice(-1), slice(-1, None)  # of the outermost stage, for the feature cache


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
        self.down_blocks = nn.ModuleList(DownStage(config, shape) for shape in _down_shapes(config))
        self.mid_block = MiddleStage(config, StageShape([widths[-1]] * 2, widths[-1], attentions=1, motion=False))
        self.up_blocks = nn.ModuleList(UpStage(config, shape) for shape in _up_shapes(config))
        self.conv_norm_out = JointGroupNorm(config.norm_num_groups, widths[0], eps=config.norm_eps)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)
        for parameter in (*self.conv_in.parameters(), *self.conv_out.parameters()):
            nn.init.zeros_(parameter)
        attend_plainly(self)

    def enable_gradient_checkpointing(self) -> None:
        """Keep only the inputs of residual blocks, transformers and motion modules for the backward pass."""
        for stage in self._stages():
            stage.gradient_checkpointing = True

    def layers(self) -> Iterator[nn.Module]:
        """The parts that run one after another, but the first and the last convolution."""
        for stage in self._stages():
            for part in stage.children():  # resnets, attentions, motion modules and, in most stages, a sampler
                yield from part.children()

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        audio: Tensor | None,
        *,
        feature_cache: FeatureCache | None = None,
        guided: bool = False,
    ) -> Tensor:
        """The predicted noise (B, 4, F, h, w).

        ``sample`` (B, 13, F, h, w): noisy latents 4, keep mask 1, masked latents 4, reference latents 4.
        ``timestep`` () or (B,). ``audio`` (B, F, S, D) or (B*F, S, D); None leaves the audio attention out.
        ``feature_cache``: with ``reuse`` only the outermost layer runs, on the hidden state that the last full run
        left there (DeepCache, arXiv 2312.00858, branch 0); without it the full run leaves that state there.
        ``guided``: as for 2 B clips, the B given ones with silent tokens (all zero), then with ``audio``, which must
        be there; what comes before the first audio attention is computed once -> (2 B, 4, F, h, w).

        Raises ``ValueError`` if the motion modules know fewer positions than F, if there is nothing to reuse, or no
        audio to guide by.
        """
        batch, _, frames, height, width = sample.shape
        if self.config.use_motion_module and frames > self.config.max_frames:
            raise ValueError(f"a window of {frames} frames; the motion modules know {self.config.max_frames} positions")
        if guided and audio is None:
            raise ValueError("guidance contrasts audio with silence, and there is no audio")
        condition = Condition(frames, self._embed_time(timestep, batch), _fold_audio(audio), guided)
        images = rearrange(sample, "b c f h w -> (b f) c h w").contiguous(memory_format=torch.channels_last)
        entry = self.conv_in(images)
        if feature_cache is None:
            hidden = self._down_middle_up(entry, condition)
        elif feature_cache.reuse:
            if feature_cache.hidden is None:
                raise ValueError("the feature cache is to be reused but holds nothing yet")
            hidden = feature_cache.hidden
        else:
            hidden = feature_cache.hidden = self._down_middle_up(entry, condition)
        hidden = self.up_blocks[-1](hidden, [entry], condition, _LAST_LAYER)
        hidden = self.conv_out(F.silu(self.conv_norm_out(hidden, frames)))
        return rearrange(hidden, "(b f) c h w -> b c f h w", f=frames).contiguous()

    def _embed_time(self, timestep: Tensor, batch: int) -> Tensor:
        """timestep () or (B,) -> (B, 4*C)."""
        weight = self.time_embedding.linear_1.weight  # schedulers keep their time steps on the CPU
        embedding = self.time_proj(timestep.to(weight.device).expand(batch))
        return self.time_embedding(embedding.to(weight.dtype))

    def _down_middle_up(self, entry: Tensor, condition: Condition) -> Tensor:
        """All layers but the last one: the output of ``conv_in`` -> what enters the last layer together with it."""
        skips = [entry]
        for stage in self.down_blocks:
            skips += stage(skips[-1], condition)
        hidden = self.mid_block(skips[-1], condition)
        *stages, outermost = self.up_blocks
        for stage in stages:
            hidden = stage(hidden, skips, condition)
        return outermost(hidden, skips, condition, _ALL_BUT_LAST)

    def _stages(self) -> Iterator[Stage]:
        return (module for module in self.modules() if isinstance(module, Stage))


def _down_shapes(config: UNetConfig) -> list[StageShape]:
    widths, layers = config.block_out_channels, config.layers_per_block
    motion = config.use_motion_module and not config.motion_module_decoder_only
    shapes = []
    for level, width in enumerate(widths):
        lowest = level == len(widths) - 1
        in_channels = [widths[max(level - 1, 0)]] + [width] * (layers - 1)
        shapes.append(StageShape(in_channels, width, 0 if lowest else layers, motion, resampled=not lowest))
    return shapes


def _up_shapes(config: UNetConfig) -> list[StageShape]:
    """Each layer takes the hidden state together with what one layer, sampler or ``conv_in`` gave on the way down."""
    widths, layers = config.block_out_channels, config.layers_per_block + 1
    shapes = []
    previous = widths[-1]
    for level in reversed(range(len(widths))):
        width, lowest = widths[level], level == len(widths) - 1
        hidden = [previous] + [width] * (layers - 1)
        skips = [width] * (layers - 1) + [widths[max(level - 1, 0)]]
        in_channels = [a + b for a, b in zip(hidden, skips, strict=True)]
        attentions = 0 if lowest else layers
        shapes.append(StageShape(in_channels, width, attentions, config.use_motion_module, resampled=level > 0))
        previous = width
    return shapes


def _fold_audio(audio: Tensor | None) -> Tensor | None:
    """(B, F, S, D) or (B*F, S, D) -> (B*F, S, D)."""
    return audio.flatten(0, 1) if audio is not None and audio.ndim == 4 else audio
