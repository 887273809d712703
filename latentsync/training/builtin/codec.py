"""Training a small latent codec, a variational autoencoder as Stable Diffusion's (arXiv 2112.10752, section 3.1).

N images · R face side · C latent channels · h, w latent cells
"""

from __future__ import annotations

import copy
import logging
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers.models import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn

from latentsync.checkpoint import WeightsCard, latent_signature, load_codec, save_codec
from latentsync.data.image_dataset import ImageBatch, collate_images
from latentsync.errors import ConfigError
from latentsync.face.mask import load_mask
from latentsync.levels import normalize, to_image
from latentsync.losses.adversarial import adaptive_factor, adversarial_loss, discriminator_loss, feature_loss
from latentsync.losses.reconstruction import image_loss, kl_divergence
from latentsync.metrics.sharpness import laplacian_variance
from latentsync.models.codec import KL_SCALE, LatentCodec
from latentsync.models.discriminator import Frozen, PatchDiscriminator
from latentsync.training.builtin.images import CodecImages
from latentsync.training.builtin.recipes import CodecRecipe
from latentsync.training.loop.charts import Curve, Panel
from latentsync.training.loop.ema import EMA
from latentsync.training.loop.run import loop_settings, open_run
from latentsync.training.loop.task import Row
from latentsync.training.loop.trainer import Trainer, TrainingResult
from latentsync.training.loop.validation import rows_of_all

logger = logging.getLogger(__name__)

MAY_CHANGE = (
    "run.max_train_steps", "run.validation_steps", "run.log_steps", "run.tf32", "data.num_val_samples",
    "run.adversarial_start", "run.adversarial_warmup",
    "data.num_workers", "data.frame_cache_gib", "data.train_output_dir", "ckpt",
)  # fmt: skip

SHARP_ENOUGH = 0.8  # of the true mouth's sharpness
DECIBELS_PER_SHARPNESS = 10.0  # what a lack of it costs the score of a validation: a sharp image has a larger error
START_LOG_VARIANCE = -6.0  # of the latents, a standard deviation of 0.05


class TrainedCodec(nn.Module):
    """An autoencoder as the loop calls it: images in, their reconstruction and the latents' distribution out. The
    ``discriminator``, if there is one, is trained beside it. ``source``: a frozen codec whose latents are decoded."""

    def __init__(
        self,
        autoencoder: AutoencoderKL | AutoencoderTiny,
        discriminator: PatchDiscriminator | None = None,
        source: LatentCodec | None = None,
    ) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.discriminator = discriminator
        self.source = source

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, R, R) in [-1, 1] -> the reconstruction, and mean and log variance (N, C, h, w) of the latents.

        In training the decoder sees a draw of them, else their mean.
        """
        if self.source is not None:
            with torch.no_grad():
                mean, std = self.source.posterior(pixels)
            latents = mean + std * torch.randn_like(std) if self.training else mean
            return self.autoencoder.decode(latents).sample, mean, 2 * std.clamp_min(1e-6).log()
        posterior = self.autoencoder.encode(pixels).latent_dist
        latents = posterior.sample() if self.training else posterior.mean
        return self.autoencoder.decode(latents).sample, posterior.mean, posterior.logvar

    @property
    def last_weight(self) -> Tensor:
        """Of the decoder's last convolution."""
        return [parameter for parameter in self.autoencoder.decoder.parameters() if parameter.ndim == 4][-1]


class CodecTask:
    """What the loop trains (``loop.task.Task``). The EMA is validated and exported."""

    def __init__(
        self,
        recipe: CodecRecipe,
        images: CodecImages,
        network: TrainedCodec,
        ema: EMA,
    ) -> None:
        data, run = recipe.data, recipe.run
        self.network = network
        self.dataset = images.train
        self.collate = collate_images
        self._images = images
        self._recipe = recipe
        self._ema = ema
        hole = 1 - torch.from_numpy(load_mask(data.mask_image_path, data.resolution))
        focus = 1 - torch.from_numpy(load_mask(data.focus_image_path, data.resolution))
        weight = run.kept_area_weight + (1 - run.kept_area_weight) * hole + (run.focus_weight - 1) * focus
        device = network.autoencoder.device
        self._hole, self._weight, self._focus = hole.to(device), weight.to(device), focus[0].numpy()

    def loss(self, network: nn.Module, batch: ImageBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``Task.loss``."""
        pixels = normalize(batch.images)
        reconstruction, mean, log_variance = network(pixels)
        run = self._recipe.run
        image = image_loss(reconstruction, pixels, self._weight, run.edge_loss_weight)
        kl = kl_divergence(mean, log_variance)
        figures = {"picture": image.detach(), "divergence": kl.detach()}  # names of columns that older runs have
        total = image + run.divergence_weight * kl
        if self.network.discriminator is None:
            return total, figures
        judged, verdicts = self._judge(self.network.discriminator, pixels, reconstruction, image, batch.step)
        return total + judged, figures | verdicts

    def _judge(
        self, discriminator: PatchDiscriminator, pixels: Tensor, decoded: Tensor, image: Tensor, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The losses of both sides of the contest in one: the discriminator's, which sends no gradient to the codec,
        and the codec's, for which the discriminator is a constant. So one optimizer moves both at once."""
        run = self._recipe.run
        both = discriminator(torch.cat([pixels, decoded.detach()]))
        real, fake = both.scores.chunk(2)
        contest = discriminator_loss(real, fake, self._weight)
        with Frozen(discriminator):
            seen = discriminator(decoded)
        adversarial = adversarial_loss(seen.scores, self._weight)
        features = feature_loss([layer.chunk(2)[0] for layer in both.features], seen.features, self._weight)
        factor = adaptive_factor(image, adversarial, self.network.last_weight)
        part = min(1.0, max(0.0, (step - run.adversarial_start) / max(1, run.adversarial_warmup)))
        total = contest + part * (run.adversarial_weight * factor * adversarial + run.feature_weight * features)
        figures = {"discriminator": contest, "adversarial": adversarial, "features": features, "factor": factor}
        return total, {name: value.detach() for name, value in figures.items()}

    def validate(self, accelerator: Accelerator, step: int) -> dict[str, float]:
        """Of the same images every time: signal to noise (dB), in the whole of them and in the mask's hole, and the
        sharpness of the mouth over the true one's.

        The score is the signal to noise in the hole, less what the mouth lacks of ``SHARP_ENOUGH``.
        """
        data = self._recipe.data
        own = range(accelerator.process_index, data.num_val_samples, accelerator.num_processes)

        def score(batch_size: int) -> list[tuple[float, float, float]]:
            """PSNR of every image, whole and inside the hole, and the sharpness."""
            rows: list[tuple[float, float, float]] = []
            for pixels in self._images.validation_batches(own, batch_size, self._weight.device):
                reconstruction = self.network(pixels)[0].clamp(-1, 1)
                error = (reconstruction - pixels).square()
                hole = self._hole.expand_as(error)
                inside = (error * hole).sum(dim=(1, 2, 3)) / hole.sum(dim=(1, 2, 3))
                sharpness = map(self._sharpness, _images(reconstruction), _images(pixels))
                rows += zip(_psnr(error.mean(dim=(1, 2, 3))), _psnr(inside), sharpness, strict=True)
            return rows

        with self._ema.applied():
            rows = rows_of_all(accelerator, score, data.batch_size)
        whole, inside = (sum(column) / len(column) for column in list(zip(*rows, strict=True))[:2])
        sharpness = statistics.median(row[2] for row in rows)
        lacking = max(0.0, SHARP_ENOUGH - sharpness) if self.network.discriminator is not None else 0.0
        figures = {"psnr": whole, "psnr_in_mask": inside, "sharpness": sharpness}
        return {"score": inside - DECIBELS_PER_SHARPNESS * lacking, **figures}

    def _sharpness(self, reconstruction: np.ndarray, truth: np.ndarray) -> float:
        """Of the mouth of an image (R, R, 3) uint8 over the true one's."""
        mouth = self._focus > 0.5
        return laplacian_variance(reconstruction, mouth) / max(laplacian_variance(truth, mouth), 1e-6)

    def panels(self, rows: Mapping[str, list[Row]]) -> list[Panel]:
        """The loss of training and the signal to noise of validation."""
        train, validation = rows["train"], rows["validation"]
        steps = [row["step"] for row in validation]
        named = {"whole image": "psnr", "in the mask": "psnr_in_mask"}
        return [
            Panel("loss", [Curve("train", [r["step"] for r in train], [r["loss"] for r in train], noisy=True)]),
            Panel("PSNR, dB", [Curve(label, steps, [r[key] for r in validation]) for label, key in named.items()]),
            Panel("sharpness of the mouth", [Curve("over the true one", steps, [r["sharpness"] for r in validation])]),
        ]

    def export(self, path: Path, step: int) -> None:
        """Write a diffusers folder, ``path`` without its suffix, whose latents have mean 0 and standard deviation 1."""
        autoencoder, folder, ckpt = self.network.autoencoder, path.with_suffix(""), self._recipe.ckpt
        with self._ema.applied(), torch.no_grad():
            if self.network.source is not None:
                resolution, latents = self._recipe.data.resolution, latent_signature(self.network.source)
                card = WeightsCard("codec", resolution=resolution, latents=latents, global_step=step)
                # One that began anew has an encoder that was never trained.
                save_codec(folder, autoencoder, card, None if ckpt.resume_ckpt_path else ckpt.latents_of)
                return
            if ckpt.resume_ckpt_path or not isinstance(autoencoder, AutoencoderKL):  # latents that must stay
                save_codec(folder, autoencoder)
                return
            data = self._recipe.data
            images = self._images.validation_batches(range(data.num_val_samples), data.batch_size, self._weight.device)
            latents = torch.cat([autoencoder.encode(pixels).latent_dist.mean for pixels in images])
            save_codec(folder, standardize(autoencoder, LatentMoments.of(latents)))

    def watch(self, step: int, rows: Mapping[str, list[Row]]) -> None:
        """Nothing to watch."""


def train_codec(recipe: CodecRecipe, name: str) -> TrainingResult:
    """Train, or go on training, in ``<train_output_dir>/<name>``. ``weights/best`` is what ``load_codec`` reads.

    Raises ``ConfigError``, ``DataError`` if there is nothing to train on, ``TrainingError``, and the ``WeightsError``
    family for a codec to start from.
    """
    run = open_run(recipe, name, MAY_CHANGE, mixed_precision=recipe.run.mixed_precision)
    set_seed(recipe.run.seed)
    device, wanted = run.accelerator.device, recipe.run
    judged = wanted.adversarial_weight or wanted.feature_weight
    judge = PatchDiscriminator(wanted.discriminator_width) if judged else None
    source = None if recipe.ckpt.latents_of is None else load_codec(recipe.ckpt.latents_of).requires_grad_(False)
    network = TrainedCodec(_build(recipe), judge, source).to(device).to(memory_format=torch.channels_last)
    images = CodecImages.find(recipe, run)
    ema = EMA([p for p in network.autoencoder.parameters() if p.requires_grad], recipe.run.ema_decay)
    task = CodecTask(recipe, images, network, ema)
    settings = loop_settings(recipe, num_workers=recipe.data.num_workers)
    return Trainer(task, settings, run.folder, run.accelerator, ema).run()


def _build(recipe: CodecRecipe) -> AutoencoderKL | AutoencoderTiny:
    """A fresh autoencoder, or the one to go on from, whose encoder is frozen as that of a decoder for other latents.
    Raises ``ConfigError`` for a model block that describes none, and for an autoencoder that cannot go on alone."""
    kind = AutoencoderKL if recipe.ckpt.latents_of is None else AutoencoderTiny
    if recipe.ckpt.resume_ckpt_path:
        found = load_codec(recipe.ckpt.resume_ckpt_path).autoencoder
        if isinstance(found, AutoencoderTiny) and recipe.ckpt.latents_of is None:
            raise ConfigError(
                f"{recipe.ckpt.resume_ckpt_path} is an AutoencoderTiny, but ckpt.latents_of names no codec.",
                remedy="Name the codec whose latents its decoder is to read, such as checkpoints/vae.",
            )
        return _with_frozen_encoder(found)
    try:
        autoencoder = kind(**recipe.model)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"model: describes no codec: {error}.", remedy=f"Its keys are the arguments of diffusers' {kind.__name__}."
        ) from error
    if isinstance(autoencoder, AutoencoderTiny):
        return _with_frozen_encoder(autoencoder)
    with torch.no_grad():  # little noise: the usual start would drown the latents in it
        autoencoder.quant_conv.bias[autoencoder.config.latent_channels :] = START_LOG_VARIANCE
    return autoencoder


def _with_frozen_encoder(autoencoder: AutoencoderKL | AutoencoderTiny) -> AutoencoderKL | AutoencoderTiny:
    autoencoder.requires_grad_(True)
    autoencoder.encoder.requires_grad_(False)
    if isinstance(autoencoder, AutoencoderKL):
        autoencoder.quant_conv.requires_grad_(False)
    return autoencoder


@dataclass(frozen=True, slots=True)
class LatentMoments:
    """``mean`` and ``std`` (C,) of an autoencoder's latents over many images."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, latents: Tensor) -> LatentMoments:
        """Of latents (N, C, h, w)."""
        return cls(latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)).clamp_min(1e-6))


@torch.no_grad()
def standardize(autoencoder: AutoencoderKL, moments: LatentMoments) -> AutoencoderKL:
    """A copy that gives the same images back, with latents that have mean 0 and standard deviation 1 in each channel
    **after** ``LatentCodec`` has scaled them by Stable Diffusion's factor: what the noise schedule is made for, without
    a change to any loader.

    The change is linear in each channel, so the 1 x 1 convolutions at the border of the latents take it in.
    """
    result = copy.deepcopy(autoencoder)
    mean = moments.mean.to(result.device)
    factor = (1 / KL_SCALE) / moments.std.to(result.device)
    (into, into_bias), (out, out_bias) = (_affine(conv) for conv in (result.quant_conv, result.post_quant_conv))
    channels = len(mean)
    into[:channels] *= factor[:, None, None, None]
    into_bias[:channels] = (into_bias[:channels] - mean) * factor
    into_bias[channels:] += 2 * factor.log()
    out_bias += (out[:, :, 0, 0] * mean).sum(dim=1)
    out /= factor[None, :, None, None]
    return result


def _affine(convolution: nn.Conv2d | None) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution at the border of the latents."""
    if convolution is None or convolution.bias is None:
        raise ConfigError(
            "model: describes a codec without convolutions at the border of its latents.",
            remedy="Leave out use_quant_conv and use_post_quant_conv.",
        )
    return convolution.weight, convolution.bias


def _images(pixels: Tensor) -> np.ndarray:
    """(N, R, R, 3) uint8 of (N, 3, R, R) in [-1, 1]."""
    return to_image(pixels.float().cpu().numpy())


def _psnr(squared_error: Tensor) -> list[float]:
    """dB of mean squared errors (N,) of images in [-1, 1], whose range is 2."""
    return [10 * math.log10(4 / max(value, 1e-12)) for value in squared_error.tolist()]
