"""Steps 3 and 4: one clip for each shot, and segments of equal length of each shot, cut to the frame.

Nothing is encoded again: step 2 has put key frames where these steps cut. It also finds the shots (``mark_shots``),
since it is the step that decodes the source.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from scenedetect import AdaptiveDetector, FrameTimecode
from scenedetect.scene_manager import compute_downscale_factor

from latentsync.constants import MODEL_FPS
from latentsync.media.cutting import Piece, cut
from latentsync.preprocess.clip_record import MadeClip, StepInput, StepResult
from latentsync.preprocess.settings import PreprocessSettings, ShotSettings
from latentsync.preprocess.steps.networks import StepNetworks
from latentsync.types import Frame

SHOT_VERSION = 1
SEGMENT_VERSION = 1


def mark_shots(frames: Iterable[Frame], settings: ShotSettings) -> Iterator[tuple[Frame, bool]]:
    """Each frame, numbered from 0, with whether it is the first of a new shot; the very first is not marked.

    Shots are told apart by PySceneDetect's adaptive detector. Holds ``window`` frames back. As the library does by
    default, the detector gets frames about 256 pixels wide.
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


def cut_into_shots(job: StepInput, settings: PreprocessSettings, networks: StepNetworks) -> StepResult:
    """Step 3. A recording of one shot is kept as the file it is."""
    borders = [0, *job.clip.cuts, job.clip.frames]
    spans = list(zip(borders[:-1], borders[1:], strict=True))
    marks = [f"_shot_{number:03d}" for number in range(1, len(spans) + 1)]
    return StepResult(_cut_clip(job, spans, marks), figures={"shots": len(spans)})


def cut_into_segments(job: StepInput, settings: PreprocessSettings, networks: StepNetworks) -> StepResult:
    """Step 4. The last segment is up to twice as long as the others, so that nothing is left over; a shot that is
    shorter than one segment is dropped."""
    length, frames = settings.segment_frames, job.clip.frames
    if frames < length:
        needed = f"{float(length / MODEL_FPS):g} s"
        return StepResult(reason=f"short shot: {job.clip.seconds:.2f} s where {needed} are needed")
    starts = [length * number for number in range(frames // length)]
    spans = list(zip(starts, [*starts[1:], frames], strict=True))
    return StepResult(_cut_clip(job, spans, [f"_{number:03d}" for number in range(len(spans))]))


def _cut_clip(job: StepInput, spans: list[tuple[int, int]], marks: list[str]) -> tuple[MadeClip, ...]:
    """The clips of ``spans`` (first frame, frame after the last; within the clip), named by ``marks``."""
    clips = [job.clip.part(*span, mark) for span, mark in zip(spans, marks, strict=True)]
    if spans == [(0, job.clip.frames)]:
        return (MadeClip(clips[0]),)
    pieces = [Piece(*span, job.scratch / f"{number:05d}.mp4") for number, span in enumerate(spans)]
    cut(job.file, pieces, MODEL_FPS)
    return tuple(MadeClip(clip, piece.path) for clip, piece in zip(clips, pieces, strict=True))


def _marked(pending: deque[Frame], cuts: set[int]) -> tuple[Frame, bool]:
    frame = pending.popleft()
    is_cut = frame.index in cuts
    cuts.discard(frame.index)
    return frame, is_cut


def _reduced(frame: Frame) -> np.ndarray:
    """(h, w, 3) uint8 BGR"""
    factor = max(1, compute_downscale_factor(frame.shape[1]))
    return cv2.cvtColor(frame.reduced(1 / factor), cv2.COLOR_RGB2BGR)
