"""Training a small video encoder of VideoMAE v2's shape: one vector that tells how a mouth moves in a clip.

B clips · F frames · T moments of ``tubelet`` frames · D width of the feature
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import save_file
from torch import Tensor, nn

from latentsync.atomic import atomic_file
from latentsync.data.clip_dataset import SampleKey
from latentsync.data.clip_reader import FrameReader
from latentsync.data.image_dataset import MouthBatch, MouthDataset
from latentsync.data.speech.dataset import MOUTH_NAMES
from latentsync.errors import ConfigError
from latentsync.levels import normalize
from latentsync.losses.trepa import encoder_input
from latentsync.models.videomae import VideoMAE, VideoMAEConfig
from latentsync.training.builtin.recipes import VideoEncoderRecipe
from latentsync.training.loop.charts import Curve, Panel
from latentsync.training.loop.clips import RunClips, find_talkers
from latentsync.training.loop.run import loop_settings, open_run
from latentsync.training.loop.task import Row
from latentsync.training.loop.trainer import Trainer, TrainingResult
from latentsync.training.loop.validation import loader_of, rows_of_all

MAY_CHANGE = (
    "run.max_train_steps", "run.validation_steps", "run.log_steps", "run.tf32", "data.num_val_samples",
    "data.num_workers", "data.frame_cache_gib", "data.train_output_dir", "ckpt",
)  # fmt: skip
CHANGE_WEIGHT = 4.0  # of changes from frame to frame, which are that much smaller than what changes (measured)
# So that guessing costs about the same in each part of the loss (measured).
FEATURE_WEIGHT, MOMENT_WEIGHT, RELATION_WEIGHT = 8.0, 3.0, 8.0
_OPENING = MOUTH_NAMES.index("opening")


class TrainedVideoEncoder(nn.Module):
    """The encoder as the loop calls it, with two readings of the mouth beside its feature.

    Its classifier, which the temporal loss does not look at, reads the feature. The other one reads the mean of the
    tokens of each moment: so the tokens come to tell the mouth of their moment in a way that outlasts averaging. It is
    thrown away in the end.
    """

    def __init__(self, encoder: VideoMAE) -> None:
        super().__init__()
        self.encoder = encoder
        self.by_moment = nn.Linear(encoder.config.embed_dim, encoder.config.tubelet_size * len(MOUTH_NAMES))

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, F, R, R) in [0, 1] -> the feature at unit length (B, D), ``movement`` (B, 12) read from the feature,
        and the mouth in every frame read from its moment (B, F, 6)."""
        encoder = self.encoder
        tokens = encoder.tokens(clips)
        moments = encoder.fc_norm(tokens.unflatten(1, (encoder.config.grid[0], -1)).mean(dim=2))  # (B, T, D)
        mouth = self.by_moment(moments).view(len(clips), clips.shape[2], len(MOUTH_NAMES))
        feature = encoder.fc_norm(tokens.mean(dim=1))
        return F.normalize(feature, dim=1), encoder.head(feature), mouth


def movement(mouth: Tensor) -> Tensor:
    """Mouths (B, F, 6) -> the mean of each value and how far it goes from frame to frame on average, the latter times
    ``CHANGE_WEIGHT``: (B, 12)."""
    return torch.cat([mouth.mean(dim=1), CHANGE_WEIGHT * mouth.diff(dim=1).abs().mean(dim=1)], dim=1)


def movement_similarity(movements: Tensor) -> Tensor:
    """Movements (B, 12) -> how similar each two are (B, B) in (0, 1]: 1 on the diagonal, 1/e at the distance that two
    of the batch have on average, each value measured by its standard deviation within the batch."""
    spread = movements / movements.std(dim=0, correction=0).clamp_min(1e-6)
    return torch.exp(-torch.cdist(spread, spread).square() / (2 * movements.shape[1]))


@torch.no_grad()
def centre(encoder: VideoMAE, clips: Tensor) -> None:
    """Take from the features what they have in common over ``clips`` (B, 3, F, R, R) in [0, 1], by the bias of the last
    layer norm. At the start of a training that is nearly all of them: the mean of the positions is in every token."""
    encoder.fc_norm.bias.sub_(encoder(clips).mean(dim=0))


class VideoEncoderTask:
    """What the loop trains (``loop.task.Task``)."""

    collate = staticmethod(MouthDataset.collate)

    def __init__(self, recipe: VideoEncoderRecipe, clips: RunClips, network: TrainedVideoEncoder) -> None:
        data, seed = recipe.data, recipe.run.seed
        self.network = network
        self._config = network.encoder.config
        reader = FrameReader(int(data.frame_cache_gib * 2**30))
        common = (reader, self._config.num_frames, data.resolution)
        self.dataset = MouthDataset(clips.train, *common, seed)
        self._validation = MouthDataset(clips.validation, *common, seed + 1)
        self._recipe = recipe

    def prepare(self) -> None:
        """Bring a fresh encoder to where it learns from the first step on."""
        batch = self.collate([self.dataset[place] for place in range(min(64, len(self.dataset)))])
        batch = batch.to(next(self.network.parameters()).device)
        centre(self.network.encoder, self._seen(batch))

    def loss(self, network: nn.Module, batch: MouthBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``Task.loss``. The temporal loss compares directions of features and nothing else, so ``relation`` asks
        that their cosines be the similarity of the movements: without it all features point nearly the same way."""
        wanted = movement(batch.mouth)
        direction, read, mouth = network(self._seen(batch))
        relation = (direction @ direction.T - movement_similarity(wanted)).square().mean()
        feature = (read - wanted).square().mean()
        moment = (mouth - batch.mouth).square().mean()
        change = CHANGE_WEIGHT**2 * (mouth.diff(dim=1) - batch.mouth.diff(dim=1)).square().mean()
        parts = {"relation": relation, "feature": feature, "moment": moment, "change": change}
        total = RELATION_WEIGHT * relation + FEATURE_WEIGHT * feature + MOMENT_WEIGHT * moment + change
        return total, {name: value.detach() for name, value in parts.items()}

    def validate(self, accelerator: Accelerator, step: int) -> dict[str, float]:
        """The error of the reading from the feature, on the same windows every time, how the cosines of features
        correlate with the similarity of the movements, and what is read of the opening with the truth: its mean and its
        movement over a window, itself and its changes in each frame."""
        data = self._recipe.data
        own = range(accelerator.process_index, data.num_val_samples, accelerator.num_processes)
        places = len(self._validation)
        keys = [SampleKey(number // places, number % places) for number in own]

        def score(batch_size: int) -> list[tuple[Tensor, ...]]:
            """What the network says of every batch, and the true mouths."""
            rows: list[tuple[Tensor, ...]] = []
            for batch in loader_of(self._validation, keys, batch_size, self.collate, accelerator.device):
                read = self.network(self._seen(batch.to(accelerator.device)))
                rows.append((*(part.float().cpu() for part in read), batch.mouth))
            return rows

        rows = rows_of_all(accelerator, score, data.batch_size)
        direction, read, mouth, true = (torch.cat(column) for column in zip(*rows, strict=True))
        wanted, moves = movement(true), len(MOUTH_NAMES) + _OPENING
        opening, asked = mouth[..., _OPENING], true[..., _OPENING]
        pairs = torch.ones(len(true), len(true)).triu(diagonal=1) > 0
        correlations = {
            "relation": _correlation((direction @ direction.T)[pairs], movement_similarity(wanted)[pairs]),
            "mean_opening": _correlation(read[:, _OPENING], wanted[:, _OPENING]),
            "movement": _correlation(read[:, moves], wanted[:, moves]),
            "opening": _correlation(opening, asked),
            "opening_change": _correlation(opening.diff(dim=1), asked.diff(dim=1)),
        }
        mean = sum(correlations.values()) / len(correlations)  # guessing the mean has the lower error for long
        return {"score": mean, "feature": float((read - wanted).square().mean()), **correlations}

    def panels(self, rows: Mapping[str, list[Row]]) -> list[Panel]:
        """The error of both sides, and the correlations of validation."""
        steps = [row["step"] for row in rows["validation"]]
        curves = [
            Curve(table, [r["step"] for r in rows[table]], [r["feature"] for r in rows[table]], table == "train")
            for table in ("train", "validation")
        ]
        names = ("relation", "mean_opening", "movement", "opening", "opening_change")
        return [
            Panel("squared error of what is read from the feature", curves),
            Panel("correlation", [Curve(name, steps, [r[name] for r in rows["validation"]]) for name in names]),
        ]

    def export(self, path: Path, step: int) -> None:
        """Write the encoder as ``checkpoint.load_videomae`` reads it."""
        tensors = {
            name: tensor.detach().cpu().contiguous() for name, tensor in self.network.encoder.state_dict().items()
        }
        with atomic_file(path, durable=True) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})

    def watch(self, step: int, rows: Mapping[str, list[Row]]) -> None:
        """Nothing to watch."""

    def _seen(self, batch: MouthBatch) -> Tensor:
        """The frames as the temporal loss gives them to the encoder: (B, 3, F, R, R) in [0, 1]."""
        return encoder_input(normalize(batch.images), self._config.image_size)


def train_video_encoder(recipe: VideoEncoderRecipe, name: str) -> TrainingResult:
    """Train, or go on training, in ``<train_output_dir>/<name>``; ``weights/best.safetensors`` is what
    ``load_videomae`` reads.

    Raises ``ConfigError``, ``DataError`` and ``TrainingError``.
    """
    run = open_run(recipe, name, MAY_CHANGE)
    set_seed(recipe.run.seed)
    network = TrainedVideoEncoder(_build(recipe.model)).to(run.accelerator.device)
    data, num_frames = recipe.data, network.encoder.config.num_frames
    clips = run.open_clips(
        recipe, lambda: find_talkers(data.talkers, data.resolution, num_frames, data.train_output_dir)
    )
    task = VideoEncoderTask(recipe, clips, network)
    task.prepare()
    settings = loop_settings(recipe, num_workers=data.num_workers)
    return Trainer(task, settings, run.folder, run.accelerator).run()


def _build(model: Mapping[str, int]) -> VideoMAE:
    try:
        return VideoMAE(VideoMAEConfig(**model, num_classes=2 * len(MOUTH_NAMES)))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"model: describes no video encoder: {error}.",
            remedy="Its keys are those of models.videomae.VideoMAEConfig but num_classes.",
        ) from error


def _correlation(read: Tensor, true: Tensor) -> float:
    """0 where one of them does not vary."""
    if read.std() == 0 or true.std() == 0:
        return 0.0
    return float(torch.corrcoef(torch.stack([read.flatten(), true.flatten()]))[0, 1])
