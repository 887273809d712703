"""Step 6: the face brought into the square that the networks are given. The video's second and last lossy encoding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace

from latentsync.constants import MODEL_FPS
from latentsync.errors import NoFaceError
from latentsync.face.align import FaceAligner
from latentsync.face.detections_file import read_detections
from latentsync.face.selection import FaceSelector, TargetFrame
from latentsync.levels import to_image
from latentsync.media.output_audio import AudioPart
from latentsync.media.video import VideoFile
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.preprocess.clip_record import MadeClip, StepInput, StepResult
from latentsync.preprocess.settings import PreprocessSettings
from latentsync.preprocess.steps.networks import StepNetworks
from latentsync.preprocess.steps.step5_high_resolution import track_one_shot
from latentsync.types import ArrayFrame, Frame, VideoInfo

VERSION = 2


def run(job: StepInput, settings: PreprocessSettings, networks: StepNetworks) -> StepResult:
    """Raises ``NoFaceError`` if the face gets lost on the way."""
    side, encoding = settings.alignment.resolution, settings.alignment.encoding
    found = read_detections(job.faces) if job.faces.is_file() else {}
    video = VideoFile(job.file)
    target = job.scratch / "aligned.mp4"
    options = EncodingOptions("h264", encoding.crf, encoding.preset, repeatable=True)
    with closing(video.frames()) as frames:
        tracked = track_one_shot(frames, found, networks.detector, settings.faces.stride)
        faces = FaceSelector().select(tracked)
        aligned = aligned_frames(faces, side)
        info = square_info(video.info, side, job.clip.frames)
        write_video(target, aligned, info, options, AudioPart(job.file, copied=True))
    return StepResult((MadeClip(job.clip, target),), figures={"resolution": side})


def aligned_frames(faces: Iterable[TargetFrame], side: int) -> Iterator[Frame]:
    """The aligned face of every frame, ``side`` pixels wide. Raises ``NoFaceError`` at a frame without one."""
    aligner = FaceAligner(side)
    for target in faces:
        if target.face is None:
            raise NoFaceError(f"{target.reason} in frame {target.frame.index}")
        square = aligner.align(target.frame, target.face.landmarks).pixels
        yield ArrayFrame(target.frame.index, target.frame.time, to_image(square))


def square_info(info: VideoInfo, side: int, n_frames: int) -> VideoInfo:
    """What the aligned clip is, for the writer."""
    return replace(info, width=side, height=side, n_frames=n_frames, duration=n_frames / MODEL_FPS)
