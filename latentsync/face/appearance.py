"""What a person looks like, as numbers that can be compared: the protocol, and one that needs no weights.

``ShapeAndColors`` takes the colors of hair, skin, beard and clothes at places that the landmarks give, and a few ratios
of the face's bones. It tells people of one scene from each other, who wear what they wear; it does not know a face
again years later. A network that does is the user's own to bring (``user_network``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from latentsync.face.head_pose import head_pose
from latentsync.face.layers import rgb_at
from latentsync.types import Frame


class FaceEmbedder(Protocol):
    """Says what faces look like. Two looks are compared by ``differences``."""

    name: str  # of what is measured and of its weights: looks of one name can be compared

    def embed(self, frame: Frame, faces: Sequence[np.ndarray], beside: Sequence[np.ndarray] = ()) -> np.ndarray:
        """(n, D) float32: the looks of faces with landmarks (68, 2) in pixels of the frame.

        ``beside``: all faces of the frame, each of which may stand before the others.
        """
        ...

    def differences(self, looks: np.ndarray, others: np.ndarray) -> np.ndarray:
        """(n, m) float64 for looks (n, D) and (m, D): up to 1 for one person, above it for two."""
        ...


# Places in the face's own coordinates: x to the right, y down, origin midway between the eyes, unit: their distance.
# (x0, y0, x1, y1), and how much a difference there counts.
_AREAS = {
    "hair left": ((-0.75, -1.50, -0.30, -1.15), 0.6),
    "hair": ((-0.25, -1.55, 0.25, -1.20), 1.0),
    "hair right": ((0.30, -1.50, 0.75, -1.15), 0.6),
    "forehead": ((-0.40, -0.80, 0.40, -0.50), 0.8),
    "left cheek": ((-0.80, 0.35, -0.45, 0.75), 1.0),
    "right cheek": ((0.45, 0.35, 0.80, 0.75), 1.0),
    "nose": ((-0.15, 0.20, 0.15, 0.60), 1.0),
    "left jaw": ((-0.70, 1.00, -0.45, 1.30), 0.5),
    "right jaw": ((0.45, 1.00, 0.70, 1.30), 0.5),
    "chin": ((-0.25, 1.35, 0.25, 1.60), 0.7),
    "clothes left": ((-1.20, 2.60, -0.50, 3.30), 1.05),
    "clothes": ((-0.35, 2.70, 0.35, 3.40), 1.05),
    "clothes right": ((0.50, 2.60, 1.20, 3.30), 1.05),
}
_SKIN = [list(_AREAS).index(name) for name in ("left cheek", "right cheek", "nose")]
_CLOTHES = [number for number, name in enumerate(_AREAS) if name.startswith("clothes")]
_BODY, _ABOVE = 2.2, -1.6  # of another person: half the width of the shoulders, and the top of the head, in their unit
_GRID = 6  # points along each side of an area
_WEIGHTS = np.array([weight for _, weight in _AREAS.values()])
_SKIN_KEPT = np.array([0.3, 0.6, 0.6])  # of the skin's L*a*b* in all colors: the light changes from shot to shot
_COLOR_WEIGHTS = np.array([0.9, 1.0, 1.0])  # of L*, a* and b*
_MOST_COLOR = 16.0  # of a difference between two colors (CIE 1976): what is before or behind a person counts no more
_COLOR_UNIT = 7.5  # difference of all colors at which two people are told apart
_SHAPE_WEIGHT = 0.35  # of a ratio of lengths, against a color that counts fully
_SHAPE_UNIT = 0.085  # difference of all ratios at which two people are told apart
_EYES, _MOUTH = (slice(36, 42), slice(42, 48)), slice(48, 60)


def _grid_points() -> np.ndarray:
    points = []
    for (x0, y0, x1, y1), _ in _AREAS.values():
        x, y = np.meshgrid(np.linspace(x0, x1, _GRID), np.linspace(y0, y1, _GRID))
        points.append(np.stack([x.ravel(), y.ravel()], axis=-1))
    return np.array(points)  # (areas, _GRID^2, 2)


_POINTS = _grid_points()


class ShapeAndColors:
    """A ``FaceEmbedder`` without weights: see the module. What lies outside the frame is NaN and not compared."""

    name = "shape and colors 1"

    def embed(self, frame: Frame, faces: Sequence[np.ndarray], beside: Sequence[np.ndarray] = ()) -> np.ndarray:
        """See ``FaceEmbedder``."""
        looks = [
            np.concatenate([_colors(frame, face, [o for o in beside if o is not face]).ravel(), _shape(face)])
            for face in faces
        ]
        return np.array(looks, np.float32).reshape(len(faces), -1)

    def differences(self, looks: np.ndarray, others: np.ndarray) -> np.ndarray:
        """See ``FaceEmbedder``."""
        apart = looks[:, None].astype(np.float64) - others[None]
        colors = apart[..., : 3 * len(_AREAS)].reshape(*apart.shape[:2], len(_AREAS), 3)
        colors = np.minimum(np.linalg.norm(colors * _COLOR_WEIGHTS, axis=-1), _MOST_COLOR) / _COLOR_UNIT
        shape = np.minimum(np.abs(apart[..., 3 * len(_AREAS) :]) / _SHAPE_UNIT, 3)
        terms = np.concatenate([colors, shape], axis=-1)
        weights = np.concatenate([_WEIGHTS, np.full(shape.shape[-1], _SHAPE_WEIGHT)])
        known = np.isfinite(terms)
        squared = (np.where(known, terms, 0) ** 2 * weights).sum(axis=-1)
        return np.sqrt(squared / (known * weights).sum(axis=-1))


BY_LOOKS = ShapeAndColors()  # by which people are known where nobody brings a network


def _colors(frame: Frame, landmarks: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """(areas, 3) CIE L*a*b*, median of each area, less a part of the skin's; NaN outside the frame, and for clothes
    where ``others`` may stand before them."""
    middle, unit, x = _place(landmarks)
    y = np.array([-x[1], x[0]])
    places = np.rint(middle + unit * (_POINTS[..., :1] * x + _POINTS[..., 1:] * y)).astype(int)
    found = np.full((len(_AREAS), 3), np.nan)
    height, width, _ = frame.shape
    inside = ((places >= 0) & (places < (width, height))).all(axis=-1)
    for other in others:
        their_middle, their_unit, _ = _place(other)
        apart = (places[_CLOTHES] - their_middle) / their_unit
        inside[_CLOTHES] &= (np.abs(apart[..., 0]) > _BODY) | (apart[..., 1] < _ABOVE)
    seen = inside.mean(axis=1) >= 0.5
    if not seen.any():
        return found
    lab = _lab(rgb_at(frame, np.clip(places[..., 0], 0, width - 1), np.clip(places[..., 1], 0, height - 1)))
    whole = inside.all(axis=1)
    found[whole] = np.median(lab[whole], axis=1)
    for number in np.nonzero(seen & ~whole)[0]:
        found[number] = np.median(lab[number][inside[number]], axis=0)
    if seen[_SKIN].any():
        found -= (1 - _SKIN_KEPT) * np.nanmean(found[_SKIN], axis=0)
    return found


def _place(landmarks: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Middle of the eyes (2,), the unit of length in px, and the direction (2,) from the left eye to the right one."""
    points = landmarks.astype(np.float64)
    left, right = (points[eye].mean(axis=0) for eye in _EYES)
    across, middle = right - left, (left + right) / 2
    down = points[_MOUTH].mean(axis=0) - middle
    unit = max(float(np.hypot(*across)), 0.85 * float(np.hypot(*down)), 1e-3)  # a turned head brings the eyes together
    return middle, unit, across / max(float(np.hypot(*across)), 1e-6)


def _lab(pixels: np.ndarray) -> np.ndarray:
    """(a, p, 3) CIE L*a*b* of sRGB levels (a, p, 3) float32."""
    return cv2.cvtColor(pixels / 255, cv2.COLOR_RGB2LAB)


def _shape(landmarks: np.ndarray) -> np.ndarray:
    """(5,) logarithms of ratios of lengths that neither speech nor, as far as can be, the pose changes."""
    points = landmarks.astype(np.float64)
    pose = head_pose(points)
    middle, _, x = _place(landmarks)
    turned = (points - middle) @ np.array([[x[0], -x[1]], [x[1], x[0]]])
    turned[:, 0] /= max(np.cos(np.radians(pose.yaw)), 0.5)
    eyes = turned[_EYES[1], 0].mean() - turned[_EYES[0], 0].mean()
    lengths = np.array([
        turned[15, 0] - turned[1, 0],  # the face across
        turned[12, 0] - turned[4, 0],  # the jaw across
        turned[35, 0] - turned[31, 0],  # the nose across
        turned[33, 1],  # eyes to the base of the nose
        turned[45, 0] - turned[36, 0],  # outer corners of the eyes
    ])  # fmt: skip
    return np.log(np.maximum(lengths, 1e-3) / max(float(eyes), 1e-3))
