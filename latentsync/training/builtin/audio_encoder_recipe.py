"""The training file of a small audio encoder. There is no published one: the published encoder is Whisper's."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class AudioEncoderModel:
    """A Whisper encoder of 80 mel bands and 30 s: ``width`` of its states, attention heads and blocks."""

    width: int = 128
    heads: int = 4
    blocks: int = 2


@dataclass
class AudioEncoderData:
    """Sentences of synthetic talkers, each by a voice of its own; windows of 30 s are filled with them."""

    train_output_dir: str = "output/audio_encoder"
    sentences: int = 600
    validation_sentences: int = 60
    sentence_seconds: float = 8.0
    batch_size: int = 4  # windows of 30 s
    num_val_samples: int = 16  # windows of 30 s
    seed: int = 5_000_000  # first seed of voices and sentences


@dataclass
class AudioEncoderCheckpointing:
    """How often training saves."""

    save_ckpt_steps: int = 200
    keep_checkpoints: int = 2


@dataclass
class AudioEncoderRun:
    """Losses and length."""

    max_train_steps: int = 1500
    validation_steps: int = 250
    log_steps: int = 10
    seed: int = 1247
    mouth_loss_weight: float = 5.0  # of the mouth's shape beside the speech sound


@dataclass
class AudioEncoderOptimizer:
    """AdamW."""

    lr: float = 2e-3
    max_grad_norm: float = 1.0
    weight_decay: float = 0.01
    lr_scheduler: str = "cosine"
    lr_warmup_steps: int = 50


@dataclass
class AudioEncoderRecipe:
    """An audio encoder's training file."""

    model: AudioEncoderModel = field(default_factory=AudioEncoderModel)
    data: AudioEncoderData = field(default_factory=AudioEncoderData)
    ckpt: AudioEncoderCheckpointing = field(default_factory=AudioEncoderCheckpointing)
    run: AudioEncoderRun = field(default_factory=AudioEncoderRun)
    optimizer: AudioEncoderOptimizer = field(default_factory=AudioEncoderOptimizer)
