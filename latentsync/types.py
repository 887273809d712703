"""The values that travel between the packages. One legend for all of them:

B clips · F frames (16) · C channels · H, W frame pixels · R face side (256 or 512) · h = w = R/8 ·
T encoder positions at 50 Hz · L Whisper taps · D Whisper width · S audio tokens per frame (10 positions x L taps)

Frames are RGB everywhere. Times are exact fractions of a second from the start of the stream.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from latentsync.constants import FEATURE_RATE, FEATURES_AFTER, FEATURES_BEFORE, MODEL_FPS, WINDOW_FRAMES

if TYPE_CHECKING:
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
class HdrMetadata:
    """What an HDR stream says of the screen that it was graded on (SMPTE ST 2086) and of its light (CTA-861.3).

    ``mastering``: x and y of red, green, blue and white, then the least and the most light in cd/m2, ten numbers;
    ``light``: the most light of a pixel, and of a frame on average, in cd/m2. None where it does not say.
    """

    mastering: tuple[Fraction, ...] | None = None
    light: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class AudioStreamInfo:
    """One audio stream: FFmpeg codec name, samples per second, channels, length in seconds (None = not stated)."""

    codec: str
    sample_rate: int
    channels: int
    duration: Fraction | None


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the container and the codec say of a video, before a frame of it is decoded.

    ``width`` and ``height`` are those of the frames that ``VideoSource.frames`` gives: rotation is already applied.
    ``n_frames`` counts the packets of the stream, so a damaged end of the file can make it too high.
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
    usual_interval: Fraction | None = None  # median time between neighbouring frames, s; None: 1 / fps
    hdr: HdrMetadata = field(default_factory=HdrMetadata)
    first_field: str = ""  # "top" or "bottom", which is shown first; "" for frames that are not interlaced

    @property
    def frame_interval(self) -> Fraction:
        """Seconds between neighbouring frames as a rule: a long pause weighs no more than a short one."""
        return (self.usual_interval if self.variable_frame_rate else None) or 1 / self.fps


Box = tuple[int, int, int, int]  # (x0, y0, x1, y1): columns x0 to x1 - 1 and rows y0 to y1 - 1 of a frame


class Frame(Protocol):
    """One image of a video. Nobody writes to its arrays: ``patched`` gives a new frame.

    Two classes are frames. An ``ArrayFrame`` holds RGB pixels. A ``media.planes.DecodedFrame`` holds what the decoder
    gave and converts to RGB only the part that is asked for: ask for ``region`` or ``samples`` where they are enough,
    and for ``reduced`` where a small image is.
    """

    @property
    def index(self) -> int:
        """Number of the frame in its source, from 0."""

    @property
    def time(self) -> Fraction:
        """When the frame is shown, in seconds: in its source, or in the result behind ``inference.timeline``."""

    @property
    def pixels(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""

    @property
    def alpha(self) -> np.ndarray | None:
        """(H, W) uint8, or None for an opaque frame."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3) of ``pixels``."""

    def shown_at(self, time: Fraction, index: int | None = None) -> Frame:
        """The same image at another time, counted as ``index`` if one is given."""

    def region(self, box: Box) -> np.ndarray:
        """(y1 - y0, x1 - x0, 3) uint8: the pixels in ``box``, which must lie inside the frame."""

    def samples(self, width: int, height: int) -> np.ndarray:
        """(height, width, 3) uint8: pixels on an even grid over the image."""

    def reduced(self, scale: float) -> np.ndarray:
        """(H', W', 3) uint8: the image made smaller by averaging, to the size that ``reduced_size`` gives."""

    def patched(self, box: Box, pixels: np.ndarray) -> Frame:
        """A new frame with ``pixels`` (y1 - y0, x1 - x0, 3) uint8 in ``box``."""


def reduced_size(shape: tuple[int, ...], scale: float) -> tuple[int, int]:
    """(W', H') of an image of ``shape`` (H, W, ...): its sides times ``scale``, rounded, at least one pixel."""
    height, width = shape[:2]
    return max(1, round(width * scale)), max(1, round(height * scale))


@dataclass(frozen=True, slots=True)
class ArrayFrame:
    """A ``Frame`` whose pixels are in memory as RGB."""

    index: int
    time: Fraction
    pixels: np.ndarray
    alpha: np.ndarray | None = None

    @classmethod
    def of(cls, pixels: np.ndarray) -> ArrayFrame:
        """A single image: frame 0 at 0 s."""
        return cls(0, Fraction(0), pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """See ``Frame.shape``."""
        height, width, channels = self.pixels.shape
        return height, width, channels

    def shown_at(self, time: Fraction, index: int | None = None) -> ArrayFrame:
        """See ``Frame.shown_at``."""
        return ArrayFrame(self.index if index is None else index, time, self.pixels, self.alpha)

    def region(self, box: Box) -> np.ndarray:
        """See ``Frame.region``; a view."""
        x0, y0, x1, y1 = box
        return self.pixels[y0:y1, x0:x1]

    def samples(self, width: int, height: int) -> np.ndarray:
        """See ``Frame.samples``."""
        import cv2  # here, because most of what needs these types needs no images

        return cv2.resize(self.pixels, (width, height), interpolation=cv2.INTER_NEAREST)

    def reduced(self, scale: float) -> np.ndarray:
        """See ``Frame.reduced``."""
        import cv2

        return cv2.resize(self.pixels, reduced_size(self.shape, scale), interpolation=cv2.INTER_AREA)

    def patched(self, box: Box, pixels: np.ndarray) -> ArrayFrame:
        """See ``Frame.patched``."""
        x0, y0, x1, y1 = box
        changed = self.pixels.copy()
        changed[y0:y1, x0:x1] = pixels
        return ArrayFrame(self.index, self.time, changed, self.alpha)


class VideoSource(Protocol):
    """A video whose frames can be read in order, more than once."""

    info: VideoInfo

    def times(self) -> list[Fraction]:
        """When each frame is shown, seconds from the first."""

    def frames(self, start: int = 0, stop: int | None = None, *, reverse: bool = False) -> Generator[Frame, None, None]:
        """Frames ``start`` to ``stop - 1`` in ascending order, or the same ones descending if ``reverse``.

        Closing the generator closes the source.
        """


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
    """A face on the canvas, the square that the network sees.

    ``pixels`` (3, R, R) float32 in [-1, 1]; ``matrix`` (2, 3) float64 maps frame pixels to canvas pixels. ``key``:
    ``face.align.image_key`` of the pixels, empty where nobody made it.
    """

    pixels: np.ndarray
    matrix: np.ndarray
    key: bytes = b""


# -- audio ------------------------------------------------------------------------------------------------------------


def feature_positions(frame_time: Fraction, n_positions: int) -> np.ndarray:
    """(10,) int64: the encoder positions that a video frame at ``frame_time`` seconds attends to.

    These are the positions from 80 ms before to 120 ms after the frame's own, ``floor(frame_time * 50)``, in exact
    arithmetic. Outside the file its first or last position is repeated. Raises ``ValueError`` if there are none at all.
    """
    if n_positions < 1:
        raise ValueError("audio without a single encoder position has no windows")
    own = int(frame_time * FEATURE_RATE // 1)
    return np.clip(np.arange(own - FEATURES_BEFORE, own + FEATURES_AFTER), 0, n_positions - 1)


class AudioWindows(Protocol):
    """Audio conditioning by time. The last frame of a window is asked for first, so that features which are computed
    while the audio comes (``features.live_features``) are computed once for all of its frames."""

    duration: Fraction  # of the audio, s

    def window(self, frame_time: Fraction) -> np.ndarray:
        """(S, D) float32 tokens for the video frame at ``frame_time`` seconds: time-major, tap-minor."""


@dataclass(frozen=True, slots=True)
class AudioFeatures:
    """Whisper's hidden states of a whole audio track. ``states`` (T, L, D) float32 at 50 Hz; tiny: L 5, D 384."""

    states: np.ndarray
    duration: Fraction

    def window(self, frame_time: Fraction) -> np.ndarray:
        """See ``AudioWindows.window``."""
        rows = self.states[feature_positions(frame_time, len(self.states))]
        return rows.reshape(-1, rows.shape[-1])


# -- generation -------------------------------------------------------------------------------------------------------


class Compat(StrEnum):
    """The published release that a run reproduces in alignment, windows, posterior draws and paste (``--compat``).

    Where no release is reproduced, ``compat`` is None.
    """

    V1_0 = "1.0"
    V1_5 = "1.5"
    V1_6 = "1.6"


@dataclass(frozen=True, slots=True)
class Window:
    """F aligned faces that are generated together, with the audio tokens of each.

    ``faces`` (F, 3, R, R) float32 in [-1, 1]; ``audio`` (F, S, D) float32; ``number`` counts the windows of a run.
    ``reference`` (3, R, R) float32 in [-1, 1] is the reference image of all frames; None = each frame's own face.
    ``face_keys`` (one for each frame) and ``reference_key`` are their ``face.align.image_key``, or empty. ``variant``:
    which of the settings of a run it is generated with (``inference.scene.Cast.variants``).
    """

    number: int
    faces: np.ndarray
    audio: np.ndarray
    reference: np.ndarray | None = None
    face_keys: tuple[bytes, ...] = ()
    reference_key: bytes = b""
    variant: int = 0

    @property
    def references(self) -> np.ndarray:
        """(F or 1, 3, R, R) float32 in [-1, 1]: the reference images, which show the mouth."""
        return self.faces if self.reference is None else self.reference[None]


class WindowGenerator(Protocol):
    """What generates faces for the pipeline: windows in, faces out. Tests put stubs here."""

    resolution: int  # R

    def __call__(self, windows: list[Window]) -> np.ndarray:
        """(len(windows), F, 3, R, R) float32 in [-1, 1]; only the area that the mask leaves to generate is used."""


@dataclass(slots=True)
class FeatureCache:
    """Deep features that a denoiser may keep from one step for the next ones (see ``diffusion.sampler``).

    If ``reuse`` is False, the denoiser computes everything and stores ``hidden``; if True, it starts from ``hidden``.
    """

    reuse: bool = False
    hidden: Tensor | None = None


class Denoiser(Protocol):
    """Predicts the noise of a batch of latent windows; the U-Net is one."""

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor,
        audio: Tensor,
        *,
        feature_cache: FeatureCache | None = None,
        guided: bool = False,
    ) -> Tensor:
        """sample (B, 13, F, h, w), timestep () or (B,), audio (B, F, S, D) -> (B, 4, F, h, w). ``guided``:
        (2 B, 4, F, h, w), for the same windows with tokens that are all zero, then for them with ``audio``."""


# -- losses and metrics -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SyncView:
    """What a sync network looks at; the defaults are those of the published ones."""

    num_frames: int = WINDOW_FRAMES  # F
    resolution: int = 256  # R, face side in pixels
    lower_half: bool = True  # of the face, or of its latents
    fps: Fraction = MODEL_FPS
    latent: bool = False  # whether the network looks at latents

    @property
    def cuts_pixels(self) -> bool:
        """Whether the lower half is taken of the frames. Latents are cut as such: a cell of a codec also depends on
        pixels far away, and a U-Net's latents are those of the whole face."""
        return self.lower_half and not self.latent


@dataclass(frozen=True, slots=True)
class SyncScore:
    """How well lips and audio agree, by SyncNet v2 (``metrics.sync_score``).

    SyncNet gives a mean distance for each shift of the audio. ``confidence`` (LSE-C) is the median of these distances
    minus their minimum, ``distance`` (LSE-D) the minimum, and ``offset_frames`` the shift of the minimum in frames at
    25 fps, positive if the audio comes too early.
    """

    confidence: float
    offset_frames: int
    distance: float


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean losses of a batch, scalars in float32; None = not computed.

    ``total`` is the weighted sum that is trained on; the others are without their weights.
    """

    total: Tensor
    recon: Tensor
    sync: Tensor | None = None
    perceptual: Tensor | None = None
    trepa: Tensor | None = None
    movement: Tensor | None = None
    consistency: Tensor | None = None
