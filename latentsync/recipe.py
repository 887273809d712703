"""The training configuration files: every key that a published one has, so that a user's own copy loads as it is.

Sections and names are the published ones. What a file leaves out has the value of the published stage-2 file of
release 1.6; paths have no default but neutral ones. Read with ``latentsync.config.load_config``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from latentsync.constants import AUDIO_RATE, MODEL_FPS, WINDOW_FRAMES
from latentsync.errors import ConfigError
from latentsync.types import SyncView

FPS = int(MODEL_FPS)  # the files give a whole number


@dataclass
class ClipShare:
    """A further place of clips and its share of the samples, in the unit of the other shares."""

    files: str = ""  # a folder of clips, a list with a path per line, or a manifest; none = the place is left out
    share: float = 1.0


@dataclass
class UNetData:
    """Where clips come from and how they are cut."""

    syncnet_config_path: str | None = "configs/syncnet/syncnet_16_pixel_attn.yaml"
    train_output_dir: str = "output/unet"
    train_fileslist: str | None = None  # a clip's path per line; goes before train_data_dir
    train_data_dir: str | None = None  # folder of clips
    audio_embeds_cache_dir: str | None = None
    audio_mel_cache_dir: str | None = None
    val_video_path: str | None = None
    val_audio_path: str | None = None
    batch_size: int = 1  # clips per device
    num_workers: int = 12
    num_frames: int = WINDOW_FRAMES  # F
    resolution: int = 256  # R, face side in pixels
    mask_image_path: str = "mask.png"  # see face.mask.load_mask
    audio_sample_rate: int = AUDIO_RATE
    video_fps: int = FPS
    audio_feat_length: list[int] = field(default_factory=lambda: [2, 2])  # frames of audio before and after its own
    # not in the published files
    val_fileslist: str | None = None
    val_data_dir: str | None = None
    val_detector: str = "auto"  # finds the face in val_video_path; or a file of faces, see face.detections_file
    validation_share: float = 0.05  # of the sources, where no validation clips are named
    num_val_samples: int = 64  # windows that every validation looks at
    gradient_accumulation_steps: int = 1
    cache_latents: bool = False  # encode every clip once instead of three windows per sample and step
    # Share of the samples whose reference is one frame over and over, as in a dub with built-in models; none = 0.
    steady_reference: float | None = None
    talkers: TalkerData | None = None
    clips_share: float | None = None  # of the samples: these clips, against the shares of more_clips; none = 1
    more_clips: dict[str, ClipShare] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_rates(self.audio_sample_rate, self.video_fps)
        if self.audio_feat_length != [2, 2]:
            raise ConfigError(
                f"data.audio_feat_length is {self.audio_feat_length}; only [2, 2] is supported.",
                remedy="Every published network was trained with two frames before and two after.",
            )


@dataclass
class UNetCheckpointing:
    """What training starts from and how often it saves. A run that was ended goes on by itself from its own folder."""

    resume_ckpt_path: str | None = "checkpoints/latentsync_unet.pt"
    save_ckpt_steps: int = 10_000
    keep_checkpoints: int = 3  # not in the published files


@dataclass
class UNetRun:
    """Losses, noise and length of the training."""

    pixel_space_supervise: bool = True
    use_syncnet: bool = True
    sync_loss_weight: float = 0.05
    perceptual_loss_weight: float = 0.1
    recon_loss_weight: float = 1.0
    guidance_scale: float = 1.5  # of the frames that validations generate
    trepa_loss_weight: float = 10.0
    inference_steps: int = 20  # of the same
    trainable_modules: list[str] | None = None  # substrings of parameter names; none = all
    seed: int = 1247
    use_mixed_noise: bool = True
    mixed_noise_alpha: float = 1.0  # ratio of the noise that frames share to the noise of their own
    mixed_precision_training: bool = True
    enable_gradient_checkpointing: bool | str = "auto"  # where memory asks for it; published: true, same gradients
    max_train_steps: int = 10_000_000
    max_train_epochs: int = -1  # -1 = no limit
    # not in the published files; the defaults are what the published code does
    mixed_precision: str = "fp16"  # or bf16; a CPU trains in float32, or in bf16 if it has that and is asked to
    tf32: bool = True  # products of float32 rounded to TF32 where the GPU knows it, see training.loop.precision
    sharded: bool = False  # weights, gradients and optimiser sharded over the processes (FSDP)
    compile: bool = False  # the network compiled by torch.compile
    loss_levels: str = "uniform"  # of the losses on the one-step estimate, see diffusion.noise
    recon_levels: str = "uniform"  # of the reconstruction loss, likewise
    kept_area_weight: float = 1.0  # of latents outside the mask's hole in the reconstruction loss
    movement_loss_weight: float = 0.0  # of the changes between frames in latent space
    audio_dropout: float = 0.0  # share of the clips without audio, which guidance contrasts with (arXiv 2207.12598)
    ema_decay: float = 0.0  # of the averaged weights that are validated and exported; 0 = no average
    log_steps: int = 10
    validation_steps: int = 10_000
    stop_if_worse: bool = False  # end a run that is worse than its start weights, see training.unet.alarm

    def __post_init__(self) -> None:
        if isinstance(self.enable_gradient_checkpointing, str) and self.enable_gradient_checkpointing != "auto":
            raise ConfigError(
                f"run.enable_gradient_checkpointing is {self.enable_gradient_checkpointing!r}.",
                remedy="Choose true, false or auto.",
            )
        _require_precision(self.mixed_precision)
        if self.compile and self.sharded:
            raise ConfigError(
                "run.compile and run.sharded are both true, but a network is compiled as a whole and sharded by "
                "layers.",
                remedy="Set one of them to false.",
            )


@dataclass
class UNetNetworks:
    """The frozen networks around the U-Net; none of these keys is in the published files."""

    codec: str = "checkpoints/vae"
    audio_encoder: str | None = None  # none = the Whisper that goes with model.cross_attention_dim
    vgg: str = "checkpoints/auxiliary/vgg16-397923af.pth"  # of the perceptual loss
    videomae: str = "checkpoints/auxiliary/vit_g_hybrid_pt_1200e_ssv2_ft.pth"  # of the temporal loss
    videomae_model: dict[str, int] = field(default_factory=dict)  # where it differs from the published encoder


@dataclass
class UNetOptimizer:
    """AdamW and its learning rate."""

    lr: float = 1e-5
    scale_lr: bool = False  # times the number of devices
    max_grad_norm: float = 1.0
    lr_scheduler: str = "constant"
    lr_warmup_steps: int = 0
    weight_decay: float = 0.01  # not in the published files


@dataclass
class StudentSection:
    """Distillation of a trained U-Net into one of few steps (training.student)."""

    teacher: str = "checkpoints/latentsync_unet.pt"  # whose architecture and start weights the student has
    base: str = ""  # fingerprint of that file, filled in by the run: it goes on with the same one only
    guidance: float = 1.5  # scale of the guidance that the student learns, so that it needs none
    timesteps: list[int] = field(default_factory=lambda: [951, 451])  # of its schedule, the noisiest first
    levels: int = 20  # noise levels, evenly up to the schedule's first; the teacher steps from one to the next
    schedule_share: float = 0.0  # of the clips that are at a level of the schedule; the others at any
    consistency_weight: float = 1.0
    rank: int = 0  # of low-rank changes, which are trained in place of all weights and merged into them; 0 = none
    alpha: int = 64  # the changes are multiplied by alpha / rank

    def __post_init__(self) -> None:
        _require_counts("student", self, ("levels", "alpha"))
        if not 0 <= self.schedule_share <= 1:
            raise ConfigError(
                f"student.schedule_share is {self.schedule_share}.", remedy="A share is a number from 0 to 1."
            )


@dataclass
class UNetRecipe:
    """A U-Net training file. ``model`` goes to ``UNetConfig.from_dict``; with ``student`` it is the teacher's."""

    model: dict[str, Any]
    data: UNetData = field(default_factory=UNetData)
    ckpt: UNetCheckpointing = field(default_factory=UNetCheckpointing)
    run: UNetRun = field(default_factory=UNetRun)
    optimizer: UNetOptimizer = field(default_factory=UNetOptimizer)
    networks: UNetNetworks = field(default_factory=UNetNetworks)
    student: StudentSection | None = None  # none = a U-Net as published is trained


@dataclass
class AdapterSection:
    """What is changed of the U-Net, and when the training ends. ``base``, ``consent`` and ``videos`` go on the card."""

    rank: int = 32
    alpha: int = 32  # the changes are multiplied by alpha / rank
    patience: int = 5  # validations in a row that are no better, after which the training ends
    max_minutes: float | None = None  # of training, after which it ends in any case
    base: str = ""  # fingerprint of the U-Net
    consent: str = ""  # who allowed to imitate the person, when and for what
    videos: str = ""  # whence the videos are


@dataclass
class AdapterRecipe(UNetRecipe):
    """The training of an adapter on the U-Net ``ckpt.resume_ckpt_path`` (configs/adapter.yaml)."""

    adapter: AdapterSection = field(default_factory=AdapterSection)


@dataclass
class SyncNetNegatives:
    """Which audio does not fit a window of frames; see ``data.negatives.NegativeRule``. Published: 1, 1, 0, 0, 1."""

    min_distance: int = 5  # frames
    far_distance: int = 5  # frames, at the start of the training
    curriculum_steps: int = 0
    other_clip_share: float = 0.25
    windows_per_clip: int = 1  # 2 or more: so many from each clip, and all frames of a batch against all its audio


@dataclass
class TalkerData:
    """Synthetic clips that the training makes for itself where no others are named. The shares are of the training
    clips; see data.talkers.hard_cases."""

    train_clips: int = 120
    validation_clips: int = 30  # other people, other sentences
    seconds: float = 6.0  # length of a clip
    seed: int = 0
    covered_share: float | None = None  # in which a hand or a thing is before the mouth for a while; none = 0
    turned_share: float | None = None  # in which the head turns far and back; none = 0

    def __post_init__(self) -> None:
        if not all(0 <= (share or 0) <= 1 for share in (self.covered_share, self.turned_share)):
            raise ConfigError(
                f"data.talkers.covered_share is {self.covered_share}, turned_share {self.turned_share}.",
                remedy="A share is a number from 0 to 1.",
            )


@dataclass
class SyncNetData:
    """Where clips come from and what the two encoders are given."""

    train_output_dir: str = "output/syncnet"
    num_val_samples: int = 2048
    batch_size: int = 256  # clips per device
    gradient_accumulation_steps: int = 1
    num_workers: int = 12
    latent_space: bool = False  # whether the visual encoder is given latents
    num_frames: int = WINDOW_FRAMES
    resolution: int = 256
    lower_half: bool = True  # whether the visual encoder is given only the lower half of the face
    audio_sample_rate: int = AUDIO_RATE
    video_fps: int = FPS
    train_fileslist: str | None = None
    val_fileslist: str | None = None
    audio_mel_cache_dir: str | None = None
    train_data_dir: str | None = None
    val_data_dir: str | None = None
    # not in the published files
    validation_share: float = 0.05  # of the sources, where no validation clips are named
    negatives: SyncNetNegatives = field(default_factory=SyncNetNegatives)
    color_jitter: float = 0.0  # strength of other light on training frames, see data.syncnet_dataset.jitter_colors
    shuffled_sound: bool = False  # control experiment: no audio fits, accuracy must stay at one half
    codec_path: str = "checkpoints/vae"  # of the latents, if latent_space
    cache_latents: bool = False  # encode every clip once instead of every window that is looked at
    talkers: TalkerData | None = None
    clips_share: float | None = None  # of the samples: these clips, against the shares of more_clips; none = 1
    more_clips: dict[str, ClipShare] = field(default_factory=dict)
    frame_cache_gib: float = 0.0  # memory for decoded clips, per process; for small data sets

    @property
    def view(self) -> SyncView:
        """What the network looks at."""
        return SyncView(
            self.num_frames, self.resolution, self.lower_half, Fraction(self.video_fps), latent=self.latent_space
        )

    def __post_init__(self) -> None:
        _require_rates(self.audio_sample_rate, self.video_fps)
        _require_counts("data", self, ("num_val_samples", "batch_size", "gradient_accumulation_steps", "num_frames"))
        if self.color_jitter < 0 or (self.color_jitter and self.cache_latents):
            raise ConfigError(
                f"data.color_jitter is {self.color_jitter}.",
                remedy="It is 0 or more, and 0 where latents are cached, since those are of the frames as they are.",
            )
        if self.cache_latents and not self.latent_space:
            raise ConfigError(
                "data.cache_latents is true, but data.latent_space is not.",
                remedy="A network on pixels has no latents to keep; data.frame_cache_gib keeps its frames.",
            )


@dataclass
class SyncNetCheckpointing:
    """What training starts from, what evaluation reads, and how often training saves; going on as in U-Net training."""

    resume_ckpt_path: str | None = None
    inference_ckpt_path: str | None = "checkpoints/stable_syncnet.pt"
    save_ckpt_steps: int = 2500
    keep_checkpoints: int = 3

    def __post_init__(self) -> None:
        _require_counts("ckpt", self, ("save_ckpt_steps", "keep_checkpoints"))


@dataclass
class SyncNetOptimizer:
    """How gradients become steps."""

    lr: float = 1e-5
    max_grad_norm: float = 1.0
    # not in the published files
    name: str = "adamw"  # or muon, see training.loop.optimizers
    weight_decay: float = 0.01
    lr_scheduler: str = "constant"
    lr_warmup_steps: int = 0


@dataclass
class SyncNetRun:
    """Length and validation of the training."""

    max_train_steps: int = 10_000_000
    validation_steps: int = 2500
    mixed_precision_training: bool = True
    seed: int = 42
    # not in the published files
    mixed_precision: str = "fp16"  # or bf16; a CPU trains in float32, or in bf16 if it has that and is asked to
    tf32: bool = True  # products of float32 rounded to TF32 where the GPU knows it, see training.loop.precision
    compile: bool = False  # the network compiled by torch.compile
    log_steps: int = 10
    # With data.negatives.windows_per_clip of 2 or more, see training.syncnet.objective:
    positive_share: float = 0.5  # of the loss
    contrastive_weight: float = 0.0  # of the contrastive loss at the first step
    contrastive_steps: int = 0  # in which that weight sinks to 0
    contrastive_temperature: float = 0.05
    alarm_steps: int = 2000  # after which a loss at chance level is an alarm
    offset_syncnet_path: str | None = None  # trained sync network that checks the clips' A/V offsets before training

    def __post_init__(self) -> None:
        _require_counts("run", self, ("max_train_steps", "validation_steps", "log_steps", "alarm_steps"))
        _require_precision(self.mixed_precision)
        if self.contrastive_temperature <= 0 or not 0 < self.positive_share < 1:
            raise ConfigError(
                f"run.contrastive_temperature is {self.contrastive_temperature}, run.positive_share "
                f"{self.positive_share}.",
                remedy="The first is above 0, the second between 0 and 1.",
            )
        if self.contrastive_steps < 0 or self.contrastive_weight < 0:
            raise ConfigError(
                f"run.contrastive_steps is {self.contrastive_steps}, run.contrastive_weight {self.contrastive_weight}.",
                remedy="Neither can be below 0.",
            )


@dataclass
class SyncNetRecipe:
    """A sync-network training file. ``model`` goes to ``SyncNetConfig.from_dict``."""

    model: dict[str, Any]
    data: SyncNetData = field(default_factory=SyncNetData)
    ckpt: SyncNetCheckpointing = field(default_factory=SyncNetCheckpointing)
    run: SyncNetRun = field(default_factory=SyncNetRun)
    optimizer: SyncNetOptimizer = field(default_factory=SyncNetOptimizer)

    def __post_init__(self) -> None:
        if (self.run.contrastive_steps or self.run.positive_share != 0.5) and self.data.negatives.windows_per_clip < 2:
            raise ConfigError(
                "run.contrastive_steps or run.positive_share is set, but data.negatives.windows_per_clip is 1.",
                remedy="Both are about all pairs of a batch: give windows_per_clip 2 or more.",
            )


def _require_precision(name: str) -> None:
    if name not in ("fp16", "bf16"):
        raise ConfigError(
            f"run.mixed_precision is {name!r}.",
            remedy="Choose fp16 or bf16, or set run.mixed_precision_training to false for float32.",
        )


def _require_counts(section: str, settings: object, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(settings, name) < 1:
            raise ConfigError(
                f"{section}.{name} is {getattr(settings, name)}.", remedy="It counts something: give at least 1."
            )


def _require_rates(audio_sample_rate: int, video_fps: int) -> None:
    if (audio_sample_rate, video_fps) != (AUDIO_RATE, FPS):
        raise ConfigError(
            f"data.audio_sample_rate is {audio_sample_rate} and data.video_fps {video_fps}.",
            remedy=f"Every network here takes {AUDIO_RATE} audio samples and {FPS} frames a second.",
        )
