"""Shape of the face as curves: outline, the 68 landmarks, the lips, and how far an opening jaw moves the skin.

All in face units on the frontal face, before the head is turned (see ``raster`` for the units, ``pose`` for turning).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from latentsync.data.talkers.identity import FaceShape
from latentsync.data.talkers.raster import smoothstep

CHIN_PER_OPENING = 0.5  # the chin sinks half as far as the lips part: the rest is the lower lip's own movement
UPPER_SHARE = 0.18  # share of an opening that the upper lip takes by rising
CORNER_SHARE = 0.22  # the corners of the mouth sink with the jaw
EYE_X = 0.5  # pupils lie at x = -0.5 and 0.5 by the definition of the unit


@dataclass(frozen=True)
class Articulation:
    """State of the mouth, each field in [0, 1], scalars or arrays of one shape (a value per moment)."""

    opening: np.ndarray  # of the inner lips, relative to the person's widest
    spread: np.ndarray  # corners pulled apart
    rounding: np.ndarray  # corners drawn together, lips pushed out
    press: np.ndarray  # lips rolled in
    tuck: np.ndarray  # lower lip under the upper teeth
    tongue: np.ndarray  # tip raised to the teeth

    def at(self, index: int) -> Articulation:
        """The state at one moment, as scalars."""
        return Articulation(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


def outline(shape: FaceShape, count: int = 160) -> np.ndarray:
    """(count, 2) closed outline of the face without ears, clockwise from the crown."""
    c, j, k, chin = shape.cheek, shape.jaw, shape.chin, shape.chin_y
    right = np.array([
        (0.0, shape.crown_y), (0.62 * c, shape.crown_y + 0.22), (0.92 * c, -0.85), (1.0 * c, -0.25), (0.985 * c, 0.35),
        (j + 0.035, 0.85), (0.83 * j, chin - 0.47), (0.52 * j + 0.4 * k, chin - 0.23), (0.8 * k, chin - 0.05),
        (0.0, chin),
    ])  # fmt: skip
    left = right[-2:0:-1] * (-1, 1)
    points = np.concatenate([right, left, right[:1]])
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    spline = CubicSpline(length, points, bc_type="periodic")
    return spline(np.linspace(0, length[-1], count, endpoint=False))


def half_width(shape: FaceShape, y: np.ndarray) -> np.ndarray:
    """Half width of the outline at heights ``y``; 0 above the crown and below the chin."""
    curve = outline(shape, 800)
    right = curve[(curve[:, 0] >= 0)]
    right = right[np.argsort(right[:, 1])]
    return np.interp(y, right[:, 1], right[:, 0], left=0.0, right=0.0)


def lip_curves(shape: FaceShape, mouth: Articulation, s: np.ndarray) -> tuple[np.ndarray, ...]:
    """Upper outer, upper inner, lower inner and lower outer edge of the lips, each (..., K, 2).

    ``s`` (K,) runs from -1 (corner on the left of the frame) to 1; the leading axes are those of ``mouth``.
    The distance of the two inner curves at s = 0 is exactly ``opening * max_opening``.
    """
    opening, rounding, tuck = (
        np.asarray(v)[..., None] for v in (mouth.opening * shape.max_opening, mouth.rounding, mouth.tuck)
    )
    s = np.asarray(s, np.float64)
    half = np.asarray(mouth_half_width(shape, mouth))[..., None]
    inner_half = half * (0.90 - 0.08 * rounding)
    corner = shape.mouth_y + CORNER_SHARE * opening - shape.smile * (1 - rounding)
    arch = np.abs(1 - np.abs(s) ** (2.0 + 0.4 * rounding)) ** 0.85
    rest = shape.mouth_y + 0.012 * np.cos(2 * np.pi * s) * (1 - s * s)
    raised = 0.03 * tuck
    upper_inner = corner + (rest - UPPER_SHARE * opening - raised - corner) * arch
    lower_inner = corner + (rest + (1 - UPPER_SHARE) * opening - raised - corner) * arch

    upper_most, lower_most = (np.asarray(v)[..., None] for v in lip_thickness(shape, mouth))
    bow = 1 + 0.16 * np.exp(-(((np.abs(s) - 0.24) / 0.13) ** 2)) - 0.12 * np.exp(-((s / 0.10) ** 2))
    body = np.abs(1 - np.abs(s) ** 2.2) ** 0.9
    upper_thick = upper_most * bow * body
    lower_thick = lower_most * body

    def curve(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.stack(np.broadcast_arrays(x * s, y), axis=-1)

    return (
        curve(half, upper_inner - upper_thick),
        curve(inner_half, upper_inner),
        curve(inner_half, lower_inner),
        curve(half, lower_inner + lower_thick),
    )


def lip_thickness(shape: FaceShape, mouth: Articulation) -> tuple[np.ndarray, np.ndarray]:
    """Of the upper and the lower lip where they are fullest."""
    fullness = (1 - 0.45 * mouth.press) * (1 - 0.18 * mouth.rounding) * (1 - 0.10 * mouth.spread)
    opening = mouth.opening * shape.max_opening
    upper = shape.upper_lip * fullness * (1 - 0.15 * opening / shape.max_opening)
    lower = shape.lower_lip * fullness * (1 - 0.35 * mouth.tuck) * (1 - 0.10 * opening / shape.max_opening)
    return upper, lower


def mouth_half_width(shape: FaceShape, mouth: Articulation) -> np.ndarray:
    """Half the distance between the corners of the mouth."""
    return shape.mouth_half * (1 + 0.13 * mouth.spread - 0.28 * mouth.rounding - 0.04 * mouth.opening)


def eye_curves(shape: FaceShape, side: int, closure: float, count: int = 17) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the upper and the lower lid (count, 2), left to right; ``side`` -1 or 1, ``closure`` 0 open, 1 shut."""
    s = np.linspace(-1, 1, count)
    skewed = s - 0.10 * side * (1 - s * s)  # the lid is highest a little towards the nose
    x = side * EYE_X + s * shape.eye_width / 2
    tilt = -shape.eye_tilt * side * s
    lower = tilt + 0.34 * shape.eye_height * (1 - s * s) ** 0.9
    upper_open = tilt - 0.66 * shape.eye_height * np.abs(1 - np.abs(skewed) ** 2.2)
    upper = upper_open + (lower - upper_open) * closure
    return np.stack([x, upper], axis=-1), np.stack([x, lower], axis=-1)


def brow_line(shape: FaceShape, side: int, count: int = 9) -> np.ndarray:
    """(count, 2) middle of the brow from the nose outwards."""
    s = np.linspace(0, 1, count)
    y = shape.brow_y - shape.brow_arch * np.sin(np.pi * np.minimum(s * 0.78, 1.0)) + 0.05 * s**3 + 0.03 * (1 - s) ** 2
    return np.stack([side * (0.19 + 0.68 * s), y], axis=-1)


def jaw_weight(shape: FaceShape, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of the chin's sinking at points of the moved face: 1 at the chin, 0 from the upper lip up and at the sides.

    It is 0 below ``jaw_reach(shape)`` and beyond 0.78 face units from the middle, so nothing outside ever moves.
    """
    reach = jaw_reach(shape)
    down = smoothstep(shape.mouth_y, shape.chin_y - 0.15, y) * smoothstep(reach, reach - 0.06, y)
    return down * smoothstep(0.78, 0.28, np.abs(x))


def jaw_reach(shape: FaceShape) -> float:
    """Lowest height that speech can change."""
    return shape.chin_y + CHIN_PER_OPENING * shape.max_opening + 0.12


def landmarks(shape: FaceShape, mouth: Articulation, closure: np.ndarray) -> np.ndarray:
    """(N, 68, 2) landmarks in iBUG order; ``mouth`` fields and ``closure`` of the lids are (N,)."""
    count = len(closure)
    points = np.empty((count, 68, 2))
    points[:, :17] = _jaw_points(shape, mouth)
    points[:, 17:22] = brow_line(shape, -1)[[8, 6, 4, 2, 0]]
    points[:, 22:27] = brow_line(shape, 1)[[0, 2, 4, 6, 8]]
    tip = shape.nose_y - 0.14
    points[:, 27:31] = np.stack([np.zeros(4), np.linspace(shape.bridge_y, tip, 4)], axis=-1)
    base = np.array([-0.72, -0.38, 0, 0.38, 0.72]) * shape.nose_half
    points[:, 31:36] = np.stack([base, shape.nose_y + np.array([-0.035, -0.01, 0.01, -0.01, -0.035])], axis=-1)
    _place_eyes(points, shape, np.asarray(closure)[:, None, None])
    upper, _, _, lower = lip_curves(shape, mouth, np.array([-1, -0.62, -0.24, 0, 0.24, 0.62, 1]))
    points[:, 48:55] = upper
    points[:, 55:60] = lower[:, 5:0:-1]
    _, upper, lower, _ = lip_curves(shape, mouth, np.array([-1, -0.5, 0, 0.5, 1]))
    points[:, 60:65] = upper
    points[:, 65:68] = lower[:, 3:0:-1]
    return points


def _place_eyes(points: np.ndarray, shape: FaceShape, closure: np.ndarray) -> None:
    pick = [5, 11]  # of 17 samples along a lid: a third and two thirds of the way
    for first, side in ((36, -1), (42, 1)):
        upper_open, lower = eye_curves(shape, side, 0.0)
        upper = upper_open + (lower - upper_open) * closure
        points[:, first] = lower[0]
        points[:, first + 1 : first + 3] = upper[:, pick]
        points[:, first + 3] = lower[-1]
        points[:, first + 4 : first + 6] = lower[pick[::-1]]


def _jaw_points(shape: FaceShape, mouth: Articulation) -> np.ndarray:
    """(N, 17, 2): from beside the eye on the left of the frame round the chin, equal steps along the outline."""
    y = np.linspace(0.02, shape.chin_y, 400)
    right = np.stack([half_width(shape, y), y], axis=-1)
    right[-1] = (0, shape.chin_y)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(right, axis=0), axis=1))])
    steps = np.linspace(0, length[-1], 9)
    side = np.stack([np.interp(steps, length, right[:, axis]) for axis in (0, 1)], axis=-1)
    rest = np.concatenate([side * (-1, 1), side[-2::-1]])
    sink = CHIN_PER_OPENING * shape.max_opening * np.asarray(mouth.opening)[:, None]
    moved = rest[None, :, 1] + sink * jaw_weight(shape, rest[:, 0], rest[:, 1])
    for _ in range(4):  # the weight is defined where the point ends up
        moved = rest[None, :, 1] + sink * jaw_weight(shape, rest[None, :, 0], moved)
    return np.stack([np.broadcast_to(rest[:, 0], moved.shape), moved], axis=-1)
