"""Fine structure of the source on generated skin: where the two agree, and nowhere else."""

import cv2
import numpy as np
import pytest

from latentsync.face.align import FaceAligner
from latentsync.face.mask import load_mask
from latentsync.face.paste import FacePaster
from latentsync.face.paste_settings import PasteSettings
from latentsync.face.similarity import invert, transform
from latentsync.types import AlignedFace, ArrayFrame
from tests.face.drawn import placed, smooth_image


def skin(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Soft shades with grain."""
    rng = np.random.default_rng(seed)
    shades = smooth_image(height, width, 90, seed).astype(np.float32) * 0.5 + 70
    return np.clip(shades + rng.normal(0, 6, (height, width, 1)), 0, 255).astype(np.uint8)


def soft(face: AlignedFace) -> np.ndarray:
    """The face as a network draws it: without grain, and a little darker and redder."""
    blurred = cv2.GaussianBlur(face.pixels.transpose(1, 2, 0), (0, 0), 2.0).transpose(2, 0, 1)
    return (blurred * 0.95 + np.array([0.03, -0.02, 0.02], np.float32)[:, None, None]).astype(np.float32)


def sharpness(pixels: np.ndarray, region: np.ndarray) -> float:
    return float(cv2.Laplacian(pixels[..., 1].astype(np.float32), cv2.CV_32F)[region].std())


def region_on_frame(points: np.ndarray, matrix: np.ndarray, radius: float) -> np.ndarray:
    """(600, 600) bool: a disc of ``radius`` px around a place of the canvas."""
    x, y = transform(invert(matrix), points)
    rows, columns = np.mgrid[:600, :600]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


@pytest.fixture(scope="module")
def scene():
    landmarks = placed((300, 290), 260)
    frame = ArrayFrame.of(skin(600, 600))
    face = FaceAligner(256).align(frame, landmarks)
    return frame, landmarks, face


def pasted(scene, generated: np.ndarray, **settings) -> np.ndarray:
    frame, landmarks, face = scene
    paster = FacePaster(load_mask("mask", 256), PasteSettings(**settings))
    fit = paster.fit(generated, face, frame.shape, landmarks)
    return paster.paste(frame, generated, face, fit, landmarks=landmarks).pixels


def test_cheeks_keep_their_grain_and_lips_are_generated(scene):
    frame, landmarks, face = scene
    points = transform(face.matrix, landmarks)
    cheek = region_on_frame((points[3] + points[48]) / 2, face.matrix, 20)
    lips = region_on_frame(points[48:60].mean(axis=0), face.matrix, 20)
    with_detail, without = pasted(scene, soft(face)), pasted(scene, soft(face), detail=0)
    assert sharpness(without, cheek) < 0.3 * sharpness(frame.pixels, cheek)
    assert sharpness(with_detail, cheek) > 0.95 * sharpness(frame.pixels, cheek)
    assert np.array_equal(with_detail[lips], without[lips])
    unpainted = (without == frame.pixels).all(axis=-1)
    assert np.array_equal(with_detail[unpainted & ~cheek], frame.pixels[unpainted & ~cheek])


def test_what_the_network_has_changed_stays_as_it_drew_it(scene):
    frame, landmarks, face = scene
    points = transform(face.matrix, landmarks)
    x, y = ((points[3] + points[48]) / 2).round().astype(int)
    generated = soft(face)
    generated[:, y - 14 : y + 14, x - 14 : x + 14] -= 0.35
    changed = region_on_frame((x, y), face.matrix, 10)
    with_detail, without = (pasted(scene, generated, detail=share, match_color=False) for share in (1, 0))
    assert np.abs(with_detail[changed].astype(int) - without[changed]).max() <= 1


def test_the_source_itself_comes_back(scene):
    frame, _, face = scene
    difference = np.abs(pasted(scene, face.pixels).astype(int) - frame.pixels)
    whole = np.abs(pasted(scene, face.pixels, detail=0).astype(int) - frame.pixels)
    assert difference.mean() < 0.5 * whole.mean()
