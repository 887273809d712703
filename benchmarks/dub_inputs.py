"""Videos of synthetic talkers for benchmarks, at any size, with audio and with the faces as they were drawn."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.data.talkers.clip import TalkerClip, make_talker
from latentsync.data.talkers.cross import FIRST_SEED
from latentsync.data.talkers.files import write_wav
from latentsync.face.detections_file import Detections, write_detections
from latentsync.face.detector import Detection
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.types import ArrayFrame, Frame, VideoInfo

DRAWN = EncodingOptions("h264", 18, "veryfast")


@dataclass(frozen=True, slots=True)
class DubInput:
    """What a dub needs: a video, audio, and a file of faces or the name of a detector."""

    video: Path
    audio: Path
    faces: str


def draw_input(folder: Path, seconds: float, size: tuple[int, int], fps: Fraction | int = 25) -> DubInput:
    """A talker of ``size`` (width, height) px, and another sentence of the same length for the dub."""
    person, said, new, scene = (FIRST_SEED + k for k in range(4))
    clip = make_talker(person, said, scene, seconds=seconds, size=size, fps=fps)
    other = make_talker(person, new, scene, seconds=seconds, size=size, fps=fps)
    dub_input = DubInput(folder / "video.mp4", folder / "speech.wav", str(folder / "faces.npz"))
    write_talker_video(dub_input.video, clip, DRAWN)
    write_wav(dub_input.audio, other.waveform)
    write_detections(Path(dub_input.faces), drawn_faces(clip))
    return dub_input


def write_talker_video(path: Path, clip: TalkerClip, encoding: EncodingOptions) -> None:
    """A talker with its audio, over an older file of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = clip.n_frames
    info = VideoInfo(Path("talker"), clip.width, clip.height, clip.fps, count, count / clip.fps)
    frames = (ArrayFrame(index, Fraction(index) / clip.fps, pixels) for index, pixels in enumerate(clip.frames()))
    audio = path.with_suffix(".audio.wav")
    write_wav(audio, clip.waveform)
    try:
        write_video(path, frames, info, encoding, audio, overwrite=True)
    finally:
        audio.unlink()


def in_rgb(frame: Frame) -> Frame:
    """The frame as nothing but RGB: what reads and writes it converts all of it."""
    return ArrayFrame(frame.index, frame.time, frame.pixels, frame.alpha)


def drawn_faces(clip: TalkerClip) -> Detections:
    """The drawn landmarks as a detector would give them."""
    return {
        number: [Detection(np.concatenate([points.min(0), points.max(0)]), points, 1.0)]
        for number, points in enumerate(clip.landmarks)
    }
