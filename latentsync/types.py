"""The values that travel between the packages. One legend for all of them:

B clips · F frames (16) · C channels · H, W frame pixels · R face side (256 or 512) · h = w = R/8 ·
T encoder positions at 50 Hz · L Whisper taps · D Whisper width · S audio tokens per frame (10 positions x L taps)

Frames are RGB everywhere. Times are exact fractions of a second from the start of the stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from latentsync.constants import FEATURE_RATE, FEATURES_AFTER, FEATURES_BEFORE

if TYPE_CHECKING:
    import torch
    from torch import Tensor


# -- media ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ColorTags:
    """How a stream says its YUV values are to be read; FFmpeg's integer codes, 2 = unspecified.

    ``full_range`` is None when the stream does not say.
    """

    matrix: int = 2
    primaries: int = 2
    transfer: int = 2
    full_range: bool | None = None


@dataclass(frozen=True, slots=True)
class AudioStreamInfo:
    """One sound track: FFmpeg codec name, samples per second, channels, length in seconds (None = not stated)."""

    codec: str
    sample_rate: int
    channels: int
    duration: Fraction | None


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the container and the codec say of a video, before a frame of it is decoded.

    ``width`` and ``height`` are of the frames as they are shown and as ``VideoSource.frames`` gives them: rotation is
    already applied. ``n_frames`` counts the packets of the stream, so a damaged tail can make it too high.
    """

    path: Path
    width: int
    height: int
    fps: Fraction  # average rate; the rate of a constant-rate file
    n_frames: int
    duration: Fraction  # seconds
    variable_frame_rate: bool = False
    rotation: int = 0  # degrees clockwise that the container asks for, already applied to the frames
    pix_fmt: str = "yuv420p"
    codec: str = ""
    bit_rate: int | None = None  # of the video stream, bit/s
    sample_aspect_ratio: Fraction = Fraction(1)
    color: ColorTags = field(default_factory=ColorTags)
    has_alpha: bool = False
    audio: tuple[AudioStreamInfo, ...] = ()


Box = tuple[int, int, int, int]  # a part of a frame: columns x0 to x1 - 1, rows y0 to y1 - 1, as (x0, y0, x1, y1)


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture. ``pixels`` (H, W, 3) uint8 RGB; ``alpha`` (H, W) uint8 or None; neither may be written to.

    ``index`` counts the frames of the source. ``time`` is when the frame is shown, in seconds: in the source when it
    comes from a ``VideoSource``, in the result once ``inference.timeline`` has put the frames into playing order.

    A frame of a video file (``media.planes``) makes RGB of itself only where it is looked at: ask for ``region`` or
    ``samples`` where they do, ``reduced`` for a small picture, and change a part with ``patched``.
    """

    index: int
    time: Fraction
    pixels: np.ndarray
    alpha: np.ndarray | None = None

    @classmethod
    def of(cls, pixels: np.ndarray) -> Frame:
        """A picture on its own."""
        return Frame(0, Fraction(0), pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3) of ``pixels``."""
        return self.pixels.shape

    def shown_at(self, time: Fraction, index: int | None = None) -> Frame:
        """The same picture at another time, counted as ``index`` if one is given."""
        return Frame(self.index if index is None else index, time, self.pixels, self.alpha)

    def region(self, box: Box) -> np.ndarray:
        """(y1 - y0, x1 - x0, 3) uint8: that part of ``pixels``, which must lie inside."""
        x0, y0, x1, y1 = box
        return self.pixels[y0:y1, x0:x1]

    def samples(self, width: int, height: int) -> np.ndarray:
        """(height, width, 3) uint8: pixels on an even grid over the picture."""
        import cv2  # late: hardly anyone who needs types needs pictures

        return cv2.resize(self.pixels, (width, height), interpolation=cv2.INTER_NEAREST)

    def reduced(self, scale: float) -> np.ndarray:
        """(H', W', 3) uint8: the picture made smaller by averaging; sides times ``scale``, rounded, at least one."""
        import cv2

        return cv2.resize(self.pixels, self.reduced_size(scale), interpolation=cv2.INTER_AREA)

    def reduced_size(self, scale: float) -> tuple[int, int]:
        """(W', H') of ``reduced``."""
        height, width, _ = self.shape
        return max(1, round(width * scale)), max(1, round(height * scale))

    def patched(self, box: Box, pixels: np.ndarray) -> Frame:
        """A new frame with ``pixels`` (y1 - y0, x1 - x0, 3) uint8 in that part."""
        x0, y0, x1, y1 = box
        changed = self.pixels.copy()
        changed[y0:y1, x0:x1] = pixels
        return Frame(self.index, self.time, changed, self.alpha)


class VideoSource(Protocol):
    """Anything that can give its frames in order, more than once."""

    info: VideoInfo

    def times(self) -> list[Fraction]:
        """When each frame is shown, seconds from the first."""
        ...

    def frames(self, start: int = 0, stop: int | None = None, *, reverse: bool = False) -> Iterator[Frame]:
        """Frames ``start`` to ``stop - 1`` in ascending order, or the same ones descending if ``reverse``."""
        ...


# -- face -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FaceObservation:
    """One face in one frame. Float32, in pixels of the frame, sub-pixel; pixel centres lie at whole numbers."""

    frame_index: int
    track_id: int
    box: np.ndarray  # (4,) x0, y0, x1, y1
    landmarks: np.ndarray  # (68, 2) iBUG order
    score: float  # detector's confidence, 0 to 1


@dataclass(frozen=True, slots=True)
class AlignedFace:
    """A face brought into the square that the network sees.

    ``pixels`` (3, R, R) float32 in [-1, 1]; ``matrix`` (2, 3) float64 maps frame pixels to canvas pixels.
    ``found`` is False for a stand-in, whose generated result is thrown away.
    """

    pixels: np.ndarray
    matrix: np.ndarray
    found: bool = True


# -- sound ------------------------------------------------------------------------------------------------------------


def feature_positions(frame_time: Fraction, n_positions: int) -> np.ndarray:
    """(10,) int64: the encoder positions that a video frame at ``frame_time`` seconds attends to.

    80 ms before to 120 ms after its own position ``floor(time * 50)``, in exact arithmetic; positions outside the file
    repeat its first or last one. Raises ``ValueError`` if there are no positions at all.
    """
    if n_positions < 1:
        raise ValueError("a sound track without a single encoder position has no windows")
    own = int(frame_time * FEATURE_RATE // 1)
    return np.clip(np.arange(own - FEATURES_BEFORE, own + FEATURES_AFTER), 0, n_positions - 1)


class AudioWindows(Protocol):
    """Audio conditioning by time, whether it was computed beforehand or is computed when asked for."""

    duration: Fraction  # of the sound, s

    def window(self, frame_time: Fraction) -> np.ndarray:
        """(S, D) float32 tokens for the video frame at ``frame_time`` seconds: time-major, tap-minor."""
        ...


@dataclass(frozen=True, slots=True)
class AudioFeatures:
    """Whisper's hidden states of a whole sound track. ``states`` (T, L, D) float32 at 50 Hz; tiny: L 5, D 384."""

    states: np.ndarray
    duration: Fraction

    def window(self, frame_time: Fraction) -> np.ndarray:
        """See ``AudioWindows.window``."""
        rows = self.states[feature_positions(frame_time, len(self.states))]
        return rows.reshape(-1, rows.shape[-1])


# -- generation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Window:
    """F aligned faces that are generated together, with the sound of each.

    ``faces`` (F, 3, R, R) float32 in [-1, 1]; ``audio`` (F, S, D) float32; ``number`` counts the windows of a run.
    ``reference`` (3, R, R): the face that the network is shown with its mouth, for all frames; None = each frame's own.
    """

    number: int
    faces: np.ndarray
    audio: np.ndarray
    reference: np.ndarray | None = None

    @property
    def references(self) -> np.ndarray:
        """(F or 1, 3, R, R) float32 in [-1, 1]: the faces that the network is shown whole."""
        return self.faces if self.reference is None else self.reference[None]


class WindowGenerator(Protocol):
    """The network as the pipeline sees it: windows in, faces out. Tests put stubs here."""

    resolution: int  # R

    def __call__(self, windows: list[Window]) -> np.ndarray:
        """(len(windows), F, 3, R, R) float32 in [-1, 1]; only the area to be generated is used."""
        ...


@dataclass(slots=True)
class FeatureCache:
    """Deep features that a denoiser may keep from one step for the next ones (see ``diffusion.step_cache``).

    When ``reuse`` is False the denoiser computes everything and stores ``hidden``; when True it starts from ``hidden``.
    """

    reuse: bool = False
    hidden: Tensor | None = None


class Denoiser(Protocol):
    """Predicts the noise of a batch of latent windows; the U-Net is one."""

    def __call__(
        self, sample: Tensor, timestep: Tensor, audio: Tensor, *, feature_cache: FeatureCache | None = None
    ) -> Tensor:
        """sample (B, 13, F, h, w), timestep () or (B,), audio (B, F, S, D) -> (B, 4, F, h, w)."""
        ...


# -- training ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClipFault:
    """A clip that cannot be used, and why; ``clip_id`` is its content hash, empty if the file could not be read."""

    path: str
    reason: str
    clip_id: str = ""


@dataclass(frozen=True, slots=True)
class SampleOrigin:
    """Where a training sample comes from, so that a bad step can name its data.

    ``faults`` are the clips that were asked for before this one and could not be used.
    """

    clip_id: str
    path: str
    start_frame: int
    faults: tuple[ClipFault, ...] = ()


@dataclass(frozen=True, slots=True)
class SyncBatch:
    """Pictures and sounds that belong together (label 1) or not (label 0).

    ``frames`` (B, F, 3, H, R) uint8 RGB, H = R or the lower half R/2, or (B, F, 2, C, h, w) float32, mean and standard
    deviation of the latents; ``mel`` (B, 1, 80, M) float32 in [-4, 4];
    ``labels`` (B,) float32. ``origins`` name the clip and the start of the pictures; ``step`` is that of the training.
    """

    frames: Tensor
    mel: Tensor
    labels: Tensor
    origins: tuple[SampleOrigin, ...]
    step: int

    def to(self, device: torch.device | str, non_blocking: bool = False) -> SyncBatch:
        """The same batch with its tensors on ``device``."""
        frames, mel, labels = (x.to(device, non_blocking=non_blocking) for x in (self.frames, self.mel, self.labels))
        return SyncBatch(frames, mel, labels, self.origins, self.step)


@dataclass(frozen=True, slots=True)
class UNetBatch:
    """What one training step of the U-Net sees.

    ``target``, ``masked`` and ``reference`` (B, F, 3, R, R) float32 in [-1, 1]; ``keep_mask`` (1, R, R), 1 = keep;
    ``audio`` (B, F, S, D) float32; ``mel`` (B, 1, 80, M) float32 in [-4, 4], None where no sync network listens.
    """

    target: Tensor
    masked: Tensor
    reference: Tensor
    keep_mask: Tensor
    audio: Tensor
    mel: Tensor | None
    origins: tuple[SampleOrigin, ...]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> UNetBatch:
        """The same batch with its tensors on ``device``."""
        target, masked, reference, keep_mask, audio, mel = (
            None if x is None else x.to(device, non_blocking=non_blocking)
            for x in (self.target, self.masked, self.reference, self.keep_mask, self.audio, self.mel)
        )
        return UNetBatch(target, masked, reference, keep_mask, audio, mel, self.origins)


# -- metrics ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SyncScore:
    """How well lips and sound agree, by SyncNet v2 (``metrics.sync_score``).

    ``confidence`` (LSE-C) median less minimum of the mean distances over all shifts; ``distance`` (LSE-D) the minimum;
    ``offset_frames`` the shift of the minimum in frames at 25 fps, positive if the sound comes too early.
    """

    confidence: float
    offset_frames: int
    distance: float


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean losses of a batch, scalars in float32; None = not computed.

    ``total`` is the weighted sum that is trained on; the others are as they came, without their weights.
    """

    total: Tensor
    recon: Tensor
    sync: Tensor | None = None
    perceptual: Tensor | None = None
    trepa: Tensor | None = None
    movement: Tensor | None = None
