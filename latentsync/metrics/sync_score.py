"""Sync confidence (LSE-C), distance (LSE-D) and audio-visual offset: the published search over shifts.

What the numbers cannot tell: SyncNet v2 looks at 0.2 s of a whole face crop, so it also rewards loud, wide, exaggerated
lips; generators that were trained against a sync network exceed real speech. A confidence is therefore read next to
that of the true recording. Short clips are biased: beyond either end of the audio the search compares with zero
vectors, so shifts near +-15 look better the shorter the clip and the weaker the match, and may win.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import cv2
import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from latentsync.audio.mfcc import MFCC_HOP, mfcc
from latentsync.constants import AUDIO_RATE, MODEL_FPS, exact_div
from latentsync.errors import DataError
from latentsync.metrics.syncnet_v2 import LIP_SIDE, WINDOW_FRAMES, WINDOW_MFCC, SyncNetV2
from latentsync.types import SyncScore

REACH = 15  # frames that the audio is shifted by, either way
SAMPLES_PER_FRAME = exact_div(AUDIO_RATE, int(MODEL_FPS))
MFCC_PER_FRAME = exact_div(SAMPLES_PER_FRAME, MFCC_HOP)
SHORTEST = WINDOW_FRAMES + 1  # frames; the published search leaves the last complete window out
_BLOCK = 20  # windows that pass the network together


class OffsetSearch:
    """Mean distance of lips and audio for every shift, fed piece by piece; holds 31 windows of audio, not the clip."""

    def __init__(self) -> None:
        self._pending: tuple[Tensor, Tensor] | None = None  # lips whose later neighbours are to come, and their audio
        self._sums = torch.zeros(2 * REACH + 1, dtype=torch.float64)
        self._count = 0

    def add(self, lips: Tensor, audio: Tensor) -> None:
        """The next (n, D) embeddings of both; row i of one belongs to the same instant as row i of the other."""
        held = (lips[:0], _silence(lips)) if self._pending is None else self._pending
        lips, audio = torch.cat([held[0], lips]), torch.cat([held[1], audio])
        self._pending = self._compare(lips, audio, len(audio) - 2 * REACH)

    def distances(self) -> np.ndarray:
        """(31,) float64: entry s compares lips with the audio s - 15 frames later. Ends the search."""
        if self._pending is None or not self._count + len(self._pending[0]):
            raise ValueError("no embeddings were added")
        lips, audio = self._pending
        self._pending = self._compare(lips, torch.cat([audio, _silence(lips)]), len(lips))
        return (self._sums / self._count).numpy()

    def _compare(self, lips: Tensor, audio: Tensor, ready: int) -> tuple[Tensor, Tensor]:
        """Add the distances of the first ``ready`` lips; returns what later ones need."""
        if ready <= 0:
            return lips, audio
        neighbours = audio[: ready + 2 * REACH].unfold(0, 2 * REACH + 1, 1)  # (ready, D, 31)
        distances = nnf.pairwise_distance(lips[:ready, None], neighbours.transpose(1, 2))
        self._sums += distances.cpu().double().sum(dim=0)  # MPS has no float64
        self._count += ready
        return lips[ready:], audio[ready:]


def shift_distances(lips: Tensor, audio: Tensor) -> np.ndarray:
    """(31,) float64: mean distance of (N, D) lips to (N, D) audio at each shift, as ``OffsetSearch.distances``."""
    search = OffsetSearch()
    search.add(lips, audio)
    return search.distances()


def score_of(distances: np.ndarray) -> SyncScore:
    """The score that (31,) mean distances spell; the offset is positive if the audio comes too early."""
    best = int(np.argmin(distances))
    confidence = np.median(distances) - distances[best]
    return SyncScore(confidence=float(confidence), offset_frames=REACH - best, distance=float(distances[best]))


def mean_score(scores: Sequence[SyncScore]) -> SyncScore:
    """The published score of a video with several face tracks, at least one: means, the offset cut towards zero.

    Somebody in the frame who does not speak pulls it down; for a result, score the track that was generated.
    """
    confidence, offset, distance = np.mean(
        [(each.confidence, each.offset_frames, each.distance) for each in scores], axis=0
    )
    return SyncScore(float(confidence), int(offset), float(distance))


@torch.inference_mode()
def sync_score(network: SyncNetV2, frames: Iterable[np.ndarray], waveform: np.ndarray) -> SyncScore:
    """The score of one face: its crop over time and the audio of the same time.

    ``frames`` (H, W, 3) uint8 RGB at 25 fps, cropped as ``sync_tracks.crop_face`` does; read once, and not held.
    ``waveform`` (n,) in [-1, 1] at 16 kHz, beginning with the first frame. What one has beyond the other is left out.
    Raises ``DataError`` if less than 6 frames (0.24 s) have both frames and audio, ``AudioError`` for broken audio.
    """
    n_audio = len(waveform) // SAMPLES_PER_FRAME
    if n_audio < SHORTEST:
        raise _too_short()
    spectra = sliding_window_view(mfcc(waveform).astype(np.float32), WINDOW_MFCC, axis=1)
    device = next(network.parameters()).device
    search, first = OffsetSearch(), 0
    for block in _blocks(frames, n_audio):
        crops = torch.from_numpy(block).to(device).permute(3, 0, 1, 2).float()  # (3, T, H, W)
        lips = network.embed_lips(crops[None])[0]
        instants = slice(MFCC_PER_FRAME * first, MFCC_PER_FRAME * (first + len(lips)), MFCC_PER_FRAME)
        windows = np.ascontiguousarray(spectra[:, instants].transpose(1, 0, 2))
        search.add(lips, network.embed_audio(torch.from_numpy(windows).to(device)))
        first += len(lips)
    if not first:
        raise _too_short()
    return score_of(search.distances())


def _blocks(frames: Iterable[np.ndarray], limit: int) -> Iterator[np.ndarray]:
    """(T, 224, 224, 3) uint8 BGR runs of up to 20 windows of the first ``limit`` frames but the last; the windows of
    consecutive runs are consecutive.
    """
    held: list[np.ndarray] = []
    for frame in islice(frames, limit):
        if len(held) == _BLOCK + WINDOW_FRAMES - 1:
            yield np.stack(held)
            del held[:_BLOCK]
        held.append(_lip_crop(frame))
    del held[-1:]
    if len(held) >= WINDOW_FRAMES:
        yield np.stack(held)


def _lip_crop(frame: np.ndarray) -> np.ndarray:
    if frame.shape[:2] != (LIP_SIDE, LIP_SIDE):
        frame = cv2.resize(frame, (LIP_SIDE, LIP_SIDE), interpolation=cv2.INTER_LINEAR)
    return frame[..., ::-1]


def _too_short() -> DataError:
    return DataError(
        f"A sync score needs {SHORTEST} frames (0.24 s) with picture and sound; here are fewer.",
        remedy="Score a longer clip.",
    )


def _silence(like: Tensor) -> Tensor:
    return like.new_zeros(REACH, like.shape[1])
