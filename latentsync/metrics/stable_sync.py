"""What a StableSyncNet says of pairs and of whole clips: the one place where its weights become a verdict.

The network travels together with what it looks at, so that nobody judges the wrong crop. Frames come as whole aligned
faces, RGB, at ``view.fps``; audio as ``audio.mel.syncnet_mel``.

N pairs or windows · F frames of a window · R face side · H = R, or R/2 for the lower half · M mel frames of a window
E embedding width
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentsync import checkpoint  # the codec's names are loaded where latents are: they bring seconds of imports
from latentsync.audio.mel import mel_window
from latentsync.checkpoint import WeightsCard, load_syncnet, read_card
from latentsync.constants import LATENT_DOWNSCALE, SYNCNET_MEL_BANDS, SYNCNET_MEL_RATE
from latentsync.errors import WeightsMismatchError
from latentsync.face.resample import fit_frames
from latentsync.levels import normalize
from latentsync.models.codec import LatentCodec
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig, cosine_similarity, select_latent_input
from latentsync.types import SyncView

MAX_SHIFT = 15  # frames by which the search moves the audio, either way
STRIDE = 4  # frames from one window that is looked at to the next
_BATCH = 32  # windows that go through a tower together
_FEWEST = 3  # one in so many windows must lie inside the audio for a shift to count


@dataclass(frozen=True, slots=True)
class StableSync:
    """A StableSyncNet with what it looks at. ``codec`` is set for a network on latents, on the same device."""

    network: StableSyncNet
    view: SyncView
    codec: LatentCodec | None = None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the network."""
        return next(self.network.parameters()).dtype

    def visual_input(self, frames: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """``frames`` of a batch (see ``data.batches.SyncBatch``) -> the input of the visual encoder, float32.

        Pixels (N, F*3, H, R) in [-1, 1]; with a codec latents (N, F*C, h, w), drawn from the posterior as published,
        with ``generator`` (None: the global one), and cut to their lower half if the view asks for it.
        """
        if self.codec is None:
            return normalize(frames).flatten(1, 2)
        mean, std = self._posterior(frames, self.codec)
        eps = torch.randn(mean.shape, generator=generator, device=mean.device)
        return select_latent_input(mean + std * eps, self.view.lower_half)

    @staticmethod
    @torch.no_grad()
    def _posterior(frames: Tensor, codec: LatentCodec) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (N, F, C, h, w) of the latents, as they came or encoded here."""
        if frames.is_floating_point():
            mean, std = frames.unbind(dim=2)
        else:
            mean, std = codec.posterior(normalize(frames.flatten(0, 1)))
            mean, std = (part.unflatten(0, frames.shape[:2]) for part in (mean, std))
        return mean, std

    @torch.no_grad()
    def score_pairs(self, frames: Tensor, mel: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Cosines (N,) float32 in [0, 1] of a batch of ``data.batches.SyncBatch`` that lies on ``device``."""
        return cosine_similarity(*self.network(self.visual_input(frames, generator), mel))

    def crop(self, frames: np.ndarray) -> Tensor:
        """Whole faces (n, side, side, 3) uint8 of any size -> the part that is looked at, (n, 3, H, R) uint8."""
        faces = fit_frames(frames, self.view.resolution)
        return faces[:, :, self.view.resolution // 2 :] if self.view.cuts_pixels else faces

    @torch.no_grad()
    def embed_frames(self, windows: Tensor) -> Tensor:
        """Windows (N, F, 3, H, R) uint8 of cropped faces -> (N, E) float32 on the CPU.

        What is drawn of latents is the same for every window, whatever was drawn before.
        """
        embedded = []
        for part in windows.split(_BATCH if self.codec is None else 1):
            draws = torch.Generator(self.device).manual_seed(0)
            visual = self.visual_input(part.to(self.device), draws).to(self.dtype)
            embedded.append(self.network.visual_encoder(visual).float().cpu())
        return torch.cat(embedded)

    def count_windows(self, mel: np.ndarray, n_frames: int) -> int:
        """Windows that lie wholly inside ``n_frames`` frames and the audio of ``mel`` (80, T); below 1 if none does."""
        audio_frames = int((mel.shape[1] - 1) * self.view.fps / SYNCNET_MEL_RATE)
        return min(n_frames, audio_frames) - self.view.num_frames + 1

    def mel_windows(self, mel: np.ndarray, n_windows: int) -> Tensor:
        """The audio of the windows that start at frames 0, 1, 2, ...: (n_windows, 1, 80, M) float32."""
        view = self.view
        windows = [mel_window(mel, start, view.num_frames, view.fps)[None] for start in range(n_windows)]
        return torch.from_numpy(np.stack(windows))

    @torch.no_grad()
    def embed_audio(self, windows: Tensor) -> Tensor:
        """Mel windows (N, 1, 80, M) float32 -> (N, E) float32 on the CPU."""
        parts = (part.to(self.device, self.dtype) for part in windows.split(_BATCH))
        return torch.cat([self.network.audio_encoder(part).float().cpu() for part in parts])


def load_stable_sync(
    path: str | Path,
    config: SyncNetConfig | None = None,
    view: SyncView | None = None,
    *,
    codec: LatentCodec | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> StableSync:
    """The network of a weight file, in eval mode, with what it looks at.

    Our own files say both. Older ones do not state ``lower_half`` and ``fps``: they look at 25 frames/s, and at the
    lower half as the published ones do, unless only whole faces fit the network. Published files say nothing:
    ``config`` and ``view`` tell what they hold. Where file and arguments both speak, they have to agree. ``codec`` is
    the one of a network on latents.

    Raises the ``WeightsError`` family, ``WeightsMismatchError`` among it if the file looks at something else than
    ``view``, at latents without a ``codec``, or at those of another codec; ``ConfigError`` if it is not known which
    network the file holds.
    """
    path = Path(path)
    network = load_syncnet(path, config, device=device, dtype=dtype)
    view = _view_of_file(path, network.config, view)
    channels = network.config.visual_encoder.in_channels
    if view.latent:
        if codec is None:
            raise WeightsMismatchError(f"{path} looks at latents.", remedy="Take a sync network on pixels.")
        checkpoint.require_latents(path, codec)
    elif channels != 3 * view.num_frames:
        raise WeightsMismatchError(
            f"The sync network in {path} takes {channels} channels, and {view.num_frames} frames of pixels have "
            f"{3 * view.num_frames}.",
            remedy="Take a sync network on pixels, or name the configuration that it was trained with.",
        )
    if not _fits(network.config, view):
        raise WeightsMismatchError(
            f"The sync network in {path} was not made for {'the lower half of' if view.lower_half else 'whole'} faces "
            f"of {view.resolution} pixels: its two embeddings would differ in width.",
            remedy="Name the configuration that it was trained with.",
        )
    return StableSync(network, view, codec if view.latent else None)


def _fits(config: SyncNetConfig, view: SyncView) -> bool:
    """Whether both encoders give embeddings of one width for what ``view`` describes."""
    side = view.resolution // LATENT_DOWNSCALE if view.latent else view.resolution
    mel_frames = math.ceil(SYNCNET_MEL_RATE * view.num_frames / view.fps)
    visual = config.visual_encoder.embedding_width(side // 2 if view.lower_half else side, side)
    return visual == config.audio_encoder.embedding_width(SYNCNET_MEL_BANDS, mel_frames)


def _view_of_file(path: Path, config: SyncNetConfig, asked: SyncView | None) -> SyncView:
    """What the network in ``path`` looks at: what its card states, filled up with ``asked``, or as published."""
    card = read_card(path)
    stated = {} if card is None else _stated(card)
    if asked is None:
        if not {"num_frames", "resolution"} <= stated.keys():
            raise WeightsMismatchError(
                f"{path} does not say how many frames it looks at, and at which resolution.",
                remedy="Use a file that `latentsync train syncnet` wrote.",
            )
        view = SyncView(**stated)
        whole = replace(view, lower_half=False)
        return whole if "lower_half" not in stated and not _fits(config, view) and _fits(config, whole) else view
    wrong = [f"{name} {value}, asked for was {getattr(asked, name)}" for name, value in stated.items()
             if value != getattr(asked, name)]  # fmt: skip
    if wrong:
        raise WeightsMismatchError(
            f"The sync network in {path} was trained with {'; '.join(wrong)}.",
            remedy="Name the configuration that it was trained with.",
        )
    return replace(asked, **stated)


def _stated(card: WeightsCard) -> dict[str, Any]:
    """The fields of a ``SyncView`` that a card speaks of."""
    known = {
        "num_frames": card.num_frames,
        "resolution": card.resolution,
        "lower_half": card.lower_half,
        "fps": None if card.fps is None else Fraction(card.fps),
        "latent": None if card.latents is None else True,
    }
    return {name: value for name, value in known.items() if value is not None}


@dataclass(frozen=True, slots=True)
class SyncOffset:
    """Where the audio of a clip fits best.

    ``frames`` > 0: the audio comes that much too late. ``cosine`` is the mean over the windows there, 0 to 1, and
    ``confidence`` what it has above the median over all shifts; near 0, nothing fits anywhere.
    """

    frames: int
    confidence: float
    cosine: float


def find_offset(cosines: np.ndarray, starts: np.ndarray, max_shift: int = MAX_SHIFT) -> SyncOffset:
    """The shift of the audio with the highest mean cosine.

    ``cosines`` (W, n_windows) float32 of W windows of frames, which start at ``starts`` (W,), with the audio of the
    windows that start at 0, 1, 2, ... A shift for which fewer than a third of the W windows have audio does not count:
    the mean of a few is high by chance, so that short clips would seem far out of sync.
    """
    shifts = np.arange(-max_shift, max_shift + 1)
    means = np.full(len(shifts), np.nan)
    for place, shift in enumerate(shifts):
        inside = (starts + shift >= 0) & (starts + shift < cosines.shape[1])
        if _FEWEST * inside.sum() >= len(starts):
            means[place] = cosines[inside, starts[inside] + shift].mean()
    best = int(np.nanargmax(means))
    return SyncOffset(int(shifts[best]), float(means[best] - np.nanmedian(means)), float(means[best]))


@dataclass(frozen=True, slots=True)
class SyncFit:
    """``cosine``: mean over the windows, 0 to 1, with the audio where it is; ``offset``: where it would fit best."""

    cosine: float
    offset: SyncOffset
    windows: int


class SyncTrace:
    """The verdict on a clip whose frames come one after the other; keeps embeddings and the frames of one window.

    ``mel`` (80, T) float32 is the audio from frame 0 on.
    """

    def __init__(self, sync: StableSync, mel: np.ndarray) -> None:
        self._sync = sync
        self._mel = mel
        self._recent: deque[Tensor] = deque(maxlen=sync.view.num_frames)
        self._frames = 0
        self._starts: list[int] = []
        self._embedded: list[Tensor] = []

    def add(self, face: np.ndarray | None) -> None:
        """The next face (side, side, 3) uint8; None where there is none: windows do not reach across it."""
        self._frames += 1
        if face is None:
            self._recent.clear()
            return
        self._recent.append(self._sync.crop(face[None])[0])
        start = self._frames - self._sync.view.num_frames
        if len(self._recent) == self._recent.maxlen and start % STRIDE == 0:
            self._starts.append(start)
            self._embedded.append(self._sync.embed_frames(torch.stack([*self._recent])[None]))

    def finish(self) -> SyncFit | None:
        """None if there is not a single window with frames and audio."""
        sync, mel = self._sync, self._mel
        n_windows = sync.count_windows(mel, self._frames)
        starts = np.array([start for start in self._starts if start < n_windows])
        if not len(starts):
            return None
        audio = sync.embed_audio(sync.mel_windows(mel, n_windows))
        cosines = (torch.cat(self._embedded[: len(starts)]) @ audio.T).numpy()
        in_place = cosines[np.arange(len(starts)), starts]
        return SyncFit(float(in_place.mean()), find_offset(cosines, starts), len(starts))
