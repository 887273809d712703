"""Random access to the frames and the audio of training clips, and what is computed from them, kept on disk."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import numpy as np

from latentsync.atomic import atomic_file
from latentsync.audio.mel import syncnet_mel
from latentsync.constants import AUDIO_RATE
from latentsync.data.manifest import Clip
from latentsync.errors import DataError, LatentSyncError, OutOfMemoryError, VideoError
from latentsync.extras import package_missing
from latentsync.media.audio import read_audio
from latentsync.media.decoder import PNG_CODECS, decode_all
from latentsync.media.limits import GENEROUS
from latentsync.media.probe import probe_video
from latentsync.types import AudioFeatures

if TYPE_CHECKING:
    from latentsync.features import AudioEncoder

logger = logging.getLogger(__name__)

# Loudest band of a mel frame below which the frame counts as silent; that of white noise at -60 dBFS (measured).
SILENT_MEL = -2.0
MEL_VERSION = "mel-1"  # part of the cache folder's name: change it when syncnet_mel changes its values


_LIMITS = replace(GENEROUS, pixels=3840 * 2160)  # of a training clip
_LONGER, _MORE_SECONDS = 2, 10  # times the length that the manifest states, and seconds: what audio may last
_CHECKED = 2**20  # clips whose frame size a process remembers


@cache
def load_decord() -> ModuleType:
    """The library, told to leave the reporting to us. Raises ``PackageMissingError`` where it does not load."""
    import cv2  # noqa: F401  must be loaded first: the other order breaks OpenCV's PNG reading

    try:
        import decord
    except ImportError as error:
        raise package_missing("Reading training clips", "train", error) from error

    decord.logging.set_level(decord.logging.QUIET)
    return decord


@lru_cache(maxsize=_CHECKED)
def frame_size(path: Path) -> tuple[int, int]:
    """Width and height of a clip's frames, for which every one of them is decoded.

    decord knows no limits, neither of frames that are larger than the file says nor of other files that it may point
    to. So it is given only what ``media`` has read through before: each clip once in every process, in about the time
    that a window of it takes. Raises ``DataError`` if there is no frame, if the size changes, beyond 4K, and for PNG
    images, whose comments unpack to any size.
    """
    size, changed = None, ""
    try:
        if probe_video(path, limits=_LIMITS).codec in PNG_CODECS:
            raise DataError("undecodable: its frames are PNG images, which may unpack to any size")
        with closing(decode_all(path, _LIMITS)) as frames:
            for number, frame in enumerate(frames):
                size = size or (frame.width, frame.height)
                if (frame.width, frame.height) != size:
                    changed = f"{size[0]} x {size[1]} px, from frame {number} on {frame.width} x {frame.height}"
                    break
    except VideoError as error:
        raise DataError(f"undecodable: {error.message}") from error
    if changed:
        raise DataError(f"changing size: {changed}")
    if size is None:
        raise DataError("undecodable: not one frame")
    return size


def read_clip_frames(clip: Clip, start: int, count: int) -> np.ndarray:
    """Frames ``start`` to ``start + count - 1`` as (count, H, W, 3) uint8 RGB. Raises ``DataError`` if they cannot be
    decoded, and as ``frame_size``."""
    frame_size(clip.path)
    decord = load_decord()
    try:
        reader = decord.VideoReader(str(clip.path), ctx=decord.cpu(0), num_threads=1)
        frames = reader.get_batch(range(start, start + count)).asnumpy()
    except (decord.DECORDError, RuntimeError, IndexError) as error:
        raise DataError(f"undecodable: frames {start} to {start + count - 1}: {_first_line(error)}") from error
    if frames.shape[0] != count:
        raise DataError(f"undecodable: {frames.shape[0]} of {count} frames from frame {start} on")
    return frames


class FrameReader:
    """Windows of clips. Clips stay decoded in memory, first come, first kept, while they fit ``keep_bytes``.

    What a window holds does not depend on what is kept: of a damaged clip every window is decoded by itself.
    """

    def __init__(self, keep_bytes: int = 0) -> None:
        self._left = keep_bytes
        self._kept: dict[str, np.ndarray] = {}
        self._damaged: set[str] = set()

    def __call__(self, clip: Clip, start: int, count: int) -> np.ndarray:
        """(count, H, W, 3) uint8 RGB. Raises ``DataError`` if the frames cannot be decoded."""
        if clip.content not in self._kept and self._fits(clip):
            self._keep(clip)
        if clip.content in self._kept:
            return self._kept[clip.content][start : start + count]
        return read_clip_frames(clip, start, count)

    def _fits(self, clip: Clip) -> bool:
        if clip.content in self._damaged or clip.frames * 3 > self._left:
            return False
        width, height = frame_size(clip.path)
        return clip.frames * width * height * 3 <= self._left

    def _keep(self, clip: Clip) -> None:
        try:
            self._kept[clip.content] = read_clip_frames(clip, 0, clip.frames)
        except DataError:  # the window that was asked for may be whole; if it is not, that is what the caller hears of
            self._damaged.add(clip.content)
        else:
            self._left -= self._kept[clip.content].nbytes


class ArrayCache:
    """Arrays computed from clips, by content hash, in one folder: same-named clips never mix.

    ``folder`` names what they are and how they were computed.

    Safe for many processes: files appear whole. A damaged file is computed anew, with a warning. ``mapped``: arrays
    that are there are read-only and loaded as they are looked at, for readers of small parts of large ones.
    """

    def __init__(self, folder: Path, *, mapped: bool = False) -> None:
        self._folder = folder
        self._mode: Literal["r"] | None = "r" if mapped else None

    def get(self, content: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of the clip with that content hash; ``compute`` is called if it is not there."""
        found = self.find(content)
        if found is not None:
            return found
        array = compute()
        self.put(content, array)
        return array

    def find(self, content: str) -> np.ndarray | None:
        """The array of the clip with that content hash; None if it is not there."""
        path = self._path(content)
        if not path.is_file():
            return None
        try:
            return np.load(path, mmap_mode=self._mode, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            logger.warning("Cached array %s is damaged (%s); computing it again.", path, error)
            return None

    def put(self, content: str, array: np.ndarray) -> None:
        """Keep the array of the clip with that content hash."""
        with atomic_file(self._path(content)) as temporary, temporary.open("wb") as file:
            np.save(file, array, allow_pickle=False)

    def _path(self, content: str) -> Path:
        return self._folder / content[:2] / f"{content}.npy"


class MelReader:
    """Mel spectrograms (80, T) float32 of clips, from the cache where there is one."""

    def __init__(self, cache: ArrayCache) -> None:
        self._cache = cache

    def __call__(self, clip: Clip) -> np.ndarray:
        """Raises ``DataError`` if the audio cannot be read or is silent from end to end."""
        mel = self._cache.get(clip.content, lambda: _mel(_waveform(clip)))
        if silent_share(mel) == 1.0:
            raise DataError("silent: no sound above -60 dBFS in the whole clip")
        return mel


class AudioFeatureReader:
    """Features of a clip's whole audio, kept in ``cache`` as float16 (the precision that the published code trains on).

    ``cache`` belongs to one encoder: name its folder after the encoder's weights. Worker processes compute on the
    encoder's device, so fill the cache first (call this once per clip) where that is a GPU.
    """

    def __init__(self, encoder: AudioEncoder, cache: ArrayCache) -> None:
        self._encoder = encoder
        self._cache = cache

    def __call__(self, clip: Clip) -> AudioFeatures:
        """Raises ``DataError`` if the audio cannot be read or is too short for a single encoder position."""
        states = self._cache.get(clip.content, lambda: self._states(clip, _waveform(clip)))
        return AudioFeatures(states.astype(np.float32), Fraction(clip.audio_seconds).limit_denominator(AUDIO_RATE))

    def load(self, clip: Clip) -> np.ndarray | None:
        """The waveform that is still to be encoded; None if the features are in the cache. Raises as a call does."""
        return None if self._cache.find(clip.content) is not None else _waveform(clip)

    def encode(self, clip: Clip, waveform: np.ndarray) -> None:
        """Keep the features of what ``load`` gave. Raises as a call does."""
        self._cache.put(clip.content, self._states(clip, waveform))

    def _states(self, clip: Clip, waveform: np.ndarray) -> np.ndarray:
        with _unreadable_audio():
            return self._encoder.encode(waveform).states.astype(np.float16)


def silent_share(mel: np.ndarray) -> float:
    """Share of the frames of a mel spectrogram (80, T) that are silent."""
    return float((mel.max(axis=0) < SILENT_MEL).mean())


def _waveform(clip: Clip) -> np.ndarray:
    """The audio of a clip, (n,) float32 at 16 kHz. Raises ``DataError`` if there is none."""
    stated = math.ceil(_LONGER * clip.audio_seconds) + _MORE_SECONDS
    limits = replace(_LIMITS, held_seconds=min(stated, _LIMITS.held_seconds or stated))
    with _unreadable_audio():
        return read_audio(clip.path, limits=limits)


def _mel(waveform: np.ndarray) -> np.ndarray:
    with _unreadable_audio():
        return syncnet_mel(waveform)


@contextmanager
def _unreadable_audio() -> Iterator[None]:
    """Errors in the block are those of a clip whose audio cannot be used, but for a lack of memory."""
    try:
        yield
    except OutOfMemoryError:
        raise
    except LatentSyncError as error:
        raise DataError(f"unreadable sound: {error.message}") from error


def _first_line(error: Exception) -> str:
    """The cause without decord's clock and the place in its own source."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"\[\d+:\d+:\d+\] \S+:\d+: ", "", line)
