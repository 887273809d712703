"""YuNet for the boxes, the MediaPipe face mesh for the landmarks, both run by OpenCV: licence-clean and quick on a CPU.

YuNet (Wu et al. 2023, "YuNet: A tiny millisecond-level face detector") sees the frame reduced to ``DETECTION_SIDE``.
The mesh (Kartynnik et al. 2019, "Real-time facial surface geometry from monocular video on mobile GPUs") sees an
upright crop, first around YuNet's box and then around its own first answer, which makes the result independent of the
box's jitter. 68 of its 478 points stand for the iBUG landmarks.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import cv2
import numpy as np

from latentsync.errors import WeightsCorruptError
from latentsync.face.detector import DOWNLOAD, Detection, find_weights
from latentsync.face.resample import warp
from latentsync.face.similarity import invert, transform

DETECTOR_FILES = ("face_detection_yunet_2023mar.onnx", "yunet_n_dynamic.onnx")
MESH_FILES = ("face_landmarker.task",)
FILES = (DETECTOR_FILES, MESH_FILES)  # one of each is needed
MESH_MEMBER = "face_landmarks_detector.tflite"

MAX_WORKERS = 8
DETECTION_SIDE = 640  # longer side of the frame that YuNet sees, px
MIN_SCORE = 0.6  # of YuNet
MIN_PRESENCE = 0.5  # the mesh's own probability that its crop shows a face
NMS_OVERLAP = 0.3
MAX_CANDIDATES = 500
MESH_SIDE = 256  # px
MESH_POINTS = 478
MESH_MARGIN = 1.5  # side of the crop over the longer side of the face
LARGE_FACE_STEP = 0.6  # crop pixels per frame pixel below which plain interpolation would skip pixels
SAME_FACE = 0.1  # mean distance of two sets of landmarks, over their extent
REFINEMENTS = 2  # runs of the mesh per face

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


def missing_files(weights_dir: Path) -> list[str]:
    """Names of the files that are not there."""
    return [names[0] for names in FILES if find_weights(weights_dir, names) is None]


def load(weights_dir: Path, device: str, threads: int | None = None) -> YuNetMesh:
    """The detector from the files in ``weights_dir``; it always runs on the CPU."""
    return YuNetMesh(find_weights(weights_dir, DETECTOR_FILES), find_weights(weights_dir, MESH_FILES), threads)


class YuNetMesh:
    """See the module's text. Frames of a batch are shared out among ``workers`` threads."""

    def __init__(self, detector_path: Path, mesh_path: Path, workers: int | None = None) -> None:
        workers = workers or min(MAX_WORKERS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="yunet")
        # OpenCV's networks serve one thread at a time: a worker takes a pair and puts it back.
        self._networks: SimpleQueue[tuple[cv2.FaceDetectorYN, cv2.dnn.Net]] = SimpleQueue()
        for pair in zip(_read_detectors(detector_path, workers), _read_meshes(mesh_path, workers), strict=True):
            self._networks.put(pair)
        self.name = f"yunet-mesh-{DETECTION_SIDE}-{MIN_SCORE}-{MESH_MARGIN}-{REFINEMENTS}-{detector_path.stem}"

    def detect(self, frames: list[np.ndarray]) -> list[list[Detection]]:
        """See ``FaceDetector.detect``."""
        return list(self._pool.map(self._detect_one, frames))

    def _detect_one(self, pixels: np.ndarray) -> list[Detection]:
        boxes, mesh = pair = self._networks.get()
        try:
            return _find_faces(boxes, mesh, pixels)
        finally:
            self._networks.put(pair)


def _find_faces(boxes: cv2.FaceDetectorYN, mesh: cv2.dnn.Net, pixels: np.ndarray) -> list[Detection]:
    scale = min(1.0, DETECTION_SIDE / max(pixels.shape[:2]))
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    boxes.setInputSize((small.shape[1], small.shape[0]))
    _, rows = boxes.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    # Sizes are rounded when reducing, so each axis has its own ratio.
    ratio = np.array([pixels.shape[1] / small.shape[1], pixels.shape[0] / small.shape[0]])
    found = []
    for row in [] if rows is None else rows.astype(np.float64):
        corner, extent = row[:2] * ratio - 0.5, row[2:4] * ratio
        eyes = row[4:8].reshape(2, 2) * ratio - 0.5
        points, presence = _fit_mesh(mesh, pixels, corner + extent / 2, eyes, extent.max())
        if presence >= MIN_PRESENCE:
            box = np.concatenate([corner, corner + extent]).astype(np.float32)
            landmarks = ((points[FIRST] + points[SECOND]) / 2).astype(np.float32)
            found.append(Detection(box, landmarks, float(min(row[14], 1.0))))
    return _distinct(sorted(found, key=lambda detection: -detection.score))


def _distinct(found: list[Detection]) -> list[Detection]:
    """Without the weaker ones of faces that the mesh moved onto the same spot."""
    kept: list[Detection] = []
    for face in found:
        apart = (np.abs(face.landmarks - other.landmarks).mean() / np.ptp(face.landmarks) for other in kept)
        if all(distance > SAME_FACE for distance in apart):
            kept.append(face)
    return kept


def _fit_mesh(
    mesh: cv2.dnn.Net, pixels: np.ndarray, centre: np.ndarray, eyes: np.ndarray, extent: float
) -> tuple[np.ndarray, float]:
    """(478, 2) float64 frame pixels, and the probability that there is a face."""
    for _ in range(REFINEMENTS):
        direction = (eyes[1] - eyes[0]) / max(np.linalg.norm(eyes[1] - eyes[0]), 1e-6)
        upright = np.array([direction, [-direction[1], direction[0]]])
        linear = upright * (MESH_SIDE / (MESH_MARGIN * extent))
        matrix = np.column_stack([linear, (MESH_SIDE - 1) / 2 - linear @ centre])
        mesh.setInput(cv2.dnn.blobFromImage(_mesh_crop(pixels, matrix), 1 / 255))
        points, presence = mesh.forward(["Identity", "Identity_1"])
        points = points.reshape(MESH_POINTS, 3)[:, :2].astype(np.float64) - 0.5
        low, high = points.min(axis=0), points.max(axis=0)
        back = invert(matrix)
        centre, extent = transform(back, (low + high) / 2), (high - low).max() * MESH_MARGIN * extent / MESH_SIDE
        points = transform(back, points)
        eyes = points[list(EYE_CORNERS)]
    return points, float(1 / (1 + np.exp(-presence.ravel()[0])))


def _mesh_crop(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(256, 256, 3); a large face is low-passed first, a small one is not worth the time."""
    size = (MESH_SIDE, MESH_SIDE)
    if np.linalg.norm(matrix[:, 0]) < LARGE_FACE_STEP:
        return warp(pixels, matrix, size, 0)
    return cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_LINEAR)


def _read_detectors(path: Path, count: int) -> list[cv2.FaceDetectorYN]:
    size = (DETECTION_SIDE, DETECTION_SIDE)  # set anew for each frame
    log_level = cv2.utils.logging.getLogLevel()
    # OpenCV 5 warns that it ignores the default target, which it sets itself.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        return [
            cv2.FaceDetectorYN.create(str(path), "", size, MIN_SCORE, NMS_OVERLAP, MAX_CANDIDATES) for _ in range(count)
        ]
    except cv2.error as error:
        raise _corrupt(path) from error
    finally:
        cv2.utils.logging.setLogLevel(log_level)


def _read_meshes(path: Path, count: int) -> list[cv2.dnn.Net]:
    # OpenCV 5's new graph engine gives only one of this network's three outputs, and reading from memory cannot ask for
    # the other engine; OpenCV 4 has that one only.
    engine = [cv2.dnn.ENGINE_CLASSIC] if hasattr(cv2.dnn, "ENGINE_CLASSIC") else []
    with tempfile.TemporaryDirectory(prefix="latentsync-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                member = archive.extract(MESH_MEMBER, folder)
            return [cv2.dnn.readNetFromTFLite(member, *engine) for _ in range(count)]
        except (zipfile.BadZipFile, KeyError, cv2.error) as error:
            raise _corrupt(path) from error


def _corrupt(path: Path) -> WeightsCorruptError:
    return WeightsCorruptError(
        f"{path} ({path.stat().st_size} bytes) is not the network it should be.",
        remedy=f"Delete it and run: {DOWNLOAD}",
    )
