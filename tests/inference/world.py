"""A drawn world whose every face is known, and generators that show what the pipeline did with them.

The frames carry their number as a row of black and white blocks in the top left corner, so a detector stub can look the
landmarks up, also after the video went through an encoder.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from latentsync.constants import AUDIO_RATE
from latentsync.face.align import anchor_points, estimate_similarity
from latentsync.face.detector import Detection
from latentsync.face.mask import load_mask
from latentsync.face.tracks import FaceTracks
from latentsync.inference.faces import tracking_settings
from latentsync.inference.options import SyncOptions
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.types import ArrayFrame, VideoInfo

BITS = 16
BLOCK = 8  # pixels; survives an encoder
MASK = load_mask("mask", 256)


def face_landmarks(centre, size):
    """(68, 2) float32: a frontal face ``size`` pixels wide around ``centre``, iBUG order."""

    def line(x0, y0, x1, y1, n):
        return np.linspace((x0, y0), (x1, y1), n)

    def ellipse(x, y, rx, ry, start, stop, n):
        angle = np.radians(np.linspace(start, stop, n))
        return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1)

    points = np.concatenate(
        [
            ellipse(0, 0, 0.5, 0.6, 180, 0, 17),  # jaw
            line(-0.38, -0.22, -0.10, -0.24, 5),  # brows
            line(0.10, -0.24, 0.38, -0.22, 5),
            line(0, -0.12, 0, 0.08, 4),  # nose
            line(-0.09, 0.14, 0.09, 0.14, 5),
            ellipse(-0.22, -0.1, 0.08, 0.03, 180, 480, 6),  # eyes
            ellipse(0.22, -0.1, 0.08, 0.03, 180, 480, 6),
            ellipse(0, 0.32, 0.18, 0.07, 180, 510, 12),  # mouth
            ellipse(0, 0.32, 0.14, 0.03, 180, 495, 8),
        ]
    )
    return (points * size + centre).astype(np.float32)


def write_number(pixels, number):
    for bit in range(BITS):
        pixels[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 if number >> bit & 1 else 0


def read_number(pixels):
    blocks = pixels[:BLOCK, : BITS * BLOCK].reshape(BLOCK, BITS, BLOCK, 3).mean(axis=(0, 2, 3))
    return sum(1 << bit for bit in range(BITS) if blocks[bit] > 127)


class DrawnVideo:
    """A ``VideoSource``: a face that drifts over a smooth background; ``missing`` frames show none."""

    def __init__(self, n, width=320, height=320, fps=25, face=130.0, missing=(), speed=(0.6, 0.2)):
        fps = Fraction(fps)
        self.info = VideoInfo(Path("drawn.mp4"), width, height, fps, n, n / fps)
        self.face, self.missing, self.speed = face, frozenset(missing), np.array(speed)
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        waves = [np.sin(rows / 37 + k) * 40 + np.cos(columns / 53 - k) * 40 + 120 for k in range(3)]
        self._background = np.clip(np.stack(waves, -1), 0, 255).astype(np.uint8)

    def landmarks(self, index):
        sway = np.sin(index / 25) * 25 * self.speed
        return face_landmarks(np.array([self.info.width / 2, self.info.height / 2 + 20]) + sway, self.face)

    def draw(self, index):
        pixels = self._background.copy()
        if index not in self.missing:
            points = self.landmarks(index)
            hull = cv2.convexHull(np.concatenate([points, points[17:27] - [0, self.face * 0.15]]).astype(np.float32))
            cv2.fillConvexPoly(pixels, (hull * 16).astype(np.int32), (200, 160, 130), cv2.LINE_AA, 4)
            for part in (points[36:42], points[42:48], points[48:60]):
                cv2.fillPoly(pixels, [(part * 16).astype(np.int32)], (120, 60, 60), cv2.LINE_AA, 4)
        write_number(pixels, index)
        return pixels

    def times(self):
        return [index / self.info.fps for index in range(self.info.n_frames)]

    def frames(self, start=0, stop=None, *, reverse=False):
        indices = range(self.info.n_frames)[start:stop]
        for index in reversed(indices) if reverse else indices:
            yield ArrayFrame(index, index / self.info.fps, self.draw(index))


class KnownFaces:
    """A detector that reads the frame's number and knows the rest. ``seen`` counts the frames it was given."""

    name = "known faces"

    def __init__(self, video):
        self.video, self.seen = video, 0

    def detect(self, frames):
        self.seen += len(frames)
        return [self._detect(read_number(frame.pixels)) for frame in frames]

    def _detect(self, index):
        if index in self.video.missing:
            return []
        points = self.video.landmarks(index)
        box = np.concatenate([points.min(0), points.max(0)]).astype(np.float32)
        return [Detection(box=box, landmarks=points, score=0.99)]


class Crowd(DrawnVideo):
    """Faces from left to right, of which larger ones are nearer; ``centres`` and ``sizes`` in pixels."""

    def __init__(self, n, centres=((130, 170), (390, 170)), sizes=(110.0, 130.0), width=540, height=330):
        super().__init__(n, width=width, height=height)
        self.centres, self.sizes = centres, sizes

    def faces(self, index):
        sway = np.array([6 * np.sin(index / 9), 2 * np.cos(index / 7)])
        places = zip(self.centres, self.sizes, strict=True)
        return [face_landmarks(np.array(centre) + sway, size) for centre, size in places]

    def draw(self, index):
        pixels = self._background.copy()
        for points in sorted(self.faces(index), key=lambda face: np.ptp(face[:, 1])):
            top = points[17:27] - [0, 15]
            hull = cv2.convexHull(np.concatenate([points, top]).astype(np.float32))
            cv2.fillConvexPoly(pixels, (hull * 16).astype(np.int32), (200, 160, 130), cv2.LINE_AA, 4)
            for part in (points[36:42], points[42:48], points[48:60]):
                cv2.fillPoly(pixels, [(part * 16).astype(np.int32)], (120, 60, 60), cv2.LINE_AA, 4)
        write_number(pixels, index)
        return pixels


class KnownCrowd:
    """As ``KnownFaces``, for a ``Crowd``."""

    name = "known crowd"

    def __init__(self, video):
        self.video = video

    def detect(self, frames):
        return [[self._face(points) for points in self.video.faces(read_number(f.pixels))] for f in frames]

    def _face(self, points):
        return Detection(np.concatenate([points.min(0), points.max(0)]).astype(np.float32), points, 0.99)


class ClockAudio:
    """The token of a frame is the number of its encoder position, floor(50 t)."""

    def __init__(self, duration):
        self.duration = Fraction(duration)

    def window(self, frame_time):
        return np.full((1, 1), float(frame_time * 50 // 1), np.float32)


class Identity:
    """Returns its crops."""

    def __init__(self, resolution=256):
        self.resolution = resolution

    def __call__(self, windows):
        return np.stack([window.faces for window in windows])


class IndexPainter(Identity):
    """Writes the token of each frame into the mouth as a 4 x 4 field of black and white blocks."""

    rows, columns = slice(148, 196), slice(96, 160)

    def __call__(self, windows):
        faces = super().__call__(windows)
        for face, window in zip(faces, windows, strict=True):
            for frame, token in zip(face, window.audio[:, 0, 0], strict=True):
                bits = [int(token) >> bit & 1 for bit in range(BITS)]
                field = np.repeat(np.repeat(np.reshape(bits, (4, 4)), 12, 0), 16, 1) * 1.8 - 0.9
                frame[:, self.rows, self.columns] = field
        return faces

    @classmethod
    def read(cls, pixels, landmarks):
        """The token in a frame whose landmarks are known, or None if the frame's mouth was not painted."""
        crop = estimate_similarity(anchor_points(landmarks), 256)
        square = np.diag([256 / 210, 256 / 280]) @ crop
        field = cv2.warpAffine(pixels, square, (256, 256), flags=cv2.INTER_LINEAR)[cls.rows, cls.columns].mean(-1)
        levels = field.reshape(4, 12, 4, 16)[:, 4:8, :, 5:11].mean(axis=(1, 3)).ravel()
        if np.minimum(abs(levels - 12.75), abs(levels - 242.25)).max() > 40:
            return None
        return sum(1 << bit for bit in range(BITS) if levels[bit] > 127)


class ColorShift(Identity):
    """A generator whose colors are off: gain 0.9 and (+8, -5, +6) grey levels."""

    def __call__(self, windows):
        faces = (super().__call__(windows) + 1) * 127.5
        shifted = faces * 0.9 + np.array([8, -5, 6], np.float32)[:, None, None]
        return np.clip(shifted, 0, 255) / 127.5 - 1


def sync(video, seconds, generator=None, detector=None, record=None, in_flight=1, **options):
    """All frames of a dub of ``video`` with ``seconds`` of audio, through stubs."""
    seconds = Fraction(seconds)
    pipeline = LipsyncPipeline(
        lambda chosen, on_step, kept: generator or Identity(),
        lambda waveform, chosen: ClockAudio(seconds),
        MASK,
        in_flight=in_flight,
    )
    chosen = SyncOptions(**{"check_output": False} | options)
    tracks = FaceTracks(detector or KnownFaces(video), settings=tracking_settings(chosen))
    waveform = np.zeros(int(seconds * AUDIO_RATE), np.float32)
    return pipeline.sync(video, waveform, chosen, tracks, record)
