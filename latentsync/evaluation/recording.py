"""One video as all metrics see it: 25 frames per second, and its sound from the first frame on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from latentsync.constants import AUDIO_RATE, MODEL_FPS
from latentsync.errors import AudioError
from latentsync.media.audio import audio_start, read_audio
from latentsync.media.rate import at_rate
from latentsync.media.video import VideoFile


@dataclass(frozen=True)
class Recording:
    """``sound`` (n,) float32 at 16 kHz that belongs to the pictures, or None and ``no_sound`` why. ``size``: (width,
    height) that frames are brought to."""

    video: VideoFile
    sound: np.ndarray | None
    no_sound: str
    size: tuple[int, int]
    n_frames: int = field(init=False)  # at 25 frames/s

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_frames", max(1, round(self.video.info.duration * MODEL_FPS)))

    @property
    def seconds(self) -> float:
        """Length of the pictures."""
        return float(self.video.info.duration)

    def pictures(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 RGB, ``n_frames`` of them, decoded anew at every call; close the iterator."""
        frames = self.video.frames()
        try:
            for frame in at_rate(frames, self.n_frames):
                yield self.fit(frame.pixels)
        finally:
            frames.close()

    def fit(self, pixels: np.ndarray) -> np.ndarray:
        """A frame of the video in the size that is asked for."""
        if (pixels.shape[1], pixels.shape[0]) == self.size:
            return pixels
        shrinking = pixels.shape[0] > self.size[1]
        return cv2.resize(pixels, self.size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)


def open_recording(path: Path, size: tuple[int, int] | None = None) -> Recording:
    """``size``: (width, height) to bring its frames to; None keeps their own. Raises ``VideoError``."""
    video = VideoFile(path)
    sound, no_sound = None, ""
    try:
        sound = _sound_of(video)
    except AudioError as error:
        no_sound = error.message
    return Recording(video, sound, no_sound, size or (video.info.width, video.info.height))


def differences(result: Recording, truth: Recording) -> list[str]:
    """What sets the files apart before anything is measured, in words."""
    mine, true = result.video.info, truth.video.info
    found = []
    if (mine.width, mine.height) != (true.width, true.height):
        found.append(f"size: {mine.width} x {mine.height} instead of {true.width} x {true.height} px; scaled")
    if mine.fps != true.fps:
        found.append(f"fps: {_rate(mine.fps)} instead of {_rate(true.fps)}; compared at 25 frames/s")
    if abs(mine.duration - true.duration) > Fraction(1, 25):
        found.append(
            f"length: {float(mine.duration):.2f} instead of {float(true.duration):.2f} s; the common part is compared"
        )
    return found + [f"sound: {each.no_sound}" for each in (result, truth) if each.no_sound]


def _sound_of(video: VideoFile) -> np.ndarray:
    """Shifted so that its first sample belongs to the first frame."""
    path = video.info.path
    waveform = read_audio(path)
    delay = round((audio_start(path) - video.start) * AUDIO_RATE)  # samples by which the sound begins later
    return np.pad(waveform, (delay, 0)) if delay > 0 else waveform[-delay:]


def _rate(fps: Fraction) -> str:
    return f"{float(fps):.5g}"
