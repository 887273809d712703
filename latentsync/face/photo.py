"""Who in a video is the person of a photograph."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from latentsync.errors import ConfigError, NoFaceError
from latentsync.face.appearance import FaceEmbedder
from latentsync.face.box import box_centre, longer_side
from latentsync.face.detections_file import Detections
from latentsync.face.detector import FaceDetector
from latentsync.types import ArrayFrame, VideoSource

SAMPLED_FRAMES = 24  # of the video that are searched
MOST_DIFFERENCE = 1.5  # from the photograph: light, and often hair and clothes, are others there


def most_alike(
    photo: Path, video: VideoSource, detector: FaceDetector, embedder: FaceEmbedder, known: Detections
) -> tuple[tuple[float, float], int]:
    """The middle of the face, in frame pixels, that looks most like the one in ``photo``, and the number of its frame.

    Frames spread over the video are searched; detections in ``known`` are used, and new ones added. Raises
    ``ConfigError`` if the photograph cannot be read, and ``NoFaceError`` if it shows no face or nobody looks like it.
    """
    looked_for = _look(photo, detector, embedder)
    best, found = np.inf, None
    count = len(video.times())
    for number in sorted({round(k) for k in np.linspace(0, count - 1, min(SAMPLED_FRAMES, count))}):
        frame = next(video.frames(number, number + 1), None)
        if frame is None:
            continue
        if number not in known:
            known[number] = detector.detect([frame])[0]
        faces = known[number]
        if faces:
            looks = embedder.embed(frame, [face.landmarks for face in faces])
            differences = embedder.differences(looked_for, looks)[0]
            nearest = int(differences.argmin())
            if differences[nearest] < best:
                best, (x, y) = float(differences[nearest]), box_centre(faces[nearest].box)
                found = (float(x), float(y)), number
    if found is None or best > MOST_DIFFERENCE:
        raise NoFaceError(
            f"Nobody in {video.info.path} looks like {photo}, in {min(SAMPLED_FRAMES, count)} frames spread over it.",
            remedy="Take a photograph that is more like the video, or name the person by 'X,Y@SECONDS'.",
        )
    return found


def _look(photo: Path, detector: FaceDetector, embedder: FaceEmbedder) -> np.ndarray:
    """(1, D) of the largest face in a photograph."""
    try:
        pixels = cv2.imdecode(np.fromfile(photo, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error) as error:
        raise ConfigError(f"{photo} cannot be read: {error}.", remedy="Check the path.") from error
    if pixels is None:
        raise ConfigError(f"{photo} is no picture.", remedy="Give a PNG or JPEG file.")
    frame = ArrayFrame.of(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    faces = detector.detect([frame])[0]
    if not faces:
        raise NoFaceError(f"No face is found in {photo}.", remedy="Take another photograph, or another --detector.")
    face = max(faces, key=lambda each: longer_side(each.box))
    return embedder.embed(frame, [face.landmarks])
