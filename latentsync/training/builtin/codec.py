"""Training a small latent codec, a variational autoencoder as Stable Diffusion's (arXiv 2112.10752, section 3.1)."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.utils.data import DataLoader

from latentsync.checkpoint import load_codec, save_codec
from latentsync.data.clip_dataset import SampleKey
from latentsync.data.clip_reader import FrameReader
from latentsync.data.image_dataset import ImageBatch, ImageDataset
from latentsync.errors import ConfigError
from latentsync.face.mask import load_mask
from latentsync.levels import normalize
from latentsync.losses.reconstruction import image_loss, kl_divergence
from latentsync.training.builtin.codec_recipe import CodecRecipe
from latentsync.training.builtin.latent_scale import LatentMoments, standardised
from latentsync.training.loop.charts import Curve, Panel
from latentsync.training.loop.ema import EMA
from latentsync.training.loop.learning_rate import LearningRate
from latentsync.training.loop.metrics_log import Row
from latentsync.training.loop.run_clips import RunClips, find_clips
from latentsync.training.loop.run_folder import check_run_folder, claim_run_folder
from latentsync.training.loop.task import LoopSettings
from latentsync.training.loop.trainer import Outcome, Trainer

log = logging.getLogger(__name__)

MAY_CHANGE = (
    "run.max_train_steps", "run.validation_steps", "run.log_steps", "data.num_val_samples", "data.num_workers",
    "data.frame_cache_gib", "data.train_output_dir", "ckpt",
)  # fmt: skip

START_LOG_VARIANCE = -6.0  # of the latents, a deviation of 0.05


class TrainedCodec(nn.Module):
    """An autoencoder as the loop calls it: pictures in, pictures and the latents' distribution out."""

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, R, R) in [-1, 1] -> the same restored, and mean and log variance (N, C, h, w) of the latents.

        In training the decoder sees a draw of them, else their mean.
        """
        posterior = self.autoencoder.encode(pixels).latent_dist
        latents = posterior.sample() if self.training else posterior.mean
        return self.autoencoder.decode(latents).sample, posterior.mean, posterior.logvar


class CodecTask:
    """What the loop trains (``task.Task``). The averaged weights are validated and exported."""

    def __init__(self, recipe: CodecRecipe, clips: RunClips, network: TrainedCodec, average: EMA) -> None:
        data, run = recipe.data, recipe.run
        self.network = network
        reader = FrameReader(int(data.frame_cache_gib * 2**30))
        self.dataset = ImageDataset(clips.train, reader, data.resolution, run.seed)
        self.collate = self.dataset.collate
        self._validation = ImageDataset(clips.validation, reader, data.resolution, run.seed + 1)
        self._recipe = recipe
        self._average = average
        self._hole = 1 - torch.from_numpy(load_mask(data.mask_image_path, data.resolution))
        focus = 1 - torch.from_numpy(load_mask(data.focus_image_path, data.resolution))
        weight = run.kept_area_weight + (1 - run.kept_area_weight) * self._hole
        self._weight = weight + (run.focus_weight - 1) * focus

    def loss(self, network: nn.Module, batch: ImageBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``Task.loss``."""
        pixels = normalize(batch.images)
        restored, mean, log_variance = network(pixels)
        run = self._recipe.run
        picture = image_loss(restored, pixels, self._weight.to(pixels.device), run.edge_loss_weight)
        divergence = kl_divergence(mean, log_variance)
        return picture + run.divergence_weight * divergence, {
            "picture": picture.detach(),
            "divergence": divergence.detach(),
        }

    def validate(self, accelerator: Accelerator, step: int) -> dict[str, float]:
        """Signal to noise (dB) of the same pictures every time, in the whole of them and in the mask's hole."""
        data = self._recipe.data
        own = range(accelerator.process_index, data.num_val_samples, accelerator.num_processes)
        rows = []
        with self._average.applied():
            for pixels in self._validation_pictures(own, accelerator.device):
                restored = self.network(pixels)[0]
                error = (restored.clamp(-1, 1) - pixels).square()
                hole = self._hole.to(error.device).expand_as(error)
                inside = (error * hole).sum(dim=(1, 2, 3)) / hole.sum(dim=(1, 2, 3))
                rows += zip(_psnr(error.mean(dim=(1, 2, 3))), _psnr(inside), strict=True)
        whole, inside = (sum(column) / len(column) for column in zip(*gather_object(rows), strict=True))
        return {"score": inside, "psnr": whole, "psnr_in_mask": inside}

    def panels(self, rows: Mapping[str, list[Row]]) -> list[Panel]:
        """The loss of training and the signal to noise of validation."""
        train, validation = rows["train"], rows["validation"]
        steps = [row["step"] for row in validation]
        named = {"whole picture": "psnr", "in the mask": "psnr_in_mask"}
        return [
            Panel("loss", [Curve("train", [r["step"] for r in train], [r["loss"] for r in train], noisy=True)]),
            Panel("PSNR, dB", [Curve(label, steps, [r[key] for r in validation]) for label, key in named.items()]),
        ]

    def export(self, path: Path, step: int) -> None:
        """Write a diffusers folder, ``path`` without its suffix, whose latents have mean 0 and deviation 1."""
        autoencoder, folder = self.network.autoencoder, path.with_suffix("")
        with self._average.applied(), torch.no_grad():
            if self._recipe.ckpt.resume_ckpt_path:  # has such latents already, and they must stay the same
                save_codec(folder, autoencoder)
                return
            pictures = self._validation_pictures(range(self._recipe.data.num_val_samples), autoencoder.device)
            latents = torch.cat([autoencoder.encode(pixels).latent_dist.mean for pixels in pictures])
            save_codec(folder, standardised(autoencoder, LatentMoments.of(latents)))

    def watch(self, step: int, rows: Mapping[str, list[Row]]) -> None:
        """Nothing to watch."""

    def _validation_pictures(self, numbers: range, device: torch.device) -> Iterator[Tensor]:
        """Batches (N, 3, R, R) in [-1, 1]."""
        places = len(self._validation)
        loader = DataLoader(
            self._validation,
            sampler=[SampleKey(number // places, number % places) for number in numbers],
            batch_size=self._recipe.data.batch_size,
            collate_fn=self._validation.collate,
            generator=torch.Generator(),
        )
        for batch in loader:
            yield normalize(batch.images.to(device))


def run_folder(recipe: CodecRecipe, name: str) -> Path:
    """Where the run ``name`` of this configuration lives."""
    return Path(recipe.data.train_output_dir) / name


def train_codec(recipe: CodecRecipe, name: str) -> Outcome:
    """Train, or go on training, in ``<train_output_dir>/<name>``. ``weights/best`` is what ``load_codec`` reads.

    Raises ``ConfigError``, ``DataError`` if there is nothing to train on, ``TrainingError``, and the ``WeightsError``
    family for a codec to start from.
    """
    folder = run_folder(recipe, name)
    check_run_folder(folder, recipe, MAY_CHANGE)
    on_cpu = not torch.accelerator.is_available()
    accelerator = Accelerator(cpu=on_cpu, mixed_precision="no")
    set_seed(recipe.run.seed)
    network = TrainedCodec(_build(recipe)).to(accelerator.device, memory_format=torch.channels_last)
    with accelerator.main_process_first():
        clips = find_clips(recipe.data, 1, Path(recipe.data.train_output_dir) / "cache")
    if accelerator.is_main_process:
        claim_run_folder(folder, recipe)
        clips.write_report(folder / "clips.json")
        log.info("%s", clips.summary())
    average = EMA([p for p in network.parameters() if p.requires_grad], recipe.run.ema_decay)
    task = CodecTask(recipe, clips, network, average)
    return Trainer(task, _loop_settings(recipe), folder, accelerator, average).run()


def _build(recipe: CodecRecipe) -> AutoencoderKL:
    """A fresh autoencoder, or the one to go on from with its encoder frozen."""
    if recipe.ckpt.resume_ckpt_path:
        autoencoder = load_codec(recipe.ckpt.resume_ckpt_path).autoencoder.requires_grad_(True)
        autoencoder.encoder.requires_grad_(False)
        autoencoder.quant_conv.requires_grad_(False)
        return autoencoder
    try:
        autoencoder = AutoencoderKL(**recipe.model)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"model: describes no codec: {error}.", remedy="Its keys are the arguments of diffusers' AutoencoderKL."
        ) from error
    with torch.no_grad():  # little noise: the usual start would drown the latents in it
        autoencoder.quant_conv.bias[autoencoder.config.latent_channels :] = START_LOG_VARIANCE
    return autoencoder


def _loop_settings(recipe: CodecRecipe) -> LoopSettings:
    data, run, optimizer = recipe.data, recipe.run, recipe.optimizer
    rate = LearningRate(optimizer.lr, optimizer.lr_scheduler, optimizer.lr_warmup_steps, run.max_train_steps)
    return LoopSettings(
        max_steps=run.max_train_steps,
        batch_size=data.batch_size,
        learning_rate=rate,
        max_grad_norm=optimizer.max_grad_norm,
        weight_decay=optimizer.weight_decay,
        num_workers=data.num_workers,
        seed=run.seed,
        log_steps=run.log_steps,
        validation_steps=run.validation_steps,
        save_steps=recipe.ckpt.save_ckpt_steps,
        keep_checkpoints=recipe.ckpt.keep_checkpoints,
    )


def _psnr(squared_error: Tensor) -> list[float]:
    """dB of mean squared errors (N,) of pictures in [-1, 1], whose range is 2."""
    return [10 * math.log10(4 / max(value, 1e-12)) for value in squared_error.tolist()]
