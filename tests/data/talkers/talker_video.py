"""A talker as a user's video: an MP4, and a file with the faces of its frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.data.talkers.files import write_talker
from latentsync.face.detections_file import write_detections
from latentsync.face.detector import Detection


def write_talker_video(
    folder: Path, seconds: float = 1.2, size: int = 96, fps: int = 25, seed: int = 5
) -> tuple[Path, Path]:
    """Paths of an MP4 with audio and of its faces, for ``--detector``."""
    folder.mkdir(parents=True, exist_ok=True)
    clip = write_talker(folder, 0, seed, "plain", seconds, (size, size), Fraction(fps), crf=16)
    (video,) = folder.glob("*.mp4")
    faces = video.with_name("faces.npz")
    write_detections(
        faces,
        {
            number: [Detection(np.concatenate([points.min(axis=0), points.max(axis=0)]), points, 1.0)]
            for number, points in enumerate(clip.landmarks)
        },
    )
    return video, faces
