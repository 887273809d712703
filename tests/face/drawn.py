"""Known faces for the tests: landmarks that move as told, frames without content, a detector that knows the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import cv2
import numpy as np

from latentsync.face.detector import Detection
from latentsync.types import ArrayFrame, Frame
from tests.golden import golden_arrays


def known_landmarks() -> np.ndarray:
    """(68, 2) float64 of a frontal face about 190 px wide, around (300, 300)."""
    return golden_arrays("geometry/head")["landmarks68"][0].astype(np.float64)


def placed(centre: tuple[float, float], width: float, degrees: float = 0.0) -> np.ndarray:
    """(68, 2): the known face with its outline ``width`` px wide, rotated, its mean at ``centre``."""
    landmarks = known_landmarks()
    landmarks = (landmarks - landmarks.mean(axis=0)) * (width / np.ptp(landmarks[:, 0]))
    angle = np.deg2rad(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return landmarks @ rotation.T + centre


def detection(landmarks: np.ndarray, score: float = 0.9) -> Detection:
    """A detection with the landmarks' own box."""
    box = np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)])
    return Detection(box.astype(np.float32), landmarks.astype(np.float32), score)


def blank_frames(count: int, fps: int = 25, cuts: tuple[int, ...] = ()) -> Iterator[Frame]:
    """Small frames of one grey each, another grey after each cut; the frame number is in the first pixel."""
    for index in range(count):
        pixels = np.full((36, 64, 3), 60 + 120 * (sum(index >= cut for cut in cuts) % 2), dtype=np.uint8)
        pixels[0, 0] = (index // 256, index % 256, 0)
        yield ArrayFrame(index, Fraction(index, fps), pixels)


class TruthfulDetector:
    """Answers from a function of the frame number (see ``blank_frames``) and counts the frames it is asked about."""

    name = "truthful"

    def __init__(self, faces: Callable[[int], list[Detection]]) -> None:
        self._faces = faces
        self.asked: list[int] = []

    def detect(self, frames: list[Frame]) -> list[list[Detection]]:
        numbers = [int(frame.pixels[0, 0, 0]) * 256 + int(frame.pixels[0, 0, 1]) for frame in frames]
        self.asked += numbers
        return [self._faces(number) for number in numbers]


def smooth_image(height: int, width: int, detail: float, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 random colors without structure finer than about ``detail`` px."""
    cell = detail / 4
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(int(height / cell) + 4, int(width / cell) + 4, 3)).astype(np.float32)
    image = cv2.resize(cv2.GaussianBlur(coarse, (0, 0), 4 / 3), (width, height), interpolation=cv2.INTER_CUBIC)
    image = (image - image.mean()) / image.std()
    return np.clip(np.rint(127 + 45 * image), 0, 255).astype(np.uint8)
