"""Detected faces on disk: files that a user gives instead of a detector, and the cache from one run to the next.

There are two formats, by the file's suffix, both in frame pixels and with frame numbers from 0:

- ``.npz``: ``version`` (1,); ``frames`` (m,) numbers of all frames that a detector saw; and one row per face in
  ``frame`` (n,), ``box`` (n, 4), ``landmarks`` (n, 68, 2), ``score`` (n,).
- ``.json``: ``{"version": 1, "frames": {"0": [{"box": [x0, y0, x1, y1], "landmarks": [[x, y], ...], "score": 0.9}]}}``;
  ``box`` may be left out (then it is that of the landmarks), and so may ``score`` (1).

The cache keeps detections under the content of the video and the name of the detector. Tracking and selection are
cheap and computed anew, so a change of their settings needs no detection. A cache that cannot be used costs a note and
time, never the run.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from latentsync.atomic import atomic_file
from latentsync.checkpoint.files import sha256_file
from latentsync.errors import ConfigError
from latentsync.face.box import box_around
from latentsync.face.detector import Detection
from latentsync.face.similarity import anchor_points
from latentsync.places import faces_folder

VERSION = 1

Detections = dict[int, list[Detection]]  # by frame number; an empty list means that there is no face


def read_detections(path: Path) -> Detections:
    """The faces in a file of either format. Raises ``ConfigError`` with the file and what is wrong with it."""
    try:
        found = _read_json(path) if path.suffix.lower() == ".json" else _read_npz(path)
    except FileNotFoundError as error:
        raise ConfigError(f"There is no file of faces {path}.", remedy="Check the path.") from error
    except (
        *(OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, RuntimeError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        raise ConfigError(
            f"{path} is no file of faces: {error}.",
            remedy="The formats are described in latentsync/face/detections_file.py.",
        ) from error
    for number, faces in found.items():
        for face in faces:
            if not _is_usable(face):
                raise ConfigError(
                    f"{path}: a face of frame {number} does not have 68 finite landmarks, brows and nose at different "
                    "places, and a box of 4 numbers.",
                    remedy="Correct or remove it.",
                )
    return found


def _is_usable(face: Detection) -> bool:
    if face.landmarks.shape != (68, 2) or face.box.shape != (4,):
        return False
    numbers = np.concatenate([face.landmarks.ravel(), face.box, [face.score]])
    return bool(np.isfinite(numbers).all()) and anchor_points(face.landmarks).std(axis=0).max() > 0


def write_detections(path: Path, detections: Mapping[int, list[Detection]]) -> None:
    """Write the ``.npz`` format; the file appears whole or not at all."""
    numbers = sorted(detections)
    rows = [(number, face) for number in numbers for face in detections[number]]
    with atomic_file(path, durable=True) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            version=np.array([VERSION]),
            frames=np.array(numbers, dtype=np.int64),
            frame=np.array([number for number, _ in rows], dtype=np.int64),
            box=np.array([face.box for _, face in rows], dtype=np.float32).reshape(-1, 4),
            landmarks=np.array([face.landmarks for _, face in rows], dtype=np.float32).reshape(-1, 68, 2),
            score=np.array([face.score for _, face in rows], dtype=np.float64),
        )


def _read_npz(path: Path) -> Detections:
    with np.load(path, allow_pickle=False) as archive:
        _check_version(int(archive["version"][0]))
        found: Detections = {int(number): [] for number in archive["frames"]}
        columns = [archive[name] for name in ("frame", "box", "landmarks", "score")]
    for number, box, landmarks, score in zip(*columns, strict=True):
        found[int(number)].append(Detection(box, landmarks, float(score)))
    return found


def _read_json(path: Path) -> Detections:
    content = json.loads(path.read_text(encoding="utf-8"))
    _check_version(content["version"])
    return {int(number): [_face(face) for face in faces] for number, faces in content["frames"].items()}


def _face(entry: dict) -> Detection:
    landmarks = np.array(entry["landmarks"], dtype=np.float32).reshape(-1, 2)
    box = entry.get("box") or box_around(landmarks)
    return Detection(np.array(box, dtype=np.float32), landmarks, float(entry.get("score", 1.0)))


def _check_version(version: int) -> None:
    if version != VERSION:
        raise ValueError(f"version {version} instead of {VERSION}")


def cache_path(video: Path, detector_name: str, folder: Path | None = None) -> Path:
    """The cache file of a video, known by the SHA-256 of its content (about a second for 2 GB), and a detector."""
    key = hashlib.sha256(f"{sha256_file(video)} {detector_name} {VERSION}".encode()).hexdigest()
    return faces_folder(folder) / f"{key}.npz"


def read_cache(path: Path) -> tuple[Detections, str]:
    """The cached detections, and a note for the user if there is a file that cannot be read; it is ignored."""
    try:
        return (read_detections(path) if path.is_file() else {}), ""
    except OSError as error:
        return {}, f"The cached faces cannot be used and are detected again. {path}: {error.strerror}."
    except ConfigError as error:
        return {}, f"The cached faces cannot be used and are detected again. {error.message}"
