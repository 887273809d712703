"""The training file of a small latent codec. There is no published one: the published codec is Stable Diffusion's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from latentsync.constants import MODEL_FPS
from latentsync.recipe import TalkerData


@dataclass
class CodecData:
    """Where pictures come from: single frames of clips, found as for the U-Net."""

    train_output_dir: str = "output/codec"
    train_fileslist: str | None = None
    train_data_dir: str | None = None
    val_fileslist: str | None = None
    val_data_dir: str | None = None
    validation_share: float = 0.05
    batch_size: int = 8  # pictures per device
    num_workers: int = 0
    num_val_samples: int = 80  # pictures
    resolution: int = 128
    video_fps: int = int(MODEL_FPS)
    mask_image_path: str = "mask.png"  # what the U-Net will generate
    focus_image_path: str = "mask3.png"  # where most detail is: the mouth and around it
    frame_cache_gib: float = 2.0  # memory for decoded clips
    talkers: TalkerData | None = None


@dataclass
class CodecCheckpointing:
    """What training starts from and how often it saves.

    From a codec on, only its decoder is trained: a U-Net that knows its latents stays right.
    """

    resume_ckpt_path: str | None = None  # folder of a codec
    save_ckpt_steps: int = 250
    keep_checkpoints: int = 2


@dataclass
class CodecRun:
    """Losses and length."""

    max_train_steps: int = 2000
    validation_steps: int = 250
    log_steps: int = 20
    seed: int = 1247
    edge_loss_weight: float = 0.5  # of the differences between neighbouring pixels
    divergence_weight: float = 3e-4  # of the latents from a standard normal distribution
    kept_area_weight: float = 0.3  # of pixels outside the mask's hole, which the result does not take from the codec
    focus_weight: float = 2.0  # of pixels in the focus mask's hole
    ema_decay: float = 0.998


@dataclass
class CodecOptimizer:
    """AdamW."""

    lr: float = 1.5e-3
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    lr_scheduler: str = "cosine"
    lr_warmup_steps: int = 100


@dataclass
class CodecRecipe:
    """``model`` are the arguments of diffusers' ``AutoencoderKL``."""

    model: dict[str, Any]
    data: CodecData = field(default_factory=CodecData)
    ckpt: CodecCheckpointing = field(default_factory=CodecCheckpointing)
    run: CodecRun = field(default_factory=CodecRun)
    optimizer: CodecOptimizer = field(default_factory=CodecOptimizer)
