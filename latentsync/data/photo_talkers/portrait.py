"""Photographs of people: which of them can be made to speak, and where their features are.

What the networks say of a photograph is kept by its content, so that each is looked at once; nothing is kept of the
photograph itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from latentsync.atomic import atomic_file
from latentsync.data.manifest import content_hash
from latentsync.errors import DataError
from latentsync.face.backends.face_mesh import MESH_FILES, MESH_SETTINGS, fit_vertices, ibug_points, read_meshes
from latentsync.face.backends.yunet import DETECTOR_FILES, YuNetMesh, place_of_mesh
from latentsync.face.detector import require_weights
from latentsync.places import cache_folder
from latentsync.types import ArrayFrame

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
LEAST_EYE_DISTANCE = 34.0  # px between the pupils: below it skin has no texture any more at 128 px
MOST_TURNED = 1.9  # ratio of the two halves of the face, left and right of the nose
LEAST_COLOR = 0.05  # mean saturation of the face: below it the photograph is black and white
MIN_PRESENCE = 0.7  # of the mesh: its own probability that there is a face

# Vertices of the mesh, from the left of the frame to the right.
_LIPS = (
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),  # upper edge of the upper lip
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),  # its lower edge
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),  # upper edge of the lower lip
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),  # its lower edge
)
_LIDS = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)),
)
_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
_IRISES = (468, 473)
_NOSE_BRIDGE, _CHEEKS = 168, (234, 454)


@dataclass(frozen=True)
class FaceMarks:
    """Where the features of a face are: points in pixels of the photograph, or in face units (see ``moved``)."""

    landmarks: np.ndarray  # (68, 2) iBUG order
    lips: np.ndarray  # (4, 11, 2) upper outer, upper inner, lower inner, lower outer edge, left to right in the frame
    lids: np.ndarray  # (2, 2, 9, 2) eye on the left of the frame and on the right; upper, lower lid; left to right
    irises: np.ndarray  # (2, 2)
    oval: np.ndarray  # (36, 2) outline of the face, clockwise from the top of the forehead
    surface: np.ndarray  # (M, 3) points of the face with their height towards the camera, of the same unit

    def moved(self, matrix: np.ndarray) -> FaceMarks:
        """Under a similarity (2, 3)."""
        linear, shift = matrix[:, :2], matrix[:, 2]

        def move(points: np.ndarray) -> np.ndarray:
            return points @ linear.T + shift

        height = self.surface[:, 2:] * np.sqrt(abs(np.linalg.det(linear)))
        return FaceMarks(
            move(self.landmarks), move(self.lips), move(self.lids), move(self.irises), move(self.oval),
            np.concatenate([move(self.surface[:, :2]), height], axis=1),
        )  # fmt: skip


@dataclass(frozen=True)
class Portrait:
    """A usable photograph: (H, W, 3) uint8 RGB ``pixels``, and the file's content hash."""

    content: str
    pixels: np.ndarray
    marks: FaceMarks


@dataclass(frozen=True)
class Unusable:
    """A photograph that cannot be made to speak, and why."""

    path: Path
    reason: str


def marks_of(vertices: np.ndarray) -> FaceMarks:
    """The features among the (478, 3) vertices of the face mesh (``face_mesh.fit_vertices``)."""
    flat = vertices[:, :2]
    return FaceMarks(
        landmarks=ibug_points(flat),
        lips=flat[np.array(_LIPS)],
        lids=flat[np.array(_LIDS)],
        irises=flat[list(_IRISES)],
        oval=flat[list(_OVAL)],
        surface=vertices[:468] * (1, 1, -1),
    )


class PortraitReader:
    """Reads photographs; the networks of ``weights_dir`` are loaded for the first one that the cache does not know."""

    def __init__(self, weights_dir: Path, cache: Path | None = None) -> None:
        self._weights_dir = weights_dir
        self._cache = (cache or cache_folder()) / "portraits"
        self._networks: tuple[YuNetMesh, cv2.dnn.Net] | None = None

    def read(self, path: Path) -> Portrait | Unusable:
        """One photograph. Raises ``WeightsMissingError`` where the networks are needed and not there."""
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            return Unusable(path, "no image")
        content = content_hash(path)
        vertices, presence = self._vertices(content, np.ascontiguousarray(image[..., ::-1]))
        reason = _fault(image, vertices, presence)
        if reason:
            return Unusable(path, reason)
        return Portrait(content, np.ascontiguousarray(image[..., ::-1]), marks_of(vertices))

    def _vertices(self, content: str, pixels: np.ndarray) -> tuple[np.ndarray, float]:
        kept = self._cache / f"{content}-{MESH_SETTINGS}.npz"
        if kept.is_file():
            with np.load(kept) as file:
                return file["vertices"], float(file["presence"])
        vertices, presence = self._look(pixels)
        self._cache.mkdir(parents=True, exist_ok=True)
        with atomic_file(kept) as temporary, temporary.open("wb") as stream:
            np.savez(stream, vertices=vertices, presence=presence)
        return vertices, presence

    def _look(self, pixels: np.ndarray) -> tuple[np.ndarray, float]:
        if self._networks is None:
            boxes, mesh = (require_weights(self._weights_dir, names) for names in (DETECTOR_FILES, MESH_FILES))
            self._networks = YuNetMesh(boxes, mesh, workers=1), read_meshes(mesh, 1)[0]
        finder, mesh_network = self._networks
        frame = ArrayFrame.of(pixels)
        (faces,) = finder.detect([frame])
        if not faces:
            return np.zeros((0, 3)), 0.0
        box = faces[0].box.astype(np.float64)
        eyes = faces[0].landmarks[36:48].astype(np.float64).reshape(2, 6, 2).mean(axis=1)
        return fit_vertices(mesh_network, frame, place_of_mesh(box[:2], box[2:] - box[:2], eyes))


def list_photographs(folder: Path) -> list[Path]:
    """The image files of a folder, by name. Raises ``DataError`` if there is none."""
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(
            f"There is no photograph in {folder}.",
            remedy=f"Name a folder of {', '.join(SUFFIXES)} files, one face each.",
        )
    return found


def read_portraits(folder: Path, reader: PortraitReader) -> Iterator[Portrait | Unusable]:
    """The photographs of a folder, in the order of their names. Raises as ``list_photographs`` and ``read``."""
    for path in list_photographs(folder):
        yield reader.read(path)


def _fault(image: np.ndarray, vertices: np.ndarray, presence: float) -> str:
    """Why a photograph cannot be used; empty if it can."""
    if not len(vertices) or presence < MIN_PRESENCE:
        return "no face"
    flat = vertices[:, :2]
    distance = float(np.linalg.norm(flat[_IRISES[1]] - flat[_IRISES[0]]))
    if distance < LEAST_EYE_DISTANCE:
        return f"small face: {distance:.0f} pixels between the pupils"
    across = flat[_IRISES[1]] - flat[_IRISES[0]]
    left, right = (abs((flat[_NOSE_BRIDGE] - flat[cheek]) @ across) for cheek in _CHEEKS)
    if max(left, right) > MOST_TURNED * min(left, right):
        return "turned face"
    height, width = image.shape[:2]
    if (flat.min(axis=0) < 0).any() or (flat.max(axis=0) > (width - 1, height - 1)).any():
        return "face cut by the border"
    face = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(np.round(flat[list(_OVAL)]).astype(np.int32)), 1)
    inside = image[face > 0].astype(np.float32)
    spread = (inside.max(axis=1) - inside.min(axis=1)) / np.maximum(inside.max(axis=1), 1)
    return "black and white" if float(spread.mean()) < LEAST_COLOR else ""
