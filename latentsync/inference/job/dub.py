"""From files to a file: check, load, follow the face, generate, write, report."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from fractions import Fraction
from importlib import metadata
from math import ceil
from pathlib import Path

from latentsync.atomic import write_text
from latentsync.errors import NoFaceError, OutputError
from latentsync.face.selection import LARGEST, OTHER_FACE, FaceChoice, FaceSelector
from latentsync.inference.excerpt import Excerpt
from latentsync.inference.excerpt_context import ExcerptContext
from latentsync.inference.job.networks import NetworkChoice, Networks
from latentsync.inference.job.preflight import Preflight, preflight
from latentsync.inference.job.progress import RunControl
from latentsync.inference.job.report import RunReport
from latentsync.inference.job.request import DubRequest
from latentsync.inference.job.resume import kept_work
from latentsync.inference.job.scene import heard_audio
from latentsync.inference.job.speakers import as_scene
from latentsync.inference.options import SyncGate, SyncOptions
from latentsync.inference.output_guard import unusable_output
from latentsync.inference.overview import Overview
from latentsync.inference.record import RunRecord
from latentsync.inference.scene import OUTSIDE, Role
from latentsync.inference.sync_gate import SyncJudge
from latentsync.inference.timeline import LengthMode, frame_spacing, result_seconds
from latentsync.inference.visibility import VisibilityLimits
from latentsync.inference.weights import with_checksums
from latentsync.media.carried import Beside
from latentsync.media.output_audio import AudioPart
from latentsync.media.writer import WrittenVideo, write_video
from latentsync.provenance.label import COMMENT, ai_label
from latentsync.runtime.memory import naming_lack_of_memory
from latentsync.stream import prefetch
from latentsync.types import Frame

OnNote = Callable[[str], None]
_LOOK_AGAIN = "Choose a clip with a visible face, another --face or --detector, or give tracks in a file."
_LOOK_ELSEWHERE = (
    "Take another stretch, or name with --face somebody who is seen in this one; `latentsync people` says who is seen "
    "when."
)


@naming_lack_of_memory("this dub")
def dub(
    request: DubRequest,
    *,
    control: RunControl | None = None,
    on_note: OnNote = lambda text: None,
    networks: Networks | None = None,
) -> RunReport:
    """Dub one video. ``networks``: where they are loaded from, for example kept from the dub before.

    ``control`` is told of the progress and may stop the run; ``on_note`` gets texts for the user. Raises the named
    errors of ``latentsync.errors``; then nothing is written but what ``request.resume`` keeps. The input files are
    never changed.
    """
    start = time.perf_counter()
    record, control, networks = RunRecord(), control or RunControl(), networks or Networks()
    request = as_scene(request)
    checked = preflight(request, record.clock, networks, on_note, control)
    control.expect(checked.cost.frames, checked.cost.denoising_steps)
    on_note(checked.describe())
    options, context = checked.options, None
    if options.excerpt is not None:
        control.enter("looking for a face")
        checked, context = _with_faces_in_excerpt(checked, control)
    else:
        for role in checked.cast.roles:
            if not checked.face_seen or role.face != LARGEST:
                control.enter("looking for a face")
                _require_face_in_video(checked, control, role)
    overview = None if request.contact_sheet is None else Overview()
    control.enter("loading")
    with kept_work(request, checked, on_note) as kept:
        with record.clock.measure("load"):
            pipeline = networks.pipeline(
                NetworkChoice(request.weights, checked.settings, checked.devices, checked.dtype, request.compiled)
            )
        control.enter("dubbing")
        options = replace(options, batch=request.named_batch() or _auto_batch(request, checked))
        frames = pipeline.play(
            checked.video,
            checked.cast,
            options,
            checked.tracks,
            record,
            control.step_done,
            context,
            kept,
            _judges(request, checked),
            overview,
        )
        frames = _counted(record.clock.each("wait", frames), options.excerpt, control)
        write_start = time.perf_counter()
        with heard_audio(checked.heard, checked.mix, request) as heard:
            written = _write(request, checked, _require_a_dubbed_frame(frames, record, checked), heard)
        encode_seconds = time.perf_counter() - write_start - record.clock.seconds().get("wait", 0.0)
    met = [note for note in (*written.notes, *checked.video.notes) if note not in checked.notes]  # on the way
    notes = [*checked.notes, *met, *(change.describe() for change in record.precision_changes)]
    notes += [] if kept is None else kept.notes()
    notes += filter(None, [checked.tracks.save()])
    wall_seconds = time.perf_counter() - start
    report = _report(request, checked, options, record, written, notes, wall_seconds, encode_seconds)
    if request.report is not None:
        _write_report(request.report, report.to_json())
    if overview is not None and request.contact_sheet is not None:
        with naming_output("The overview picture", request.contact_sheet):
            overview.write(request.contact_sheet)
    return report


def _write(request: DubRequest, checked: Preflight, frames: Iterator[Frame], heard: AudioPart) -> WrittenVideo:
    length = _result_length(checked)
    label = ai_label(checked.weights)
    return write_video(
        request.output,
        frames,
        checked.video.info,
        request.encoding,
        audio=_audio_part(request, checked, heard, length),
        overwrite=request.overwrite,
        tags=label if request.label else {},
        finish=_signature(request, label),
        length=length,
        beside=_beside(checked, heard, length),
    )


def _judges(request: DubRequest, checked: Preflight) -> Mapping[int, Mapping[int, SyncJudge]]:
    """What judges the parts of each role, if that was asked for."""
    if checked.options.sync_gate is SyncGate.OFF:
        return {}
    from latentsync.inference.job.sync_judge import load_judge  # here: it imports torch, which takes seconds

    judge = load_judge(request.weights, checked.cast.parts[0].waveform, checked.devices[0])
    return {
        number: {place: judge.of(part.waveform) for place, part in enumerate(role.parts)}
        for number, role in enumerate(checked.cast.roles)
    }


def _auto_batch(request: DubRequest, checked: Preflight) -> int:
    """Windows per batch that fit beside the networks, which have been loaded, on each device; on a GPU no more than its
    share of all windows, nor than there is room for on the host."""
    from latentsync.inference.gpu_memory import auto_batch  # here: it imports torch, which takes seconds

    options, cost = checked.options, checked.cost
    branches = 2 if options.sampler.guided else 1
    fitting = min(
        auto_batch(device, checked.dtype, checked.settings.resolution, branches, request.weights.are_builtin)
        for device in checked.devices
    )
    if checked.devices[0].type == "cpu":
        return fitting
    return max(1, min(fitting, ceil(cost.windows / len(checked.devices)), cost.windows_on_host))


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
        audio=", ".join(map(str, request.heard)),
        output=str(request.output),
        output_seconds=written.seconds,
        fps=float(checked.video.info.fps),
        wall_seconds=wall_seconds,
        encode_seconds=encode_seconds,
        record=record,
        device=checked.device_names,
        precision=str(checked.dtype).removeprefix("torch."),
        options=asdict(options) | {"geometry": options.compat or "default"},  # the key of earlier reports
        weights=checked.weights if request.report is None else with_checksums(checked.weights),
        versions={name: metadata.version(name) for name in ("torch", "diffusers", "av", "numpy")}
        | {"python": platform.python_version()},
        encoded=asdict(written),
        speech=checked.speech.to_dict(),
        turns=[] if checked.turns is None else checked.turns.to_list(),
        notes=notes,
        label=ai_label(checked.weights)[COMMENT] if request.label else None,
    )


def _signature(request: DubRequest, label: Mapping[str, str]) -> Callable[[Path], None] | None:
    """What signs the complete file; None if nobody asked for it."""
    signer = request.signer
    if signer is None:
        return None
    heard = dict.fromkeys(request.heard, "componentOf")
    ingredients = heard | {request.video: "parentOf"}  # one file may be both: then the latter
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


def _require_face_in_video(checked: Preflight, control: RunControl, role: Role) -> None:
    """Raise ``NoFaceError`` if no frame has a usable face of a role; detections are kept for the run."""
    options = checked.options
    tracks = checked.finder.tracks_again(checked.tracks, options, role.face)
    tracks.prepare(checked.video)
    reasons: Counter[str] = Counter()
    with closing(tracks.follow(prefetch(checked.video.frames(stop=checked.cost.frames)))) as targets:
        for target in VisibilityLimits(options, checked.video.info).apply(targets):
            control.beat()
            if target.face is not None:
                return
            reasons[target.reason] += 1
    raise _no_face(checked, f"of '{role.name}' in any frame" if role.name else "in any frame", reasons)


def _with_faces_in_excerpt(checked: Preflight, control: RunControl) -> tuple[Preflight, ExcerptContext]:
    """What was checked, with tracks that follow the faces to the end of the excerpt, and what that needs to know.

    Somebody who is named and not found there is followed from the start of the video, as by the whole run, which has
    seen them from other sides by then. Raises ``NoFaceError`` if no frame has a usable face.
    """
    options, plan, roles = checked.options, checked.plan, checked.cast.roles
    context = ExcerptContext(checked.video, checked.cast, options, plan, control.beat)
    found = context.follow(checked.tracks)
    if checked.tracks.knows_people and any(
        OTHER_FACE in reasons and not reasons[""] and FaceChoice.parse(role.face).names
        for role, reasons in zip(roles, found, strict=True)
    ):
        tracks = checked.finder.tracks_again(checked.tracks, options, roles[0].face)
        tracks.choose([FaceSelector(role.face) for role in roles])
        checked = replace(checked, tracks=tracks)
        found = context.follow(tracks, whole=True)
    reasons = sum((each for each in found), Counter[str]())
    if not reasons[""]:
        del reasons[OUTSIDE]
        raise _no_face(checked, "in this stretch", reasons, _LOOK_ELSEWHERE)
    return checked, context


def _no_face(checked: Preflight, where: str, reasons: Counter[str], remedy: str = _LOOK_AGAIN) -> NoFaceError:
    (reason, _), *_ = reasons.most_common(1)
    return NoFaceError(f"{checked.video.info.path}: no usable face {where} ({reason}).", remedy=remedy)


def _result_length(checked: Preflight) -> Fraction:
    """Seconds that the result lasts, to half a frame."""
    whole = result_seconds(checked.video.info, checked.duration, checked.options.length)
    excerpt = checked.options.excerpt
    return whole if excerpt is None else min(excerpt.stop, whole) - excerpt.start


def _audio_part(request: DubRequest, checked: Preflight, heard: AudioPart, length: Fraction) -> AudioPart:
    """The audio of the result: cut for an excerpt, and where the result ends with the video or with a whole frame."""
    options = checked.options
    if request.whole_frames:
        start = Fraction(0) if options.excerpt is None else options.excerpt.start
        limit = checked.cost.frames * frame_spacing(checked.video.info)
        return replace(heard, delay=heard.delay - start, limit=limit, filled=True)
    if options.excerpt is not None:
        info = checked.video.info
        limit = length if info.variable_frame_rate else checked.cost.frames / info.fps
        return replace(heard, delay=heard.delay - options.excerpt.start, limit=limit)
    return replace(heard, limit=length) if options.length is LengthMode.CUT else heard


def _beside(checked: Preflight, heard: AudioPart, length: Fraction) -> Beside | None:
    """What of the video file goes into the result besides its images; None for images, which hold nothing else."""
    video, options = checked.video, checked.options
    if video.is_images:
        return None
    otherwise = ""
    if options.excerpt is not None:
        otherwise = "the result is an excerpt"
    elif options.length is LengthMode.SPEED:
        otherwise = "the result is played at another speed"
    seconds = Fraction(0) if otherwise else min(video.info.duration, length)
    same = heard.path.samefile(video.info.path)
    replaced = heard.track if same else None
    return Beside(video.info.path, video.start, seconds, otherwise, replaced, video.limits)


def _write_report(path: Path, text: str) -> None:
    with naming_output("The report", path):
        write_text(path, text, errors="backslashreplace")  # a file name that is no valid text: the escapes of JSON


@contextmanager
def naming_output(what: str, path: Path) -> Iterator[None]:
    """Turn an ``OSError`` of the block into an ``OutputError`` that names the file."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{what} {path} cannot be written: {error}.", remedy="Choose another place.") from error
