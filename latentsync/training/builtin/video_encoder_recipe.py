"""The training file of a small video encoder. There is no published one: the published encoder is VideoMAE v2's."""

from __future__ import annotations

from dataclasses import dataclass, field

from latentsync.recipe import TalkerData


@dataclass
class VideoEncoderData:
    """Windows of synthetic talkers, whose mouths are known; the clips may be those of the codec and the U-Net."""

    train_output_dir: str = "output/video_encoder"
    talkers: TalkerData = field(default_factory=TalkerData)
    resolution: int = 128  # of the clips; the encoder sees them at model.image_size
    batch_size: int = 32  # windows per device
    num_workers: int = 0
    num_val_samples: int = 160  # windows
    frame_cache_gib: float = 2.2  # memory for decoded clips


@dataclass
class VideoEncoderCheckpointing:
    """How often training saves."""

    save_ckpt_steps: int = 100
    keep_checkpoints: int = 2


@dataclass
class VideoEncoderRun:
    """Length."""

    max_train_steps: int = 1000
    validation_steps: int = 100
    log_steps: int = 10
    seed: int = 1247


@dataclass
class VideoEncoderOptimizer:
    """AdamW."""

    lr: float = 2e-3
    max_grad_norm: float = 1.0
    weight_decay: float = 0.01
    lr_scheduler: str = "cosine"
    lr_warmup_steps: int = 40


@dataclass
class VideoEncoderRecipe:
    """``model`` are the fields of ``models.videomae.VideoMAEConfig`` but ``num_classes``, which the task gives."""

    model: dict[str, int]
    data: VideoEncoderData = field(default_factory=VideoEncoderData)
    ckpt: VideoEncoderCheckpointing = field(default_factory=VideoEncoderCheckpointing)
    run: VideoEncoderRun = field(default_factory=VideoEncoderRun)
    optimizer: VideoEncoderOptimizer = field(default_factory=VideoEncoderOptimizer)
