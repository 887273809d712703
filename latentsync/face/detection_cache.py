"""Detections kept from one run to the next, under the content of the video and the name of the detector.

What tracking and choosing make of them is cheap and computed anew, so a change of their settings needs no detection.
A cache that cannot be used costs a note and time, never the run.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from latentsync.checkpoint.files import sha256_file
from latentsync.errors import ConfigError
from latentsync.face.detections_file import VERSION, Detections, read_detections
from latentsync.runtime.cache_folder import faces_folder


def cache_path(video: Path, detector_name: str, folder: Path | None = None) -> Path:
    """The file for this video, known by the SHA-256 of its whole content (about a second for 2 GB), and detector."""
    key = hashlib.sha256(f"{sha256_file(video)} {detector_name} {VERSION}".encode()).hexdigest()
    return faces_folder(folder) / f"{key}.npz"


def read_cache(path: Path) -> tuple[Detections, str]:
    """What is cached under ``path``, and a note for the user if a file is there that cannot be read (it is ignored)."""
    try:
        return (read_detections(path) if path.is_file() else {}), ""
    except OSError as error:
        return {}, f"The cached faces cannot be used and are looked for anew. {path}: {error.strerror}."
    except ConfigError as error:
        return {}, f"The cached faces cannot be used and are looked for anew. {error.message}"
