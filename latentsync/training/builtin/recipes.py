"""The training files of the built-in codec, audio encoder and video encoder. There are no published ones: the published
codec is Stable Diffusion's, the audio encoder Whisper's, the video encoder VideoMAE v2's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from latentsync.constants import MODEL_FPS
from latentsync.recipe import ClipShare, TalkerData


@dataclass
class AdamWSection:
    """AdamW and its learning rate."""

    lr: float
    weight_decay: float
    lr_warmup_steps: int
    max_grad_norm: float = 1.0
    lr_scheduler: str = "cosine"


@dataclass
class SavingSection:
    """How often training saves."""

    save_ckpt_steps: int
    keep_checkpoints: int = 2


# -- codec ------------------------------------------------------------------------------------------------------------


@dataclass
class CodecData:
    """Where images come from: single frames of clips, found as for the U-Net, and faces of people."""

    train_output_dir: str = "output/codec"
    train_fileslist: str | None = None
    train_data_dir: str | None = None
    val_fileslist: str | None = None
    val_data_dir: str | None = None
    validation_share: float = 0.05
    batch_size: int = 8  # images per device
    num_workers: int = 0
    num_val_samples: int = 80  # images
    resolution: int = 128
    video_fps: int = int(MODEL_FPS)
    mask_image_path: str = "mask.png"  # what the U-Net will generate
    focus_image_path: str = "mask3.png"  # where most detail is: the mouth and around it
    frame_cache_gib: float = 2.0  # memory for decoded clips
    talkers: TalkerData | None = None
    clips_share: float | None = None  # of the samples: those clips, against the other shares; none = 1
    more_clips: dict[str, ClipShare] = field(default_factory=dict)
    people: str | None = None  # folder of photographs and recordings of faces; none = clips only
    people_share: float = 1.0
    people_detector: str = "checkpoints/auxiliary"  # folder of what finds the faces in them, YuNet and the face mesh
    frames_per_recording: int = 6
    augment: bool = False  # other light, pose, focus and grain, see data.face_augmentation


@dataclass
class CodecCheckpointing:
    """What training starts from and how often it saves.

    From a codec on, only its decoder is trained: a U-Net that knows its latents stays right. So it is for a small
    decoder (AutoencoderTiny) that is to read the latents of another codec. A small encoder is trained in front of the
    small decoder in ``resume_ckpt_path``, which stays as it is.
    """

    resume_ckpt_path: str | None = None  # folder of a codec
    latents_of: str | None = None  # folder of a codec; small decoders read its latents, small encoders give them
    save_ckpt_steps: int = 250
    keep_checkpoints: int = 2


@dataclass
class CodecRun:
    """Losses and length."""

    max_train_steps: int = 2000
    validation_steps: int = 250
    log_steps: int = 20
    seed: int = 1247
    tf32: bool = True  # products of float32 rounded to TF32 where the GPU knows it, see training.loop.precision
    edge_loss_weight: float = 0.5  # of the differences between neighbouring pixels
    divergence_weight: float = 3e-4  # of the KL divergence of the latents from a standard normal distribution
    kept_area_weight: float = 0.3  # of pixels outside the mask's hole, which the result does not take from the codec
    focus_weight: float = 2.0  # of pixels in the focus mask's hole
    ema_decay: float = 0.998
    mixed_precision: str = "no"  # or bf16, which CPUs with AVX512-BF16 or AMX compute faster
    adversarial_weight: float = 0.0  # of the discriminator's loss; 0 = there is none
    feature_weight: float = 0.0  # of the differences of its features
    adversarial_start: int = 0  # step from which the codec sees both; the discriminator learns from the first
    adversarial_warmup: int = 500  # steps in which both weights rise from 0
    discriminator_width: int = 32  # channels of its first layer


@dataclass
class CodecRecipe:
    """``model`` are the arguments of diffusers' ``AutoencoderKL``, with ``ckpt.latents_of`` of ``AutoencoderTiny``; for
    a small encoder those that differ from the small decoder's."""

    model: dict[str, Any]
    data: CodecData = field(default_factory=CodecData)
    ckpt: CodecCheckpointing = field(default_factory=CodecCheckpointing)
    run: CodecRun = field(default_factory=CodecRun)
    optimizer: AdamWSection = field(default_factory=lambda: AdamWSection(1.5e-3, 0.0, lr_warmup_steps=100))


# -- audio encoder ----------------------------------------------------------------------------------------------------


@dataclass
class AudioEncoderModel:
    """A Whisper encoder of 80 mel bands and 30 s: ``width`` of its states, attention heads and blocks."""

    width: int = 128
    heads: int = 4
    blocks: int = 2


@dataclass
class AudioEncoderData:
    """Sentences of drawn talkers, each by a voice of its own, and of whoever else speaks (``data.speech``); windows of
    30 s are filled with them."""

    train_output_dir: str = "output/audio_encoder"
    sentences: int = 600
    validation_sentences: int = 60
    sentence_seconds: float = 8.0
    batch_size: int = 4  # windows of 30 s
    num_val_samples: int = 16  # windows of 30 s
    seed: int = 5_000_000  # first seed of voices and sentences
    people: str | None = None  # folder with the GRID talker; none = no real person
    people_detector: str = "checkpoints/auxiliary"  # folder of what finds his face, YuNet and the face mesh
    recordings: str | None = None  # folder VOICE/NAME.wav with the English words in NAME.txt
    sentences_per_voice: int = 0  # said by each voice of flite, festival and espeak-ng that is installed
    # How often which kind comes, where there are others than drawn talkers.
    shares: dict[str, float] = field(
        default_factory=lambda: {
            "drawn": 0.1, "grid": 0.25, "recorded": 0.35, "flite": 0.1, "festival": 0.1, "espeak-ng": 0.1
        }
    )  # fmt: skip
    degraded: bool = False  # other throats, rooms, noise, music, lines, see data.speech.degradation
    num_workers: int = 0  # processes that make windows


@dataclass
class AudioEncoderRun:
    """Losses and length."""

    max_train_steps: int = 1500
    validation_steps: int = 250
    log_steps: int = 10
    seed: int = 1247
    tf32: bool = True  # products of float32 rounded to TF32 where the GPU knows it, see training.loop.precision
    mixed_precision: str = "no"  # or bf16, which CPUs with AVX512-BF16 or AMX compute faster
    mouth_loss_weight: float = 5.0  # of the mouth's shape beside the phone


@dataclass
class AudioEncoderRecipe:
    """An audio encoder's training file."""

    model: AudioEncoderModel = field(default_factory=AudioEncoderModel)
    data: AudioEncoderData = field(default_factory=AudioEncoderData)
    ckpt: SavingSection = field(default_factory=lambda: SavingSection(200))
    run: AudioEncoderRun = field(default_factory=AudioEncoderRun)
    optimizer: AdamWSection = field(default_factory=lambda: AdamWSection(2e-3, 0.01, lr_warmup_steps=50))


# -- video encoder ----------------------------------------------------------------------------------------------------


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
class VideoEncoderRun:
    """Length."""

    max_train_steps: int = 1000
    validation_steps: int = 100
    log_steps: int = 10
    seed: int = 1247
    tf32: bool = True  # products of float32 rounded to TF32 where the GPU knows it, see training.loop.precision


@dataclass
class VideoEncoderRecipe:
    """``model`` are the fields of ``models.videomae.VideoMAEConfig`` but ``num_classes``, which the task gives."""

    model: dict[str, int]
    data: VideoEncoderData = field(default_factory=VideoEncoderData)
    ckpt: SavingSection = field(default_factory=lambda: SavingSection(100))
    run: VideoEncoderRun = field(default_factory=VideoEncoderRun)
    optimizer: AdamWSection = field(default_factory=lambda: AdamWSection(2e-3, 0.01, lr_warmup_steps=40))
