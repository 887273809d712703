"""The validation video of a U-Net's training: dubbed by the pipeline that users run, written, shown and scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.audio.mel import syncnet_mel
from latentsync.constants import AUDIO_RATE, MODEL_FPS
from latentsync.errors import DataError
from latentsync.face.align import align_face
from latentsync.features.audio_encoder import AudioEncoder
from latentsync.inference.job.validation_video import Placement, ValidationVideo
from latentsync.inference.latent_generator import LatentModels
from latentsync.inference.loading import pipeline_of
from latentsync.inference.options import SyncOptions
from latentsync.inference.weights import ModelSettings
from latentsync.levels import to_image
from latentsync.media.contact_sheet import SheetRow, write_sheet
from latentsync.metrics.stable_sync import StableSync, SyncFit, SyncTrace
from latentsync.metrics.sync_score import sync_score
from latentsync.metrics.sync_tracks import BoxTrack, crop_face, crop_path
from latentsync.metrics.syncnet_v2 import SyncNetV2
from latentsync.types import Frame

TILES = 10  # images in a row of the contact sheet


@dataclass(frozen=True, slots=True)
class SyncNetworks:
    """What scores the result: the sync network of the configuration, and SyncNet v2; None = its weights are absent."""

    stable: StableSync | None
    v2: SyncNetV2 | None


class DubbedVideo:
    """See ``validation.ValidationRenderer``. Writes ``step_*.mp4`` and ``step_*.png`` into ``folder``.

    Figures: ``sync_cosine`` and ``sync_offset`` (frames, positive: the audio comes late) by the sync network of the
    configuration; ``lse_c``, ``lse_d`` and ``lse_offset`` by SyncNet v2, on crops around the tracked boxes, which makes
    them comparable within a run only.
    """

    def __init__(
        self,
        validation_video: ValidationVideo,
        encoder: AudioEncoder,
        settings: ModelSettings,
        options: SyncOptions,
        networks: SyncNetworks,
        folder: Path,
    ) -> None:
        self._video = validation_video
        self._encoder = encoder
        self._settings = settings
        self._options = options
        self._networks = networks
        self._folder = folder
        self._mel = syncnet_mel(validation_video.waveform)
        before = self._observer(lips_path=None)
        for frame, placement in validation_video.source():
            before.watch(frame, placement)
        fit = before.finish(validation_video.fps)
        self._source = before.tiles
        self._path = _lip_path(before.boxes)
        self.marks = [] if fit is None else [("unchanged video", fit.cosine)]
        by_sync = () if networks.stable is None else ("sync_cosine", "sync_offset")
        self.figures = by_sync + (() if networks.v2 is None else ("lse_c", "lse_d", "lse_offset"))

    def render(self, models: LatentModels, step: int) -> dict[str, float]:
        """See ``ValidationRenderer.render``."""
        self._folder.mkdir(parents=True, exist_ok=True)
        pipeline = pipeline_of(models, self._encoder, self._settings)
        after = self._observer(self._path if self._networks.v2 is not None else None)
        self._video.dub(pipeline, self._options, self._folder / f"step_{step:09d}.mp4", after.watch)
        fit = after.finish(self._video.fps)
        rows = [SheetRow("source", self._source), SheetRow(f"step {step}", after.tiles)]
        write_sheet(self._folder / f"step_{step:09d}.png", rows)
        found = {} if fit is None else {"sync_cosine": fit.cosine, "sync_offset": float(fit.offset.frames)}
        if self._networks.v2 is not None:
            found |= self._v2_score(self._networks.v2, after.lips)
        return {name: found.get(name, float("nan")) for name in self.figures}

    def _v2_score(self, network: SyncNetV2, lips: list[np.ndarray]) -> dict[str, float]:
        try:
            score = sync_score(network, lips, self._video.waveform)
        except DataError:  # too short for it
            return {}
        return {"lse_c": score.confidence, "lse_d": score.distance, "lse_offset": float(score.offset_frames)}

    def _observer(self, lips_path: np.ndarray | None) -> _Observer:
        n_frames = int(len(self._video.waveform) * MODEL_FPS / AUDIO_RATE)
        trace = None if self._networks.stable is None else SyncTrace(self._networks.stable, self._mel)
        return _Observer(self._settings.resolution, n_frames, trace, lips_path)


class _Observer:
    """What is kept of one showing: tiles for the sheet, the sync trace, crops for SyncNet v2, the faces' boxes."""

    def __init__(self, resolution: int, n_frames: int, trace: SyncTrace | None, lips_path: np.ndarray | None) -> None:
        places = np.unique(np.linspace(0, max(n_frames - 1, 0), TILES).round().astype(int))
        self.tiles: list[np.ndarray | None] = [None] * len(places)
        self.boxes: list[np.ndarray | None] = []
        self.lips: list[np.ndarray] = []
        self._places = {int(place): number for number, place in enumerate(places)}
        self._resolution = resolution
        self._trace = trace
        self._lips_path = lips_path
        self._rate = _ModelRate(self._take)

    def watch(self, frame: Frame, placement: Placement | None) -> None:
        """The next frame of the showing."""
        self._rate.push(frame, placement)

    def finish(self, fps: Fraction) -> SyncFit | None:
        """After the last frame."""
        self._rate.close(fps)
        return None if self._trace is None else self._trace.finish()

    def _take(self, place: int, frame: Frame, placement: Placement | None) -> None:
        self.boxes.append(None if placement is None else placement.box)
        face = None
        if placement is not None and (self._trace is not None or place in self._places):
            face = to_image(align_face(frame.pixels, placement.matrix, self._resolution).pixels)
        if place in self._places:
            self.tiles[self._places[place]] = face
        if self._trace is not None:
            self._trace.add(face)
        if self._lips_path is not None and place < len(self._lips_path):
            self.lips.append(crop_face(frame.pixels, *self._lips_path[place]))


class _ModelRate:
    """Frames of any rate as they are seen 25 times a second: ``take(k, ...)`` gets what is shown at k/25 s."""

    def __init__(self, take: Callable[[int, Frame, Placement | None], None]) -> None:
        self._take = take
        self._shown: tuple[Frame, Placement | None] | None = None
        self._next = 0

    def push(self, frame: Frame, placement: Placement | None) -> None:
        self._until(frame.time)
        self._shown = frame, placement

    def close(self, fps: Fraction) -> None:
        if self._shown is not None:
            self._until(self._shown[0].time + 1 / fps)

    def _until(self, time: Fraction) -> None:
        while self._shown is not None and self._next / MODEL_FPS < time:
            self._take(self._next, *self._shown)
            self._next += 1


def _lip_path(boxes: list[np.ndarray | None]) -> np.ndarray:
    """(n, 3) as ``crop_path``; where there is no face, the crop stays where it was last, or will be first."""
    held = next(box for box in boxes if box is not None)
    filled = [held := held if box is None else box for box in boxes]
    return crop_path(BoxTrack(0, np.asarray(filled, np.float64)))
