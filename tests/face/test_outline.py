"""The outline of a face and the movement of its jaw, on faces whose place is known."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from latentsync.face.align import FaceAligner
from latentsync.face.mask import load_mask
from latentsync.face.outline import CHIN, canvas_map, grid_points, hull_depth, jaw_movement, outline_ramp
from latentsync.face.paste import UNFITTED, FaceFit, FacePaster
from latentsync.face.paste_settings import PasteSettings
from latentsync.face.similarity import transform
from latentsync.types import AlignedFace, ArrayFrame
from tests.face.drawn import placed, smooth_image


def on_canvas(resolution: int, degrees: float = 0.0) -> np.ndarray:
    landmarks = placed((300, 300), 200, degrees)
    return transform(FaceAligner(resolution).matrix(landmarks), landmarks)


def painted(landmarks: np.ndarray, resolution: int, settings: PasteSettings, fit: FaceFit = UNFITTED) -> np.ndarray:
    """(600, 600) how much of a white face is seen on black."""
    black, white = np.zeros((600, 600, 3), np.uint8), np.ones((3, resolution, resolution), np.float32)
    paster = FacePaster(load_mask("mask", resolution), replace(settings, detail=0))  # no face may turn white
    aligned = AlignedFace(-white, FaceAligner(resolution).matrix(landmarks))
    return paster.paste(ArrayFrame.of(black), white, aligned, fit, landmarks=landmarks).pixels[..., 0] / 255


def outside_hull(weights: np.ndarray, landmarks: np.ndarray) -> float:
    hull = np.zeros(weights.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(landmarks.astype(np.float32)).astype(np.int32), 1)
    seen = weights > 12 / 255
    return float((seen & (hull == 0)).sum() / seen.sum())


@pytest.mark.parametrize("resolution", [256, 512])
@pytest.mark.parametrize(("width", "degrees"), [(90, 0), (200, 20), (330, -35)])
def test_what_is_painted_lies_in_the_face_and_in_the_trained_area(resolution, width, degrees):
    landmarks = placed((300, 280), width, degrees)
    face = painted(landmarks, resolution, PasteSettings())
    trained = painted(landmarks, resolution, PasteSettings(mask="trained"))
    assert outside_hull(face, landmarks) <= 0.03 < 0.07 < outside_hull(trained, landmarks)
    assert (face <= trained + 1 / 255).all()
    mouth = landmarks[48:60].mean(axis=0).astype(int)
    assert face[mouth[1], mouth[0]] == 1


def test_the_outline_grows_shrinks_and_softens():
    landmarks = placed((300, 280), 250)
    plain = painted(landmarks, 256, PasteSettings())
    larger, smaller = (painted(landmarks, 256, PasteSettings(expand=by)) for by in (0.04, -0.04))
    assert (larger >= plain).all() and larger.sum() > 1.05 * plain.sum()
    assert (smaller <= plain).all() and smaller.sum() < 0.9 * plain.sum()
    soft = painted(landmarks, 256, PasteSettings(feather=0.12))
    assert np.abs(np.diff(soft, axis=1)).max() < 0.7 * np.abs(np.diff(plain, axis=1)).max()


def test_a_picture_of_a_mask_is_kept_to(tmp_path):
    picture = np.full((64, 64), 255, np.uint8)
    picture[44:56, 20:44] = 0
    cv2.imwrite(str(tmp_path / "mask.png"), picture)
    landmarks = placed((300, 280), 250)
    own = painted(landmarks, 256, PasteSettings(mask=str(tmp_path / "mask.png"), feather=0))
    trained = painted(landmarks, 256, PasteSettings(mask="trained", feather=0))
    assert 0 < own.sum() < 0.3 * trained.sum()
    assert (own <= trained + 1 / 255).all()


def test_a_jaw_that_moves_takes_the_outline_along():
    points = on_canvas(256)
    chin = points[CHIN].round().astype(int)
    plain, lower, higher = (
        canvas_map(outline_ramp(points, 256, 0.05, jaw=jaw), 256)[:, chin[0]] for jaw in (0.0, 14.0, -14.0)
    )
    end = [np.flatnonzero(column > 0)[-1] for column in (plain, lower, higher)]
    assert 1 <= end[0] - chin[1] <= 4  # a little over the chin
    assert 14 + 3 <= end[1] - chin[1] <= 14 + 9
    assert 3 <= end[2] - chin[1] <= 9  # over the edge of the source's chin, which must go
    upper = slice(0, int(points[2, 1]))
    still, moved = (canvas_map(outline_ramp(points, 256, 0.05, jaw=jaw), 256)[upper] for jaw in (0.0, 14.0))
    assert np.abs(np.clip(still, 0, 1) - np.clip(moved, 0, 1)).max() < 0.2  # hardly at the angles of the jaw


def test_a_fraction_of_a_pixel_moves_the_outline_by_that_fraction():
    points = on_canvas(256, degrees=9)
    along = [np.clip(canvas_map(outline_ramp(points + k * 0.1, 256, 0.05), 256), 0, 1) for k in range(4)]
    steps = [float(np.abs(b - a).max()) for a, b in zip(along, along[1:], strict=False)]
    assert min(steps) > 0.01 and max(steps) < 0.03


def chin_scene(resolution: int, drop: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Canvases of a face with its jaw ``drop`` canvas pixels lower, and with it in its place; and the landmarks."""
    points = on_canvas(resolution)
    texture = smooth_image(resolution, resolution, 14 * resolution / 256, seed=3).astype(np.float32) / 127.5 - 1
    rows = np.arange(resolution, dtype=np.float32)
    columns = np.tile(rows, (resolution, 1))
    lip, chin = points[51, 1], points[CHIN, 1]

    def with_jaw(lower: float) -> np.ndarray:
        """What lies below the upper lip goes down with the jaw; the neck is dark."""
        from_rows = np.where(rows < lip, rows, np.maximum(rows - lower, lip))
        image = cv2.remap(texture, columns, np.tile(from_rows[:, None], (1, resolution)), cv2.INTER_LINEAR)
        image[rows > chin + lower] = -0.8
        return image.transpose(2, 0, 1)

    return with_jaw(drop), with_jaw(0), points


@pytest.mark.parametrize("resolution", [256, 512])
@pytest.mark.parametrize("share", [0.03, 0.075])
def test_the_movement_of_a_jaw_is_found(resolution, share):
    drop = share * resolution
    lowered, still, points = chin_scene(resolution, drop)
    assert abs(jaw_movement(lowered, still, points) - drop) < 0.008 * resolution
    below = points.copy()
    below[48:68, 1] += drop
    below[:17, 1] += drop
    assert abs(jaw_movement(still, lowered, below) + drop) < 0.008 * resolution


def test_softer_and_differently_colored_skin_is_no_movement():
    _, still, points = chin_scene(256, 0)
    soft = cv2.GaussianBlur(still.transpose(1, 2, 0), (0, 0), 2).transpose(2, 0, 1) * 0.9 + 0.05
    assert abs(jaw_movement(soft, still, points)) < 0.5
    assert jaw_movement(np.zeros_like(still), still, points) == 0
    assert jaw_movement(still, np.zeros_like(still), points) == 0
    assert jaw_movement(soft, still, points - [0, 500]) == 0  # a face beside its canvas


@pytest.mark.parametrize("height", [0.5, 0.05, 1e-3, 0.0])  # over the width, down to a line
def test_the_depth_in_a_hull_is_the_distance_from_its_edge(height):
    side, reach = 256, 20.0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        spread = rng.normal(size=(9, 2)) * [30, 30 * height]
        angle = rng.uniform(0, np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = (rng.uniform(0, side, 2) + spread @ turn).astype(np.float32)  # some reach over the canvas
        hull = cv2.convexHull(points)
        true = [cv2.pointPolygonTest(hull, place, measureDist=True) for place in grid_points(side).T.tolist()]
        found = hull_depth(points, side, reach).ravel()
        assert np.abs(found - np.maximum(true, -reach)).max() < 0.01
