"""How well a face can be dubbed as it is seen in one frame: how far it is turned, how large it is, how much is cut off.

Everything is read off one observation, so a frame gets the same answer wherever a run begins. Landmarks are smoothed in
time before they come here.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from latentsync.errors import ConfigError
from latentsync.face.box import longer_side
from latentsync.face.head_pose import head_pose
from latentsync.types import FaceObservation

AUTO, OFF = "auto", "off"  # of the occlusion; anything else is a file

TURNED = "face turned away"
NODDED = "face tilted up or down"
SMALL = "face smaller than the limit"
CUT = "face cut by the edge of the frame"
LIMITS = frozenset({TURNED, NODDED, SMALL, CUT})

# Landmarks of the lower face: the jaw line below the ears, and the lips.
_LOWER = np.array([*range(3, 14), *range(48, 60)])


@dataclass(frozen=True, slots=True)
class VisibilitySettings:
    """Beyond these limits nothing is generated; 0 takes a limit away. Raises ``ConfigError`` for negative values.

    ``max_yaw`` and ``max_pitch``: degrees that the head is turned sideways, up or down. ``min_face``: longer side of
    the face's box, pixels of the frame. ``max_cut``: share of the lower face that lies outside the frame, 0 to 1.
    ``fade``: frames over which the generated mouth goes before such a frame and comes back after it. ``occlusion``:
    'auto' finds things before the face, 'off' does not; else the path of a video whose white pixels keep the source, or
    of a network that finds the things (``face.user_network``).
    """

    max_yaw: float = 50.0
    max_pitch: float = 45.0
    min_face: float = 40.0
    max_cut: float = 0.35
    fade: int = 6
    occlusion: str = AUTO

    def __post_init__(self) -> None:
        for name in ("max_yaw", "max_pitch", "min_face", "max_cut", "fade"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ConfigError(f"{name} = {value} makes no sense.", remedy="Give 0 (no limit) or more.")

    @classmethod
    def nothing(cls) -> VisibilitySettings:
        """No limits, and nothing is looked for."""
        return cls(max_yaw=0, max_pitch=0, min_face=0, max_cut=0, occlusion=OFF)

    @property
    def has_limits(self) -> bool:
        """Whether a face can be beyond a limit at all."""
        return any((self.max_yaw, self.max_pitch, self.min_face, self.max_cut))


@dataclass(frozen=True, slots=True)
class Assessment:
    """``confidence`` in [0, 1]: how far the face is from the limits, 0 beyond one. ``reason``: that limit, or empty."""

    confidence: float
    reason: str = ""


def assess(
    face: FaceObservation,
    size: tuple[int, int],
    settings: VisibilitySettings,
    pixel_aspect: Fraction = Fraction(1),
) -> Assessment:
    """Judge a face in a frame of ``size`` (width, height), whose pixels are ``pixel_aspect`` times as wide as high.

    The confidence is the smallest of: the detector's own, and for each limit twice the share that is left of it.
    """
    left = [("", face.score)]
    if settings.max_yaw or settings.max_pitch:
        pose = head_pose(face.landmarks * np.array([float(pixel_aspect), 1.0]))
        left.append((TURNED, _left(abs(pose.yaw), settings.max_yaw)))
        left.append((NODDED, _left(abs(pose.pitch), settings.max_pitch)))
    if settings.min_face:
        left.append((SMALL, 2 * (longer_side(face.box) / settings.min_face - 1)))
    if settings.max_cut:
        left.append((CUT, _left(cut_share(face.landmarks, size), settings.max_cut)))
    limit, least = min(left, key=lambda pair: pair[1])
    if limit and least <= 0:
        return Assessment(0.0, limit)
    return Assessment(float(np.clip(least, 0, 1)))


def cut_share(landmarks: np.ndarray, size: tuple[int, int]) -> float:
    """How much of the box of the lower face lies outside a frame of ``size`` (width, height), 0 to 1."""
    points = landmarks[_LOWER].astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    inside = np.clip(np.minimum(high, np.array(size) - 1) - np.maximum(low, 0), 0, None)
    return float(1 - inside.prod() / max(float((high - low).prod()), 1e-6))


def _left(value: float, limit: float) -> float:
    return 2 * (1 - value / limit) if limit else 1.0
