"""A plain 68-point face for tests of metrics, with a mouth that opens as asked."""

from __future__ import annotations

import numpy as np


def landmarks(gap: float = 10.0, jaw_width: float = 140.0) -> np.ndarray:
    """(68, 2) float64 in an image of 256 px; outer eye corners 80 px apart, inner lips ``gap`` px apart."""
    points = np.zeros((68, 2))
    angles = np.linspace(np.pi, 0, 17)
    points[:17] = np.column_stack([128 + jaw_width / 2 * np.cos(angles), 110 + 110 * np.sin(angles)])
    points[17:22] = np.column_stack([np.linspace(80, 115, 5), [84, 80, 78, 79, 82]])
    points[22:27] = np.column_stack([np.linspace(141, 176, 5), [82, 79, 78, 80, 84]])
    points[27:31] = np.column_stack([np.full(4, 128), np.linspace(95, 130, 4)])
    points[31:36] = np.column_stack([np.linspace(114, 142, 5), [138, 140, 142, 140, 138]])
    points[36:42] = [[88, 98], [96, 93], [106, 93], [114, 98], [106, 102], [96, 102]]
    points[42:48] = [[142, 98], [150, 93], [160, 93], [168, 98], [160, 102], [150, 102]]
    around = np.linspace(np.pi, -np.pi, 12, endpoint=False)
    points[48:60] = np.column_stack([128 + 28 * np.cos(around), 170 - (8 + gap / 2) * np.sin(around)])
    points[60:68] = [
        *([104, 170], [118, 170 - gap / 2], [128, 170 - gap / 2], [138, 170 - gap / 2]),
        *([152, 170], [138, 170 + gap / 2], [128, 170 + gap / 2], [118, 170 + gap / 2]),
    ]
    return points


def turned(points: np.ndarray, angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """The points rotated about the origin, enlarged and moved."""
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ rotation.T + np.array(shift)
