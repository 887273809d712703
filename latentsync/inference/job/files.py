"""The files of a dub before it begins: the video opens, result and report can be written, the disk has room, and what
the request names of them is in them."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

from latentsync.errors import ConfigError, DiskFullError, OutputError
from latentsync.face.selection import FaceChoice
from latentsync.inference.job.request import DubRequest
from latentsync.inference.options import SyncOptions
from latentsync.media.video import VideoFile
from latentsync.media.writer import refuse_unwritable
from latentsync.types import VideoInfo

DISK_RESERVE = 1.2  # this many times the estimated size must be free


def check_files(request: DubRequest) -> None:
    """Raise unless every file can be written, and those of strangers keep to the limits."""
    refuse_unwritable(request.output, request.inputs, request.overwrite)
    if request.report is not None:
        _require_place_for_report(request.report, request)
    if request.signer is not None:
        request.signer.check(request.output, request.video)
    if not request.limits.own_files:
        request.limits.check_video(request.video)
        for audio in request.inputs[1:]:
            request.limits.check_audio(audio)


def _require_place_for_report(report: Path, request: DubRequest) -> None:
    """Raise ``OutputError`` unless ``report`` is a new file or an older report, which may be replaced."""
    weights = request.weights.networks().values()
    refuse_unwritable(report, (*request.inputs, request.output, *weights), overwrite=True)
    if report.absolute() == request.output.absolute():
        raise OutputError(f"{report} is the name of the result too.", remedy="Choose another name for the report.")


def open_video(request: DubRequest) -> VideoFile:
    """The video of a dub. Raises as ``VideoFile``, and ``ConfigError`` for options that such a video cannot have."""
    video = VideoFile(request.video, request.fps, request.limits, longest_repair=None, deinterlace=request.deinterlace)
    if request.fps is not None and not video.is_images:
        raise ConfigError(
            f"{request.video} has a frame rate of its own.", remedy="Leave out --fps: it is for pictures."
        )
    if request.whole_frames and (video.info.variable_frame_rate or request.options.compat is not None):
        why = "with --compat" if request.options.compat is not None else f"for {request.video}, whose rate varies"
        raise ConfigError(
            f"--whole_frames makes no sense {why}.", remedy="Leave it out, or bring the video to a constant rate first."
        )
    return video


def require_points_in_video(request: DubRequest, info: VideoInfo, audio_duration: Fraction) -> None:
    """Raise ``ConfigError`` for a face at a point outside the frame, or at a time after the end of the result."""
    scene = request.scene
    faces = [request.options.face] if scene is None else [person.face for person in scene.speakers()]
    for choice in map(FaceChoice.parse, faces):
        if choice.point is None:
            continue
        x, y = choice.point
        if x > info.width or y > info.height:
            raise ConfigError(
                f"The point {x:g},{y:g} of --face lies outside the frame, which is {info.width} x {info.height}.",
                remedy="Give a point on the face: pixels from the left and from the top.",
            )
        if choice.time > max(info.duration, audio_duration):
            raise ConfigError(
                f"At {float(choice.time):g} s, the time of --face, the video of {float(info.duration):.2f} s is over.",
                remedy="Give a time at which the face is in the frame.",
            )


def require_skipped_in_result(options: SyncOptions, whole: Fraction) -> None:
    """Raise ``ConfigError`` for a stretch to be skipped after the end of the result, of ``whole`` seconds."""
    late = next((stretch for stretch in options.skip if stretch.start >= whole), None)
    if late is not None:
        raise ConfigError(
            f"--skip {late}: the result is over at {float(whole):.2f} s.", remedy="Give seconds of the result."
        )


def require_room(output: Path, needed: int) -> None:
    """Raise ``DiskFullError`` unless the disk of ``output`` has room for ``needed`` bytes and some more."""
    free = shutil.disk_usage(output.absolute().parent).free
    if free < needed * DISK_RESERVE:
        raise DiskFullError(
            f"{output.absolute().parent} has {free / 1e6:.0f} MB free, the result needs about {needed / 1e6:.0f} MB.",
            remedy="Make room, or write to another disk.",
        )


def bytes_in(folder: Path) -> int:
    """Bytes of the files in a folder that need not be there."""
    return sum(path.stat().st_size for path in folder.glob("*"))
