"""YuNet for the boxes, the MediaPipe face mesh for the landmarks, both run by OpenCV: free to use and fast on a CPU.

YuNet (Wu et al. 2023, "YuNet: A tiny millisecond-level face detector") gets the frame reduced: faces that are too small
to be dubbed need not be found. Its box says where the mesh is to look (``face_mesh``).
"""

from __future__ import annotations

import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import cv2
import numpy as np

from latentsync.errors import WeightsCorruptError
from latentsync.face.backends.face_mesh import MESH_FILES, MESH_SETTINGS, Place, fit_mesh, read_meshes
from latentsync.face.detector import DOWNLOAD_FREE, Detection, find_weights, require_weights
from latentsync.runtime.memory import naming_lack_of_memory
from latentsync.types import Frame

DETECTOR_FILES = ("face_detection_yunet_2023mar.onnx", "yunet_n_dynamic.onnx")
FILES = (DETECTOR_FILES, MESH_FILES)  # one of each is needed

MAX_WORKERS = 8
DETECTION_SIDE = 640  # longer side of the frame that YuNet gets, at most, px
LEAST_SIDE = 128  # no frame is reduced further, px; those between the two are halved, so a face of 32 px keeps 16
MIN_SCORE = 0.6  # of YuNet
MIN_PRESENCE = 0.5  # of the mesh: its own probability that the crop shows a face
NMS_OVERLAP = 0.3
MAX_CANDIDATES = 500
SAME_FACE = 0.1  # mean distance of two sets of landmarks, over their extent
# The place of the mesh's points: this far below the centre of YuNet's box and this large, in longer sides of the box.
# Over 17 faces, real and drawn, the standard deviation is 2 % of the side in x and y, and 3 % of the size.
BOX_DROP, BOX_SCALE = 0.052, 0.9


def missing_files(weights_dir: Path) -> list[str]:
    """Names of the files that are not there."""
    return [names[0] for names in FILES if find_weights(weights_dir, names) is None]


def load(weights_dir: Path, device: str, threads: int | None = None) -> YuNetMesh:
    """The detector from the files in ``weights_dir``; it always runs on the CPU."""
    return YuNetMesh(require_weights(weights_dir, DETECTOR_FILES), require_weights(weights_dir, MESH_FILES), threads)


class YuNetMesh:
    """See the module's docstring. The frames of a batch are shared out among ``workers`` threads."""

    def __init__(self, detector_path: Path, mesh_path: Path, workers: int | None = None) -> None:
        workers = workers or min(MAX_WORKERS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="yunet")
        # An OpenCV network runs in one thread at a time: a worker takes a pair and puts it back.
        self._networks: SimpleQueue[tuple[cv2.FaceDetectorYN, cv2.dnn.Net]] = SimpleQueue()
        detectors, meshes = _read_detectors(detector_path, workers), _read_meshes(mesh_path, workers)
        for pair in zip(detectors, meshes, strict=True):
            self._networks.put(pair)
        boxes = f"reduced-{DETECTION_SIDE}-{LEAST_SIDE}-{MIN_SCORE}-{BOX_DROP}-{BOX_SCALE}-{detector_path.stem}"
        self.name = f"yunet-{boxes}-mesh-{MESH_SETTINGS}"

    def detect(self, frames: list[Frame]) -> list[list[Detection]]:
        """See ``FaceDetector.detect``."""
        return list(self._pool.map(self._detect_one, frames))

    def _detect_one(self, frame: Frame) -> list[Detection]:
        boxes, mesh = pair = self._networks.get()
        try:
            with naming_lack_of_memory("the faces of a frame"):
                return _find_faces(boxes, mesh, frame)
        finally:
            self._networks.put(pair)


def _find_faces(boxes: cv2.FaceDetectorYN, mesh: cv2.dnn.Net, frame: Frame) -> list[Detection]:
    height, width, _ = frame.shape
    scale = min(1.0, DETECTION_SIDE / max(width, height), max(0.5, LEAST_SIDE / max(width, height)))
    small = frame.reduced(scale)
    boxes.setInputSize((small.shape[1], small.shape[0]))
    _, rows = boxes.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    # Sizes are rounded when reducing, so each axis has its own ratio.
    ratio = np.array([width / small.shape[1], height / small.shape[0]])
    found = []
    for row in [] if rows is None else rows.astype(np.float64):
        corner, size = row[:2] * ratio - 0.5, row[2:4] * ratio
        eyes = row[4:8].reshape(2, 2) * ratio - 0.5
        landmarks, presence = fit_mesh(mesh, frame, place_of_mesh(corner, size, eyes))
        if presence >= MIN_PRESENCE:
            box = np.concatenate([corner, corner + size]).astype(np.float32)
            found.append(Detection(box, landmarks.astype(np.float32), float(min(row[14], 1.0))))
    return _distinct(sorted(found, key=lambda detection: -detection.score))


def place_of_mesh(corner: np.ndarray, size: np.ndarray, eyes: np.ndarray) -> Place:
    """The expected place of the mesh, from the top left corner and size (2,) of YuNet's box and its eyes (2, 2)."""
    box = Place(corner + size / 2, eyes, float(size.max()))
    x, y = box.across
    return Place(box.centre + BOX_DROP * box.extent * np.array([-y, x]), eyes, BOX_SCALE * box.extent)


def _distinct(found: list[Detection]) -> list[Detection]:
    """Without duplicates: where the mesh moved several faces to one place, only the most certain stays."""
    kept: list[Detection] = []
    for face in found:
        apart = (np.abs(face.landmarks - other.landmarks).mean() / np.ptp(face.landmarks) for other in kept)
        if all(distance > SAME_FACE for distance in apart):
            kept.append(face)
    return kept


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
    try:
        return read_meshes(path, count)
    except (zipfile.BadZipFile, ValueError, RuntimeError, KeyError, cv2.error) as error:
        raise _corrupt(path) from error


def _corrupt(path: Path) -> WeightsCorruptError:
    return WeightsCorruptError(
        f"{path} ({path.stat().st_size} bytes) is not the network it should be.",
        remedy=f"Delete it and run: {DOWNLOAD_FREE}",
    )
