"""From files to a file: check, load, follow the face, generate, write, report."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from fractions import Fraction
from importlib import metadata
from pathlib import Path

from latentsync.atomic import write_text
from latentsync.errors import NoFaceError, OutputError
from latentsync.face.selection import LARGEST, FaceSelector
from latentsync.face.tracks import FaceTracks
from latentsync.inference.excerpt import Excerpt, excerpt_frames, in_source_order
from latentsync.inference.faces import tracking_settings
from latentsync.inference.job.networks import NetworkChoice, Networks
from latentsync.inference.job.preflight import Preflight, preflight
from latentsync.inference.job.progress import RunControl
from latentsync.inference.job.report import RunReport
from latentsync.inference.job.request import DubRequest
from latentsync.inference.options import SyncOptions
from latentsync.inference.output_guard import unusable_output
from latentsync.inference.record import RunRecord
from latentsync.inference.timeline import LengthMode
from latentsync.inference.weights import with_checksums
from latentsync.media.writer import WrittenVideo, write_video
from latentsync.provenance.label import COMMENT, ai_label
from latentsync.stream import prefetch
from latentsync.types import Frame

OnNote = Callable[[str], None]


def dub(
    request: DubRequest,
    *,
    control: RunControl | None = None,
    on_note: OnNote = lambda text: None,
    networks: Networks | None = None,
) -> RunReport:
    """Dub one video. ``networks``: where they are loaded from, for example kept from the dub before.

    ``control`` is told of the progress and may stop the run; ``on_note`` gets texts for the user. Raises the named
    errors of ``latentsync.errors``; then nothing is written. The input files are never changed.
    """
    start = time.perf_counter()
    record, control, networks = RunRecord(), control or RunControl(), networks or Networks()
    checked = preflight(request, record.clock, networks)
    control.expect(checked.cost.frames, checked.cost.denoising_steps)
    on_note(checked.describe())
    options = replace(checked.options, batch=request.batch_for(checked.device.type))
    if options.excerpt is not None or not checked.face_seen or options.face != LARGEST:
        control.enter("looking for a face")
        _require_face(checked, control)
    control.enter("loading")
    with record.clock.measure("load"):
        pipeline = networks.pipeline(
            NetworkChoice(request.weights, checked.settings, checked.device, checked.dtype, request.compiled)
        )
    control.enter("dubbing")
    frames = pipeline.sync(checked.video, checked.waveform, options, checked.tracks, record, control.step_done)
    frames = _counted(record.clock.each("wait", frames), options.excerpt, control)
    frames = _require_a_dubbed_frame(frames, record, checked)
    audio_start, audio_limit = _audio_part(checked)
    label = ai_label(checked.weights)
    write_start = time.perf_counter()
    written = write_video(
        request.output,
        frames,
        checked.video.info,
        request.encoding,
        audio=request.audio,
        overwrite=request.overwrite,
        audio_start=audio_start,
        audio_limit=audio_limit,
        tags=label if request.label else {},
        finish=_signature(request, label),
    )
    encode_seconds = time.perf_counter() - write_start - record.clock.seconds().get("wait", 0.0)
    notes = [*checked.notes, *filter(None, [checked.tracks.save()])]
    wall_seconds = time.perf_counter() - start
    report = _report(request, checked, options, record, written, notes, wall_seconds, encode_seconds)
    if request.report is not None:
        _write_report(request.report, report.to_json())
    return report


def _report(
    request: DubRequest,
    checked: Preflight,
    options: SyncOptions,
    record: RunRecord,
    written: WrittenVideo,
    notes: list[str],
    wall_seconds: float,
    encode_seconds: float,
) -> RunReport:
    return RunReport(
        video=str(request.video),
        audio=str(request.audio),
        output=str(request.output),
        output_seconds=float(record.frames / checked.video.info.fps),
        fps=float(checked.video.info.fps),
        wall_seconds=wall_seconds,
        encode_seconds=encode_seconds,
        record=record,
        device=str(checked.device),
        precision=str(checked.dtype).removeprefix("torch."),
        options=asdict(options) | {"geometry": options.compat or "default"},  # the key of earlier reports
        weights=checked.weights if request.report is None else with_checksums(checked.weights),
        versions={name: metadata.version(name) for name in ("torch", "diffusers", "av", "numpy")}
        | {"python": platform.python_version()},
        encoded=asdict(written),
        notes=notes,
        label=ai_label(checked.weights)[COMMENT] if request.label else None,
    )


def _signature(request: DubRequest, label: Mapping[str, str]) -> Callable[[Path], None] | None:
    """What signs the complete file; None if nobody asked for it."""
    signer = request.signer
    if signer is None:
        return None
    ingredients = {request.audio: "componentOf"} | {request.video: "parentOf"}
    return lambda path: signer.sign(path, request.output.name, label[COMMENT], ingredients)


def _counted(frames: Iterator[Frame], excerpt: Excerpt | None, control: RunControl) -> Iterator[Frame]:
    """The frames with their times in the file to be written; tells ``control`` of each."""
    start = excerpt.start if excerpt is not None else 0
    for done, frame in enumerate(frames):
        control.written(done)
        yield frame.shown_at(frame.time - start)
    control.enter("finishing")


def _require_a_dubbed_frame(frames: Iterator[Frame], record: RunRecord, checked: Preflight) -> Iterator[Frame]:
    """All ``frames``; raises ``NoFaceError`` or ``GenerationError`` at their end if every one passed through."""
    yield from frames
    if record.frames_passed_through == record.frames:
        if record.windows_refused:
            number, fault = next(iter(record.windows_refused.items()))
            raise unusable_output(f"{fault} in window {number}, and no other window came out")
        reasons = Counter(span.reason for span in record.passed_through)
        raise _no_face(checked, "in any frame", reasons)


def _require_face(checked: Preflight, control: RunControl) -> None:
    """Raise ``NoFaceError`` if no frame that will be shown has a usable face; detections are kept for the run."""
    if checked.options.excerpt is None:
        _require_face_in_video(checked, control)
    else:
        _require_face_in_excerpt(checked, checked.options.excerpt, control)


def _require_face_in_video(checked: Preflight, control: RunControl) -> None:
    """Look through the frames until one has a usable face."""
    options = checked.options
    selector, settings = FaceSelector(options.face), tracking_settings(options)
    if checked.finder.detector is None:
        tracks = FaceTracks.given(checked.tracks.detections, selector, settings)
    else:
        tracks = FaceTracks(checked.finder.detector, selector, settings, detections=checked.tracks.detections)
    reasons = _reasons_against(tracks, checked.video.frames(stop=checked.cost.frames), control)
    if reasons:
        raise _no_face(checked, "in any frame", reasons)


def _require_face_in_excerpt(checked: Preflight, excerpt: Excerpt, control: RunControl) -> None:
    """Follow the face through the frames of the excerpt in the order of the source, as ``FaceTracks`` needs them."""
    shown = excerpt_frames(checked.video, checked.duration, checked.options.length, excerpt)
    reasons = _reasons_against(checked.tracks, in_source_order(checked.video, shown), control, to_the_end=True)
    if reasons:
        raise _no_face(checked, "in this stretch", reasons)


def _reasons_against(
    tracks: FaceTracks, frames: Iterator[Frame], control: RunControl, to_the_end: bool = False
) -> Counter[str]:
    """Reasons why no frame has a usable face -> numbers of frames; empty if a frame has one."""
    reasons: Counter[str] = Counter()
    seen = False
    with closing(tracks.follow(prefetch(frames))) as targets:
        for target in targets:
            control.check()
            reasons[target.reason] += 1
            seen = seen or target.face is not None
            if seen and not to_the_end:
                break
    return Counter() if seen else reasons


def _no_face(checked: Preflight, where: str, reasons: Counter[str]) -> NoFaceError:
    (reason, _), *_ = reasons.most_common(1)
    return NoFaceError(
        f"{checked.video.info.path}: no usable face {where} ({reason}).",
        remedy="Choose a clip with a visible face, another --face or --detector, or give tracks in a file.",
    )


def _audio_part(checked: Preflight) -> tuple[Fraction, Fraction | None]:
    """Start and greatest length of the audio in seconds: for an excerpt, and where the result ends with the video."""
    if checked.options.excerpt is not None:
        return checked.options.excerpt.start, checked.cost.frames / checked.video.info.fps
    if checked.options.length is LengthMode.CUT:
        return Fraction(0), min(checked.video.info.duration, checked.duration)
    return Fraction(0), None


def _write_report(path: Path, text: str) -> None:
    try:
        write_text(path, text, errors="backslashreplace")  # a file name that is no valid text: the escapes of JSON
    except OSError as error:
        raise OutputError(f"The report {path} cannot be written: {error}.", remedy="Choose another place.") from error
