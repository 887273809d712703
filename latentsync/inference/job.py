"""From files to a file: check, load, follow the face, generate, write, account."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from fractions import Fraction
from importlib import metadata
from pathlib import Path

from latentsync.errors import NoFaceError, OutputError
from latentsync.face.selection import FaceSelector
from latentsync.face.tracks import FaceTracks
from latentsync.inference.faces import tracking_settings
from latentsync.inference.loading import load_pipeline
from latentsync.inference.options import SyncOptions
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.inference.preflight import Preflight, preflight
from latentsync.inference.report import RunRecord, RunReport
from latentsync.inference.request import DubRequest
from latentsync.inference.timeline import LengthMode
from latentsync.media.writer import write_video
from latentsync.stream import prefetch
from latentsync.types import Frame

OnProgress = Callable[[str, int, int], None]  # stage, frames done, frames in all
OnNote = Callable[[str], None]


def dub(
    request: DubRequest,
    *,
    on_progress: OnProgress = lambda stage, done, total: None,
    on_note: OnNote = lambda text: None,
    pipeline: LipsyncPipeline | None = None,
) -> RunReport:
    """Do one dub from file to file. ``pipeline``: networks that are loaded already, for the next of several files.

    Raises the named errors of ``latentsync.errors``; then nothing is written, and the inputs are as they were.
    """
    start = time.perf_counter()
    record = RunRecord()
    checked = preflight(request, record.clock)
    on_note(checked.describe())
    if not checked.face_seen:
        on_progress("looking for a face", 0, checked.cost.frames)
        _require_face(checked, request.options)
    if pipeline is None:
        on_progress("loading", 0, checked.cost.frames)
        with record.clock.measure("load"):
            pipeline = load_pipeline(request.weights, checked.settings, checked.device, checked.dtype)
    options = replace(request.options, batch=request.batch_for(checked.device.type))
    frames = pipeline.sync(checked.video, checked.waveform, options, checked.tracks, record)
    frames = _counted(record.clock.each("wait", frames), checked.cost.frames, on_progress)
    write_start = time.perf_counter()
    written = write_video(
        request.output,
        frames,
        checked.video.info,
        request.encoding,
        audio=request.audio,
        audio_limit=_audio_limit(checked, options.length),
        overwrite=request.overwrite,
    )
    checked.tracks.save()
    seconds = record.clock.seconds()
    report = RunReport(
        video=str(request.video),
        audio=str(request.audio),
        output=str(request.output),
        output_seconds=float(record.frames / checked.video.info.fps),
        fps=float(checked.video.info.fps),
        wall_seconds=time.perf_counter() - start,
        encode_seconds=time.perf_counter() - write_start - seconds.get("wait", 0.0),
        record=record,
        device=str(checked.device),
        precision=str(checked.dtype).removeprefix("torch."),
        options=asdict(options),
        weights=checked.weights,
        versions={name: metadata.version(name) for name in ("torch", "diffusers", "av", "numpy")}
        | {"python": platform.python_version()},
        encoded=asdict(written),
        notes=list(checked.notes),
    )
    if request.report is not None:
        _write_text(request.report, report.to_json())
    return report


def _counted(frames: Iterator[Frame], total: int, on_progress: OnProgress) -> Iterator[Frame]:
    for done, frame in enumerate(frames):
        on_progress("dubbing", done, total)
        yield frame
    on_progress("finishing", total, total)


def _require_face(checked: Preflight, options: SyncOptions) -> None:
    """Look at every frame that will be shown until one has a usable face; what is found is kept for the run."""
    if checked.finder.detector is not None:
        tracks = FaceTracks(
            checked.finder.detector,
            FaceSelector(options.face),
            tracking_settings(options),
            detections=checked.tracks.detections,
        )
        with closing(tracks.follow(prefetch(checked.video.frames(stop=checked.cost.frames)))) as targets:
            if any(target.face is not None for target in targets):
                return
    raise NoFaceError(
        f"{checked.video.info.path}: no usable face in any frame.",
        remedy="Choose a clip with a visible face, another --detector, or give tracks in a file.",
    )


def _audio_limit(checked: Preflight, mode: LengthMode) -> Fraction | None:
    """Seconds after which the sound is cut: only where the result is to end with the video."""
    return min(checked.video.info.duration, checked.duration) if mode is LengthMode.CUT else None


def _write_text(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"The report {path} cannot be written: {error}.", remedy="Choose another place.") from error
