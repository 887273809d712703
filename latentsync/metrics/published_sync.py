"""The published sync score from frames to numbers: S3FD finds the face, its track is cropped, SyncNet v2 scores it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from latentsync.checkpoint.registry import S3FD_FILE, SYNCNET_V2_FILE
from latentsync.errors import DataError
from latentsync.metrics.s3fd import S3FD, detect_faces, load_s3fd
from latentsync.metrics.sync_score import mean_score, sync_score
from latentsync.metrics.sync_tracks import BoxTrack, audio_of, crop_face, crop_path, link_tracks
from latentsync.metrics.syncnet_v2 import SyncNetV2, load_syncnet_v2
from latentsync.types import SyncScore

_BATCH = 25  # frames that S3FD sees at once

Frames = Callable[[], Iterable[np.ndarray]]  # gives (H, W, 3) uint8 RGB at 25 frames/s, from the start at every call


@dataclass(frozen=True, slots=True)
class PublishedSync:
    """Both networks. Frames are read twice and not held."""

    detector: S3FD
    network: SyncNetV2

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> PublishedSync:
        """From the published files in ``folder``; raises as ``load_published``."""
        return cls(load_s3fd(folder / S3FD_FILE, device), load_syncnet_v2(folder / SYNCNET_V2_FILE, device))

    def tracks(self, frames: Frames, cuts: Collection[int] = ()) -> list[BoxTrack]:
        """The faces that are large and visible long enough; none reaches across ``cuts``, the first frames of
        later shots. Raises ``DataError`` if there is none."""
        boxes = [found for batch in _batches(frames()) for found in detect_faces(self.detector, batch)]
        borders = [0, *sorted(cuts), len(boxes)]
        shots = zip(borders, borders[1:], strict=False)
        found = [track for start, stop in shots for track in link_tracks(boxes[start:stop], start)]
        if not found:
            raise DataError(
                "no track: the face detector of the sync score finds no face for longer than two seconds",
                remedy="Score longer clips, with a face of more than 100 pixels.",
            )
        return found

    def score(self, frames: Frames, waveform: np.ndarray, track: BoxTrack) -> SyncScore:
        """Of one face; ``waveform`` (n,) in [-1, 1] at 16 kHz. Raises as ``sync_score``."""
        shown = islice(frames(), track.first_frame, track.first_frame + len(track.boxes))
        crops = (crop_face(frame, *at) for frame, at in zip(shown, crop_path(track), strict=False))
        return sync_score(self.network, crops, audio_of(track, waveform))

    def mean_score(self, frames: Frames, waveform: np.ndarray) -> SyncScore:
        """The published score of a clip of one shot: the mean over all faces. Raises as ``tracks`` and ``score``."""
        return mean_score([self.score(frames, waveform, track) for track in self.tracks(frames)])

    def target_score(
        self, frames: Frames, waveform: np.ndarray, cuts: Collection[int], target: np.ndarray | None = None
    ) -> SyncScore:
        """The score of the face that was dubbed, in the longest of its tracks.

        ``target`` (N, 4) boxes x0, y0, x1, y1 of that face, not a number where it is not seen; without it the largest
        face counts. Raises as ``tracks`` and ``score``, and ``DataError`` if no track shows that face.
        """
        tracks = self.tracks(frames, cuts)
        weights = [_area(track) if target is None else _frames_on(track, target) for track in tracks]
        best = int(np.argmax(weights))
        if weights[best] <= 0:
            raise DataError(
                "no track of the dubbed face: the face detector of the sync score follows others only",
                remedy="Score clips in which that face is visible for longer than two seconds.",
            )
        return self.score(frames, waveform, tracks[best])


def _batches(frames: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    rest = iter(frames)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _area(track: BoxTrack) -> float:
    """Of all its boxes together, pixels."""
    return float((track.boxes[:, 2:] - track.boxes[:, :2]).prod(axis=1).sum())


def _frames_on(track: BoxTrack, target: np.ndarray) -> int:
    """Frames in which the centre of the target's box lies inside the track's."""
    part = target[track.first_frame : track.first_frame + len(track.boxes)]
    boxes = track.boxes[: len(part)]
    centres = (part[:, :2] + part[:, 2:]) / 2
    return int(((centres > boxes[:, :2]) & (centres < boxes[:, 2:])).all(axis=1).sum())
