"""The MediaPipe face mesh, run by OpenCV: the landmarks of one face, given about where it is in the frame.

The mesh (Kartynnik et al. 2019, "Real-time facial surface geometry from monocular video on mobile GPUs") gets an
upright crop around the expected place of the face. If its points turn out to be elsewhere, a second crop is made there.
68 of its 478 points stand for the iBUG landmarks.
"""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from latentsync.face.resample import warp_frame, warp_frame_bilinear
from latentsync.face.similarity import invert, transform
from latentsync.types import Frame

MESH_FILES = ("face_landmarker.task",)
MESH_MEMBER = "face_landmarks_detector.tflite"
MESH_SIDE = 256  # px
MESH_POINTS = 478
MESH_MARGIN = 1.5  # side of the crop over the longer side of the face
LARGE_FACE_STEP = 0.6  # crop pixels per frame pixel below which bilinear interpolation would skip pixels
MAX_CROPS = 2  # of a face
# How far the face may be from the expected place without a second crop: in sides of the face, in the logarithm of its
# size, in degrees. Within these limits a second crop moves a point by 0.3 % of the side on average.
NEAR, ALIKE, UPRIGHT = 0.05, 0.06, 8.0
# Everything that changes a result.
MESH_SETTINGS = f"{MESH_MARGIN}-{LARGE_FACE_STEP}-cubic-{MAX_CROPS}-{NEAR}-{ALIKE}-{UPRIGHT}"

# Mesh vertices where the iBUG points are defined: jaw, bridge and base of the nose, eyes, outer and inner lips.
JAW = (127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356)
# The mesh outlines both edges of a brow; the iBUG points run along its middle.
BROWS_UPPER = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
BROWS_LOWER = (46, 53, 52, 65, 55, 285, 295, 282, 283, 276)
NOSE = (168, 197, 5, 4, 75, 97, 2, 326, 305)
EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
LIPS_OUTER = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
LIPS_INNER = (78, 82, 13, 312, 308, 317, 14, 87)
FIRST = np.array(JAW + BROWS_UPPER + NOSE + EYES + LIPS_OUTER + LIPS_INNER)
SECOND = np.array(JAW + BROWS_LOWER + NOSE + EYES + LIPS_OUTER + LIPS_INNER)
EYE_CORNERS = (33, 263)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a face is: ``centre`` (2,) and both ``eyes`` (2, 2) in frame pixels, ``extent`` its longer side in px."""

    centre: np.ndarray
    eyes: np.ndarray
    extent: float

    @property
    def across(self) -> np.ndarray:
        """(2,) unit vector from the first eye to the second."""
        return (self.eyes[1] - self.eyes[0]) / max(np.linalg.norm(self.eyes[1] - self.eyes[0]), 1e-6)

    def matrix(self) -> np.ndarray:
        """(2, 3): frame pixels to pixels of the upright crop that the mesh gets."""
        x, y = self.across
        linear = np.array([[x, y], [-y, x]]) * (MESH_SIDE / (MESH_MARGIN * self.extent))
        return np.column_stack([linear, (MESH_SIDE - 1) / 2 - linear @ self.centre])

    def is_near(self, other: Place) -> bool:
        """Whether a crop around the other place would give about the same points."""
        apart = np.linalg.norm(other.centre - self.centre) / self.extent
        turned = np.degrees(np.arccos(np.clip(self.across @ other.across, -1, 1)))
        return bool(apart <= NEAR and abs(np.log(other.extent / self.extent)) <= ALIKE and turned <= UPRIGHT)


def fit_mesh(mesh: cv2.dnn.Net, frame: Frame, place: Place) -> tuple[np.ndarray, float]:
    """(68, 2) float64 iBUG landmarks in frame pixels, and the mesh's own probability that there is a face.

    ``place`` is the expected place of the mesh's points.
    """
    points, presence = fit_vertices(mesh, frame, place)
    return ibug_points(points[:, :2]), presence


def ibug_points(vertices: np.ndarray) -> np.ndarray:
    """(478, 2) vertices of the mesh to the (68, 2) iBUG landmarks that they stand for."""
    return (vertices[FIRST] + vertices[SECOND]) / 2


def fit_vertices(mesh: cv2.dnn.Net, frame: Frame, place: Place) -> tuple[np.ndarray, float]:
    """As ``fit_mesh``, but all (478, 3) vertices; the third value is the depth behind the camera's side of the head, in
    frame pixels: the nose has the least."""
    for _ in range(MAX_CROPS):
        matrix = place.matrix()
        mesh.setInput(cv2.dnn.blobFromImage(_crop(frame, matrix), 1 / 255))
        found, presence = mesh.forward(["Identity", "Identity_1"])
        vertices = found.reshape(MESH_POINTS, 3).astype(np.float64)
        points, depth = vertices[:, :2] - 0.5, vertices[:, 2] * MESH_MARGIN * place.extent / MESH_SIDE
        low, high, to_frame = points.min(axis=0), points.max(axis=0), invert(matrix)
        extent = (high - low).max() * MESH_MARGIN * place.extent / MESH_SIDE
        points = transform(to_frame, points)
        seen = Place(transform(to_frame, (low + high) / 2), points[list(EYE_CORNERS)], float(extent))
        if place.is_near(seen):
            break
        place = seen
    return np.column_stack([points, depth]), float(1 / (1 + np.exp(-presence.ravel()[0])))


def read_meshes(path: Path, count: int) -> list[cv2.dnn.Net]:
    """The network ``count`` times: OpenCV runs one in one thread at a time.

    Raises ``BadZipFile``, ``ValueError``, ``RuntimeError``, ``KeyError`` or ``cv2.error`` for another kind of file.
    """
    # OpenCV 5's new graph engine gives only one of this network's three outputs. The classic engine, which is the only
    # one of OpenCV 4, can be asked for only when reading from a file.
    engine = [cv2.dnn.ENGINE_CLASSIC] if hasattr(cv2.dnn, "ENGINE_CLASSIC") else []
    with tempfile.TemporaryDirectory(prefix="latentsync-") as folder:
        with zipfile.ZipFile(path) as archive:
            member = archive.extract(MESH_MEMBER, folder)
        return [cv2.dnn.readNetFromTFLite(member, *engine) for _ in range(count)]


def _crop(frame: Frame, matrix: np.ndarray) -> np.ndarray:
    """(256, 256, 3) uint8 or float32; only a large face is low-pass filtered, which takes time."""
    size = (MESH_SIDE, MESH_SIDE)
    if np.linalg.norm(matrix[:, 0]) < LARGE_FACE_STEP:
        return warp_frame(frame, matrix, size, 0)
    return warp_frame_bilinear(frame, matrix, size)
