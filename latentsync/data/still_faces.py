"""Faces of people as single images: photographs, and some frames of every recording, found once by a face detector.

H, W sides of a crop in pixels
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from latentsync.data.clip_reader import ArrayCache
from latentsync.data.grid import TALKER_FOLDER, grid_sentences
from latentsync.data.manifest import TRAIN, content_hash, is_held_out
from latentsync.data.scan import VIDEO_SUFFIXES
from latentsync.errors import DataError, LatentSyncError
from latentsync.face.align import FaceAligner
from latentsync.face.backends import yunet
from latentsync.face.box import transformed_box
from latentsync.face.detector import Detection, FaceDetector
from latentsync.face.similarity import invert
from latentsync.media.video import VideoFile
from latentsync.types import ArrayFrame, Frame

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
RECORDING_SUFFIXES = VIDEO_SUFFIXES | {".mpg", ".mpeg"}
MARGIN = 0.35  # around the aligned square, over its side: room to turn, move and shrink the face in it
_SIDE = 256  # of the aligned face that the room around it is counted in
_VERSION = "stills-1"  # part of the folder's name: change it when the stored values change


@dataclass(frozen=True, slots=True)
class StillFace:
    """``pixels`` (H, W, 3) uint8 RGB around a face and its ``landmarks`` (68, 2) float32 in them; ``content`` is the
    hash of the file that it is from, ``frame`` the number of the frame in it."""

    path: Path
    content: str
    frame: int
    pixels: np.ndarray
    landmarks: np.ndarray


def find_stills(folder: Path, weights: Path, cache: Path, frames_per_recording: int) -> list[StillFace]:
    """The largest face of every photograph under ``folder``, and of ``frames_per_recording`` frames of every recording,
    in the order of the paths; files without a face are counted in a warning.

    ``weights``: folder of the files of the detector 'yunet'; ``cache`` keeps what it found, by the files' content.
    Raises ``DataError`` if there is no face at all, and the ``WeightsError`` family.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES | RECORDING_SUFFIXES)
    store = _StillCache(cache / f"{_VERSION}-{frames_per_recording}")
    detector: FaceDetector | None = None
    stills: list[StillFace] = []
    without: list[str] = []
    for path in paths:
        content = content_hash(path)
        if not store.has(content):
            detector = detector or yunet.load(weights, "cpu")
            store.put(content, _examine(path, detector, frames_per_recording))
        found = store.read(path, content)
        stills += found
        without += [] if found else [path.name]
    if not stills:
        raise DataError(
            f"No photograph or recording under {folder} shows a face.",
            remedy=f"Looked at {len(paths)} files: {', '.join(sorted(IMAGE_SUFFIXES | RECORDING_SUFFIXES))}.",
        )
    if without:
        logger.warning("%d of %d files under %s show no face: %s", len(without), len(paths), folder, without[:5])
    return stills


def split_stills(
    stills: Sequence[StillFace], validation_share: float, folder: Path
) -> tuple[list[StillFace], list[StillFace]]:
    """Training and validation; all faces of a file are on the same side. The content of a file decides, as for the
    photographs of ``photo_talkers.crops``; of a GRID talker in ``folder`` the sentence, as for ``data.grid``."""
    sides = {}
    if (folder / TALKER_FOLDER).is_dir():
        sides = {sentence.path: sentence.split != TRAIN for sentence in grid_sentences(folder)}
    parts: tuple[list[StillFace], list[StillFace]] = [], []
    for still in stills:
        by_content = is_held_out(still.content, validation_share)
        parts[sides.get(still.path, by_content)].append(still)
    return parts


class _StillCache:
    """Crops and landmarks of the faces of a file, by its content."""

    def __init__(self, folder: Path) -> None:
        self._pixels = ArrayCache(folder / "pixels", mapped=True)
        self._landmarks = ArrayCache(folder / "landmarks")
        self._frames = ArrayCache(folder / "frames")

    def has(self, content: str) -> bool:
        return self._landmarks.find(content) is not None

    def put(self, content: str, found: Sequence[tuple[int, np.ndarray, np.ndarray]]) -> None:
        """Frame number, pixels and landmarks of each face; all crops of a file are equally large."""
        frames, pixels, landmarks = zip(*found, strict=True) if found else ((), (), ())
        if found:
            self._frames.put(content, np.array(frames))
            self._pixels.put(content, np.stack(pixels))
        self._landmarks.put(content, np.array(landmarks, np.float32).reshape(-1, 68, 2))  # last: now it is complete

    def read(self, path: Path, content: str) -> list[StillFace]:
        landmarks = self._landmarks.find(content)
        if landmarks is None or not len(landmarks):
            return []
        frames, pixels = self._frames.find(content), self._pixels.find(content)
        if frames is None or pixels is None:
            return []
        rows = zip(frames, pixels, landmarks, strict=True)
        return [StillFace(path, content, int(frame), crop, points) for frame, crop, points in rows]


def _examine(path: Path, detector: FaceDetector, frames_per_recording: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """See ``_StillCache.put``. A file that cannot be read is one without a face, and is named."""
    faces: list[tuple[Frame, np.ndarray]] = []
    try:
        for frame in _frames(path, frames_per_recording):
            detections = detector.detect([frame])[0]
            if detections:
                faces.append((frame, max(detections, key=_area).landmarks))
    except LatentSyncError as error:
        logger.warning("%s: %s", path, error.message)
    if not faces:
        return []
    corners = np.array([_room(landmarks) for _, landmarks in faces])
    height, width = faces[0][0].shape[:2]
    x0, y0 = np.maximum(np.floor(corners[:, :2].min(axis=0)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(corners[:, 2:].max(axis=0)).astype(int), (width, height))
    origin = np.array([x0, y0], np.float32)
    return [(f.index, np.ascontiguousarray(f.pixels[y0:y1, x0:x1]), points - origin) for f, points in faces]


def _room(landmarks: np.ndarray) -> np.ndarray:
    """(4,) left, top, right and bottom of what is kept around a face."""
    low, high = -MARGIN * _SIDE, (1 + MARGIN) * _SIDE
    return transformed_box(invert(FaceAligner(_SIDE).matrix(landmarks)), (low, low, high, high))


def _frames(path: Path, count: int) -> Iterator[Frame]:
    """The photograph, or ``count`` frames spread over the recording."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise DataError("it is not a picture file")
        yield ArrayFrame.of(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        return
    video = VideoFile(path)
    wanted = set(np.linspace(0, video.info.n_frames - 1, count + 2).round().astype(int)[1:-1].tolist())
    yield from (frame for frame in video.frames() if frame.index in wanted)


def _area(face: Detection) -> float:
    x0, y0, x1, y1 = face.box
    return float((x1 - x0) * (y1 - y0))
