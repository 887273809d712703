"""Where shots begin, by PySceneDetect's adaptive detector, from frames in a stream: nothing is decoded for it alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from scenedetect import AdaptiveDetector, FrameTimecode
from scenedetect.scene_manager import compute_downscale_factor

from latentsync.constants import MODEL_FPS
from latentsync.preprocess.settings import ShotSettings
from latentsync.types import Frame


def mark_shots(frames: Iterable[Frame], settings: ShotSettings) -> Iterator[tuple[Frame, bool]]:
    """Each frame, numbered from 0, with whether it is the first of a new shot; the very first is not marked.

    Holds ``window`` frames back. As the library does by default, the detector sees frames about 256 pixels wide.
    """
    detector = AdaptiveDetector(
        adaptive_threshold=settings.threshold,
        min_scene_len=settings.min_frames,
        window_width=settings.window,
        min_content_val=settings.min_change,
    )
    pending: deque[Frame] = deque()
    cuts: set[int] = set()
    for frame in frames:
        found = detector.process_frame(FrameTimecode(frame.index, MODEL_FPS), _reduced(frame))
        cuts.update(timecode.frame_num for timecode in found)
        pending.append(frame)
        if len(pending) > settings.window:
            yield _marked(pending, cuts)
    while pending:
        yield _marked(pending, cuts)


def _marked(pending: deque[Frame], cuts: set[int]) -> tuple[Frame, bool]:
    frame = pending.popleft()
    is_cut = frame.index in cuts
    cuts.discard(frame.index)
    return frame, is_cut


def _reduced(frame: Frame) -> np.ndarray:
    """(h, w, 3) uint8 BGR"""
    factor = max(1, compute_downscale_factor(frame.shape[1]))
    return cv2.cvtColor(frame.reduced(1 / factor), cv2.COLOR_RGB2BGR)
