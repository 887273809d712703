"""Training a small audio encoder in Whisper's format: it learns to tell phones and the mouths that make them.

B windows of 30 s · P = 1500 positions · L taps · D width
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from whisper.model import ModelDimensions

from latentsync.audio.mel import WHISPER_BANDS
from latentsync.checkpoint import save_whisper
from latentsync.constants import WHISPER_POSITIONS
from latentsync.data.clip_dataset import SampleKey
from latentsync.data.speech.collection import Speech, SpeechSources, gather_speech
from latentsync.data.speech.dataset import MOUTH_NAMES, NOTHING, PHONE_NAMES, SpeechBatch, SpeechDataset
from latentsync.errors import ConfigError
from latentsync.face.backends.yunet import load as load_yunet
from latentsync.models.whisper import WhisperTaps
from latentsync.places import cache_folder
from latentsync.training.builtin.recipes import AudioEncoderData, AudioEncoderModel, AudioEncoderRecipe
from latentsync.training.loop.charts import Curve, Panel
from latentsync.training.loop.run import loop_settings, open_run
from latentsync.training.loop.task import Row
from latentsync.training.loop.trainer import Trainer, TrainingResult
from latentsync.training.loop.validation import loader_of, rows_of_all

MAY_CHANGE = (
    "run.max_train_steps", "run.validation_steps", "run.log_steps", "run.tf32", "data.num_val_samples",
    "data.num_workers", "data.people", "data.people_detector", "data.recordings", "data.train_output_dir", "ckpt",
)  # fmt: skip
_OPENING = MOUTH_NAMES.index("opening")


class TrainedEncoder(nn.Module):
    """The encoder with a linear reading of each of its taps, so that every token the U-Net attends to means something.

    The readings are thrown away in the end.
    """

    def __init__(self, dims: ModelDimensions) -> None:
        super().__init__()
        self.dims = dims
        self.taps = WhisperTaps(dims)
        outputs = len(PHONE_NAMES) + len(MOUTH_NAMES)
        self.readings = nn.ModuleList(nn.Linear(self.taps.width, outputs) for _ in range(self.taps.n_taps))

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 80, 3000) -> scores of the phones (L, B, P, phones) and mouths (L, B, P, 6)."""
        states = self.taps(mel).unbind(dim=2)
        read = torch.stack([reading(state) for reading, state in zip(self.readings, states, strict=True)])
        return read.split([len(PHONE_NAMES), len(MOUTH_NAMES)], dim=-1)


class AudioEncoderTask:
    """What the loop trains (``loop.task.Task``)."""

    collate = staticmethod(SpeechDataset.collate)

    def __init__(self, recipe: AudioEncoderRecipe, network: TrainedEncoder, speech: Speech) -> None:
        data = recipe.data
        self.network = network
        length, shares = data.sentence_seconds, data.shares
        self.dataset = SpeechDataset(data.sentences, length, data.seed, speech.train, shares, data.degraded)
        first = data.seed + data.sentences
        self._validation = SpeechDataset(data.validation_sentences, length, first, speech.validation, shares)
        self._recipe = recipe

    def loss(self, network: nn.Module, batch: SpeechBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``Task.loss``; every tap counts the same."""
        scores, mouths = (read.flatten(1, 2)[:, batch.spoken] for read in network(batch.mel))
        truth = batch.phones.flatten()[batch.spoken].expand(len(scores), -1)
        phone = F.cross_entropy(scores.flatten(0, 1), truth.flatten())
        mouth = (mouths - batch.mouth.flatten(0, 1)[batch.spoken]).square().mean()
        total = phone + self._recipe.run.mouth_loss_weight * mouth
        return total, {"phone": phone.detach(), "mouth": mouth.detach()}

    def validate(self, accelerator: Accelerator, step: int) -> dict[str, float]:
        """How often the last tap names the phone, and how its opening correlates with the true one."""
        data = self._recipe.data
        numbers = range(accelerator.process_index, data.num_val_samples, accelerator.num_processes)
        own = [SampleKey(0, number) for number in numbers]

        def score(batch_size: int) -> list[tuple[Tensor, Tensor, Tensor]]:
            """Of every batch: whether the phones are right, the opening that was read, and the true one."""
            rows = []
            for batch in loader_of(self._validation, own, batch_size, self.collate, accelerator.device):
                scores, mouths = self.network(batch.mel.to(accelerator.device))
                spoken = batch.phones != NOTHING
                right = (scores[-1].cpu().argmax(dim=-1) == batch.phones)[spoken]
                read = mouths[-1].float().cpu()[spoken][:, _OPENING]
                rows.append((right, read, batch.mouth[spoken][:, _OPENING]))
            return rows

        rows = rows_of_all(accelerator, score, data.batch_size)
        right, read, true = (torch.cat(column) for column in zip(*rows, strict=True))
        correlation = float(torch.corrcoef(torch.stack([read, true]))[0, 1])
        return {"score": correlation, "phone_accuracy": float(right.float().mean()), "opening_correlation": correlation}

    def panels(self, rows: Mapping[str, list[Row]]) -> list[Panel]:
        """The loss of training and the figures of validation."""
        train, validation = rows["train"], rows["validation"]
        steps, names = [row["step"] for row in validation], ("phone_accuracy", "opening_correlation")
        return [
            Panel("loss", [Curve("train", [r["step"] for r in train], [r["loss"] for r in train], noisy=True)]),
            Panel("validation", [Curve(name, steps, [r[name] for r in validation]) for name in names]),
        ]

    def export(self, path: Path, step: int) -> None:
        """Write the encoder in openai-whisper's format, with the suffix ``.pt``."""
        save_whisper(path.with_suffix(".pt"), asdict(self.network.dims), self.network.taps.encoder.state_dict())

    def watch(self, step: int, rows: Mapping[str, list[Row]]) -> None:
        """Nothing to watch."""


def train_audio_encoder(recipe: AudioEncoderRecipe, name: str) -> TrainingResult:
    """Train, or go on training, in ``<train_output_dir>/<name>``; ``weights/best.pt`` is what ``AudioEncoder`` reads.

    Raises ``ConfigError`` and ``TrainingError``.
    """
    run = open_run(recipe, name, MAY_CHANGE, mixed_precision=recipe.run.mixed_precision)
    set_seed(recipe.run.seed)
    network = TrainedEncoder(_dimensions(recipe.model)).to(run.accelerator.device)
    run.claim(recipe)
    with run.accelerator.main_process_first():
        speech = find_speech(recipe.data)
    task = AudioEncoderTask(recipe, network, speech)
    settings = loop_settings(recipe, num_workers=recipe.data.num_workers)
    return Trainer(task, settings, run.folder, run.accelerator).run()


def find_speech(data: AudioEncoderData) -> Speech:
    """What a configuration names besides drawn talkers, kept beside the user's other caches.

    Raises ``DataError`` and ``WeightsMissingError``.
    """
    if data.people is None and data.recordings is None and not data.sentences_per_voice:
        return Speech((), ())
    sources = SpeechSources(
        people=None if data.people is None else Path(data.people),
        recordings=None if data.recordings is None else Path(data.recordings),
        sentences=data.sentences_per_voice,
        seed=data.seed,
    )
    return gather_speech(sources, cache_folder() / "speech", lambda: load_yunet(Path(data.people_detector), "cpu"))


def _dimensions(model: AudioEncoderModel) -> ModelDimensions:
    if model.width % model.heads or model.width % 2:
        raise ConfigError(
            f"model.width is {model.width}, which is odd or no multiple of model.heads {model.heads}.",
            remedy="Whisper's smallest encoder has width 384 and 6 heads.",
        )
    none = dict.fromkeys(("n_vocab", "n_text_ctx", "n_text_state", "n_text_head", "n_text_layer"), 0)  # no decoder
    return ModelDimensions(
        n_mels=WHISPER_BANDS,
        n_audio_ctx=WHISPER_POSITIONS,
        n_audio_state=model.width,
        n_audio_head=model.heads,
        n_audio_layer=model.blocks,
        **none,
    )
