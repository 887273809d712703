"""Where no validation video is named: stretches of held-out clips, each with the audio of another clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from latentsync.audio.mel import mel_window
from latentsync.constants import MODEL_FPS
from latentsync.data.clip_reader import MelReader
from latentsync.data.manifest import Clip
from latentsync.data.unet_dataset import UNetDataset
from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import DataError
from latentsync.inference.latent_generator import LatentGenerator, LatentModels
from latentsync.levels import normalize, to_image
from latentsync.media.contact_sheet import SheetRow, write_sheet
from latentsync.metrics.stable_sync import StableSync
from latentsync.types import Window

STRETCHES = 4  # that are generated: seconds of work on a CPU with small networks
TILES = 8  # images of a stretch on the contact sheet


@dataclass(frozen=True, slots=True)
class CrossStretch:
    """Some frames of one clip with the audio of another one, and what the sync network needs of either.

    ``faces`` (N, 3, R, R) float32 in [-1, 1]; ``audio`` (N, S, D); ``own_mel``, ``mel`` (80, M), None without a sync
    network.
    """

    faces: np.ndarray
    audio: np.ndarray
    own_mel: np.ndarray | None
    mel: np.ndarray | None


def cross_stretches(
    dataset: UNetDataset, mels: MelReader | None, seed: int, count: int = STRETCHES
) -> list[CrossStretch]:
    """``count`` stretches, each a window of ``dataset``, of different clips; fewer if there are fewer clips.

    Clips that cannot be read are passed over. Raises ``DataError`` if none can.
    """
    stretches: list[CrossStretch] = []
    faults = []
    for number, clip in enumerate(dataset.clips):
        if len(stretches) == count:
            break
        rng = np.random.default_rng([seed, number])
        other = dataset.clips[(number + 1) % len(dataset.clips)]
        try:
            own, cross = dataset.choose(clip, rng), dataset.choose(other, rng)
            stretches.append(
                CrossStretch(
                    normalize(dataset.faces(clip, own.start)).numpy(),
                    cross.audio.numpy(),
                    _mel(mels, clip, own.start, dataset.num_frames),
                    _mel(mels, other, cross.start, dataset.num_frames),
                )
            )
        except DataError as error:
            faults.append(f"{clip.path} with {other.path}: {error.message}")
    if not stretches:
        raise DataError(
            f"No validation clip can be shown: {'; '.join(faults)}.", remedy="Check the clips of data.val_fileslist."
        )
    return stretches


class HeldOutClips:
    """See ``validation.ValidationRenderer``. Writes ``step_*.png`` into ``folder``.

    The figure ``sync_cosine`` is the mean over the stretches with the audio that they were generated for; ``sync``
    looks at no more frames than a stretch has. The network generates windows of ``num_frames``, of which a stretch is
    made.
    """

    def __init__(
        self,
        stretches: Sequence[CrossStretch],
        keep_mask: np.ndarray,
        num_frames: int,
        settings: SamplerSettings,
        seed: int,
        sync: StableSync | None,
        folder: Path,
    ) -> None:
        self._stretches = stretches
        self._keep_mask = keep_mask
        self._num_frames = num_frames
        self._settings = settings
        self._seed = seed
        self._sync = sync
        self._folder = folder
        self._source = [to_image(stretch.faces) for stretch in stretches]
        self.figures: tuple[str, ...] = () if sync is None else ("sync_cosine",)
        self.marks: list[tuple[str, float]] = []
        if sync is not None:
            self.marks = [
                ("true video, its own audio", _cosine(sync, self._source, [s.own_mel for s in stretches])),
                ("unchanged video", _cosine(sync, self._source, [s.mel for s in stretches])),
            ]

    def render(self, models: LatentModels, step: int) -> dict[str, float]:
        """See ``ValidationRenderer.render``."""
        self._folder.mkdir(parents=True, exist_ok=True)
        generator = LatentGenerator(models, self._keep_mask, self._settings, self._seed)
        kept = self._keep_mask.transpose(1, 2, 0)
        results, rows = [], []
        for number, (stretch, source) in enumerate(zip(self._stretches, self._source, strict=True), start=1):
            faces = to_image(np.concatenate(generator(self._windows(stretch))))
            results.append(np.rint(faces * (1 - kept) + source * kept).astype(np.uint8))
            shown = np.linspace(0, len(source) - 1, TILES).round().astype(int)
            rows += [SheetRow(f"clip {number}", source[shown]), SheetRow("other audio", results[-1][shown])]
        write_sheet(self._folder / f"step_{step:09d}.png", rows)
        if self._sync is None:
            return {}
        return {"sync_cosine": _cosine(self._sync, results, [stretch.mel for stretch in self._stretches])}

    def _windows(self, stretch: CrossStretch) -> list[Window]:
        """The stretch in windows of the network's length."""
        size = self._num_frames
        starts = range(0, len(stretch.faces), size)
        return [
            Window(number, stretch.faces[start : start + size], stretch.audio[start : start + size])
            for number, start in enumerate(starts)
        ]


def _cosine(sync: StableSync, images: Sequence[np.ndarray], mels: Sequence[np.ndarray | None]) -> float:
    size = sync.view.num_frames
    frames = torch.cat([sync.embed_frames(sync.crop(stretch[:size])[None]) for stretch in images])
    audio = sync.embed_audio(torch.cat([sync.mel_windows(mel, 1) for mel in mels if mel is not None]))
    return float((frames * audio).sum(dim=1).mean())


def _mel(mels: MelReader | None, clip: Clip, start: int, frames: int) -> np.ndarray | None:
    return None if mels is None else mel_window(mels(clip), start, frames, MODEL_FPS).copy()
