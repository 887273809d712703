"""Films of synthetic talkers for benchmarks: drawn at any size, with a sound and with the faces as they were drawn."""

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
class Film:
    """What a dub needs: a video, a sound, and a file of faces or the name of a detector."""

    video: Path
    audio: Path
    faces: str


def draw_film(folder: Path, seconds: float, size: tuple[int, int], fps: Fraction | int = 25) -> Film:
    """A talker of ``size`` (width, height) px, and another sentence of the same length for the dub."""
    person, said, new, scene = (FIRST_SEED + k for k in range(4))
    clip = make_talker(person, said, scene, seconds=seconds, size=size, fps=fps)
    other = make_talker(person, new, scene, seconds=seconds, size=size, fps=fps)
    film = Film(folder / "film.mp4", folder / "speech.wav", str(folder / "faces.npz"))
    write_film(film.video, clip, DRAWN)
    write_wav(film.audio, other.waveform)
    write_detections(Path(film.faces), drawn_faces(clip))
    return film


def write_film(path: Path, clip: TalkerClip, encoding: EncodingOptions) -> None:
    """One film with its sound, over an older one of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = clip.n_frames
    info = VideoInfo(Path("talker"), clip.width, clip.height, clip.fps, count, count / clip.fps)
    frames = (ArrayFrame(index, Fraction(index) / clip.fps, pixels) for index, pixels in enumerate(clip.frames()))
    sound = path.with_suffix(".sound.wav")
    write_wav(sound, clip.waveform)
    try:
        write_video(path, frames, info, encoding, sound, overwrite=True)
    finally:
        sound.unlink()


def in_rgb(frame: Frame) -> Frame:
    """The frame as nothing but RGB: what reads and writes it converts all of it."""
    return ArrayFrame(frame.index, frame.time, frame.pixels, frame.alpha)


def drawn_faces(clip: TalkerClip) -> Detections:
    """The drawn landmarks as a detector would give them."""
    return {
        number: [Detection(np.concatenate([points.min(0), points.max(0)]), points, 1.0)]
        for number, points in enumerate(clip.landmarks)
    }
