"""Training the encoder of a small codec to give the latents of another one, as of masked as of whole images.

N images · R face side · C latent channels · h, w latent cells
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers.models import AutoencoderTiny
from torch import Tensor, nn

from latentsync.checkpoint import WeightsCard, latent_signature, load_codec, save_codec
from latentsync.data.image_dataset import ImageBatch, collate_images
from latentsync.errors import ConfigError
from latentsync.face.mask import load_mask
from latentsync.levels import normalize
from latentsync.models.codec import LatentCodec
from latentsync.training.builtin.codec import MAY_CHANGE
from latentsync.training.builtin.images import CodecImages
from latentsync.training.builtin.recipes import CodecRecipe
from latentsync.training.loop.charts import Curve, Panel
from latentsync.training.loop.ema import EMA
from latentsync.training.loop.run import loop_settings, open_run
from latentsync.training.loop.task import Row
from latentsync.training.loop.trainer import Trainer, TrainingResult
from latentsync.training.loop.validation import rows_of_all

WHOLE_IMAGES = 4  # one image of so many is not masked: a shot has one reference and many masked frames


class TrainedEncoder(nn.Module):
    """The encoder of ``autoencoder``, beside the frozen codec ``source`` whose latents it learns."""

    def __init__(self, autoencoder: AutoencoderTiny, source: LatentCodec) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.source = source

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, R, R) in [-1, 1] -> its latents (N, C, h, w) and those of the source."""
        with torch.no_grad():
            wanted = self.source.encode(pixels)
        return self.autoencoder.encode(pixels).latents, wanted


class SmallEncoderTask:
    """What the loop trains (``loop.task.Task``). The EMA is validated and exported."""

    def __init__(self, recipe: CodecRecipe, images: CodecImages, network: TrainedEncoder, ema: EMA) -> None:
        self.network = network
        self.dataset = images.train
        self.collate = collate_images
        self._images = images
        self._recipe = recipe
        self._ema = ema
        mask = torch.from_numpy(load_mask(recipe.data.mask_image_path, recipe.data.resolution))
        self._keep_mask = mask.to(network.autoencoder.device)

    def loss(self, network: nn.Module, batch: ImageBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the latents, see ``Task.loss``."""
        pixels = normalize(batch.images)
        masked = torch.arange(len(pixels), device=pixels.device) % WHOLE_IMAGES > 0
        latents, wanted = network(torch.where(masked.view(-1, 1, 1, 1), pixels * self._keep_mask, pixels))
        return (latents.float() - wanted.float()).square().mean(), {}

    def validate(self, accelerator: Accelerator, step: int) -> dict[str, float]:
        """Root mean squared error of the latents, whose standard deviation is 1, of whole and of masked images, the
        same ones every time."""
        data = self._recipe.data
        own = range(accelerator.process_index, data.num_val_samples, accelerator.num_processes)

        def score(batch_size: int) -> list[tuple[float, float]]:
            """Mean squared errors of every image, whole and masked."""
            rows: list[tuple[float, float]] = []
            for pixels in self._images.validation_batches(own, batch_size, self._keep_mask.device):
                errors = []
                for seen in (pixels, pixels * self._keep_mask):
                    latents, wanted = self.network(seen)
                    errors.append((latents - wanted).square().mean(dim=(1, 2, 3)).tolist())
                rows += zip(*errors, strict=True)
            return rows

        with self._ema.applied():
            rows = rows_of_all(accelerator, score, data.batch_size)
        whole, masked = ((sum(column) / len(column)) ** 0.5 for column in zip(*rows, strict=True))
        return {"score": -masked, "error": whole, "error_masked": masked}

    def panels(self, rows: Mapping[str, list[Row]]) -> list[Panel]:
        """The loss of training and the errors of validation."""
        train, validation = rows["train"], rows["validation"]
        steps = [row["step"] for row in validation]
        named = {"whole image": "error", "masked": "error_masked"}
        return [
            Panel("loss", [Curve("train", [r["step"] for r in train], [r["loss"] for r in train], noisy=True)]),
            Panel("error", [Curve(label, steps, [r[key] for r in validation]) for label, key in named.items()]),
        ]

    def export(self, path: Path, step: int) -> None:
        """Write a diffusers folder, ``path`` without its suffix: the encoder, and the decoder as it was."""
        with self._ema.applied():
            latents = latent_signature(self.network.source)
            card = WeightsCard("codec", resolution=self._recipe.data.resolution, latents=latents, global_step=step)
            save_codec(path.with_suffix(""), self.network.autoencoder, card, latents_as=latents)

    def watch(self, step: int, rows: Mapping[str, list[Row]]) -> None:
        """Nothing to watch."""


def train_small_encoder(recipe: CodecRecipe, name: str) -> TrainingResult:
    """Train, or go on training, in ``<train_output_dir>/<name>``. ``weights/best`` is what ``load_codec`` reads.

    Raises ``ConfigError``, ``DataError`` if there is nothing to train on, ``TrainingError``, and the ``WeightsError``
    family for the codec whose latents are learned and for the decoder.
    """
    run = open_run(recipe, name, MAY_CHANGE, mixed_precision=recipe.run.mixed_precision)
    set_seed(recipe.run.seed)
    network = _build(recipe).to(run.accelerator.device).to(memory_format=torch.channels_last)
    images = CodecImages.find(recipe, run)
    ema = EMA(list(network.autoencoder.encoder.parameters()), recipe.run.ema_decay)
    task = SmallEncoderTask(recipe, images, network, ema)
    settings = loop_settings(recipe, num_workers=recipe.data.num_workers)
    return Trainer(task, settings, run.folder, run.accelerator, ema).run()


def _build(recipe: CodecRecipe) -> TrainedEncoder:
    """A fresh encoder of ``recipe.model`` in front of the decoder in ``ckpt.resume_ckpt_path``, which is frozen.

    Raises ``ConfigError`` for a model block that describes no encoder, and where a folder is not named.
    """
    ckpt = recipe.ckpt
    if ckpt.latents_of is None or ckpt.resume_ckpt_path is None:
        raise ConfigError(
            "A small encoder needs the codec whose latents it learns, and the small decoder that goes with it.",
            remedy="Name their folders in ckpt.latents_of and ckpt.resume_ckpt_path.",
        )
    small = load_codec(ckpt.resume_ckpt_path).autoencoder
    if not isinstance(small, AutoencoderTiny):
        raise ConfigError(
            f"{ckpt.resume_ckpt_path} is no AutoencoderTiny.", remedy="Train one with the step small_decoder."
        )
    try:
        autoencoder = AutoencoderTiny.from_config({**small.config, **recipe.model})
        autoencoder.decoder.load_state_dict(small.decoder.state_dict())
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"model: describes no encoder for the decoder in {ckpt.resume_ckpt_path}: {error}.",
            remedy="Its keys are those arguments of diffusers' AutoencoderTiny that concern the encoder.",
        ) from error
    autoencoder.decoder.requires_grad_(False)
    return TrainedEncoder(autoencoder, load_codec(ckpt.latents_of).requires_grad_(False))
