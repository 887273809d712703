"""Fine structure of the source on generated skin: where the two agree, and nowhere else."""

import cv2
import numpy as np
import pytest

from latentsync.face.align import FaceAligner
from latentsync.face.detail import FAR_FROM_LIPS, LIPS_FAR, coarse_difference, lips_area, outside_lips
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
    assert np.abs(with_detail[lips].astype(int) - without[lips]).max() <= 1
    black, white = ArrayFrame.of(np.zeros_like(frame.pixels)), np.ones_like(face.pixels)
    painted = FacePaster(load_mask("mask", 256)).paste(black, white, face, landmarks=landmarks).pixels.any(axis=-1)
    beside = ~cv2.dilate(painted.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    assert np.array_equal(with_detail[beside], frame.pixels[beside])


def spotted(face: AlignedFace, place: np.ndarray) -> np.ndarray:
    """A soft face with a dark square of 28 canvas pixels, centred at a ``place``."""
    x, y = place.round().astype(int)
    generated = soft(face)
    generated[:, y - 14 : y + 14, x - 14 : x + 14] -= 0.35
    return generated


def test_what_the_network_has_changed_at_the_mouth_stays_as_it_drew_it(scene):
    _, landmarks, face = scene
    points = transform(face.matrix, landmarks)
    changed = region_on_frame(points[57], face.matrix, 10)
    with_detail, without = (
        pasted(scene, spotted(face, points[57]), detail=share, match_color=False) for share in (1, 0)
    )
    assert np.abs(with_detail[changed].astype(int) - without[changed]).max() <= 1


@pytest.mark.parametrize(("place", "most"), [("cheek", 9), ("jaw", 16)])
def test_a_smudge_is_left_out(scene, place, most):
    frame, landmarks, face = scene
    points = transform(face.matrix, landmarks)
    spot = 0.7 * points[2] + 0.3 * points[48] if place == "cheek" else 0.8 * points[11] + 0.2 * points[54]
    changed = region_on_frame(spot, face.matrix, 10)
    with_detail, without = (
        pasted(scene, spotted(face, spot), detail=share, match_color=False)[changed].astype(int) for share in (1, 0)
    )
    assert (frame.pixels[changed] - without).mean() > 25
    assert (frame.pixels[changed] - with_detail).mean() < most


@pytest.mark.parametrize("cells", [2, -2])
def test_a_chin_takes_its_colors_along(scene, cells):
    """A dark band below the mouth (a beard) that has gone down, or up, with the jaw; without the jaw it is an error."""
    _, landmarks, face = scene
    points = transform(face.matrix, landmarks)
    row = round(points[8, 1] / 4) + 1
    source = np.full((3, 64, 64), 150, np.float32)
    source[:, row - 1 : row + 2] = 60
    generated, everywhere = np.roll(source, cells, axis=1), np.ones((64, 64), np.float32)
    (moved, _), (unmoved, kept) = (
        coarse_difference(generated, source, points, 256, jaw, everywhere) for jaw in (4.0 * cells, 0.0)
    )
    band, column = row + cells, round(points[54, 0] / 4)
    assert moved[0, band, column] == pytest.approx(-60)
    assert unmoved[0, band, column] == pytest.approx(-16, abs=0.1)
    assert kept[band, column] == 1


@pytest.mark.parametrize("closed", [1.0, 0.2, 0.0])
def test_cheeks_begin_as_near_to_the_corners_of_a_closed_mouth_as_above_its_lips(scene, closed):
    _, landmarks, face = scene
    points = transform(face.matrix, landmarks)
    middle = points[48:68].mean(axis=0)
    points[48:68] = middle + (points[48:68] - middle) * [1, closed]
    columns = (np.arange(64) + 0.5) * 4 - 0.5
    row = round((points[54, 1] + 0.5) / 4 - 0.5)
    beside = columns - points[54, 0]  # the right corner
    outside, lips = outside_lips(points, 256)[row], lips_area(points, 256)[row]
    assert (outside[beside > FAR_FROM_LIPS * 256 + 4] == 1).all() and (lips[beside > LIPS_FAR * 256 + 4] == 0).all()
    assert outside[(beside > 0) & (beside < 4)].max() < 0.1


def test_the_source_itself_comes_back(scene):
    frame, _, face = scene
    difference = np.abs(pasted(scene, face.pixels).astype(int) - frame.pixels)
    whole = np.abs(pasted(scene, face.pixels, detail=0).astype(int) - frame.pixels)
    assert difference.mean() < 0.5 * whole.mean()
