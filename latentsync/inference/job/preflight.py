"""Checks before a dub, within seconds and before a network is loaded: files, weights, device, encoder, disk, faces."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentsync.checkpoint import count_parameters
from latentsync.constants import MODEL_FPS
from latentsync.errors import ConfigError, DiskFullError, OutputError
from latentsync.face.backends import DETECTOR_NAMES, detector_files
from latentsync.face.mask import load_mask
from latentsync.face.paste import FacePaster
from latentsync.face.selection import FaceChoice, FaceSelector, is_usable
from latentsync.face.tracks import FaceTracks
from latentsync.inference.enhance import load_enhancer
from latentsync.inference.excerpt import excerpt_frames
from latentsync.inference.faces import FaceFinder
from latentsync.inference.job.devices import precision_of, usable_devices
from latentsync.inference.job.estimate import Estimate, NetworkSizes, estimate
from latentsync.inference.job.networks import Networks
from latentsync.inference.job.request import DubRequest
from latentsync.inference.job.scene import Mix, read_scene_speech
from latentsync.inference.job.speech import read_speech, result_stretch
from latentsync.inference.occlusion import OcclusionStage, occlusion_reach
from latentsync.inference.options import SyncGate, SyncOptions
from latentsync.inference.record import StageClock
from latentsync.inference.scene import Cast
from latentsync.inference.silence import SpeechPlan
from latentsync.inference.stretches import Stretch
from latentsync.inference.sync_gate import STRETCH
from latentsync.inference.timeline import LengthMode, expected_frames, frame_spacing, result_seconds
from latentsync.inference.weights import ModelSettings, model_settings
from latentsync.inference.windows import WindowPlan
from latentsync.media.audio import audio_seconds
from latentsync.media.output_audio import AudioPart, check_audio
from latentsync.media.video import VideoFile
from latentsync.media.writer import check_encoder, refuse_unwritable
from latentsync.provenance.licences import require_commercial
from latentsync.types import VideoInfo

if TYPE_CHECKING:
    import torch

    from latentsync.inference.room import GpuRoom

SAMPLED_FRAMES = 20  # frames that are searched for a face
DISK_RESERVE = 1.2  # this many times the estimated size must be free


@dataclass(frozen=True, slots=True)
class Preflight:
    """What the checks found, so that the run need not find it again."""

    video: VideoFile
    cast: Cast  # who speaks when, and what
    heard: AudioPart | None  # None: the mix
    mix: Mix | None
    options: SyncOptions  # those of the request; an excerpt is moved to begin with a frame, as its audio does
    settings: ModelSettings
    plan: WindowPlan
    devices: tuple[torch.device, ...]  # that share the windows; the first one also detects and listens
    dtype: torch.dtype
    finder: FaceFinder
    tracks: FaceTracks
    face_seen: bool  # in a sample of frames; if False, the run must look at every frame
    weights: Mapping[str, Mapping[str, Any]]
    cost: Estimate
    room: GpuRoom | None  # None: no GPU
    notes: tuple[str, ...]
    kept_bytes: int = 0  # size of finished windows, all in all, that lie beside the result until it is there

    @property
    def duration(self) -> Fraction:
        """Length of the result, s, where it does not end with the video."""
        return self.cast.duration

    @property
    def speech(self) -> SpeechPlan:
        """Where the audio of a dub with one audio pauses; of a scene, that of the first part."""
        return self.cast.roles[0].parts[0].speech

    @property
    def device_names(self) -> str:
        """As torch names them, with commas."""
        return ", ".join(map(str, self.devices))

    def describe(self) -> str:
        """A few lines for the terminal."""
        info = self.video.info
        precision = str(self.dtype).removeprefix("torch.")
        rate = "variable rate" if info.variable_frame_rate else f"{float(info.fps):.3f} fps"
        face = "a face was found" if self.face_seen else "no face in a sample of frames"
        return "\n".join(
            [
                f"video   {info.path}: {info.width} x {info.height}, {rate}, {float(info.duration):.2f} s, {face}",
                f"audio   {float(self.duration):.2f} s",
                f"network {self.settings.resolution} pixels, {self.device_names}, {precision}",
                f"cost    {self.cost.describe()}",
                *([] if self.room is None else [f"memory  {self.device_names}: {self.room.describe()}"]),
                *([f"resume  finished windows take up to {self.kept_bytes / 1e6:.1f} MB"] if self.kept_bytes else []),
                *(f"note    {note}" for note in self.notes),
            ]
        )


def preflight(request: DubRequest, clock: StageClock | None = None, networks: Networks | None = None) -> Preflight:
    """Check everything that could make the run of ``request`` fail; load no network but the face detector.

    ``networks``: where the detector is loaded from. Raises the named error of the first fault.
    """
    _check_files(request)
    video = _open_video(request)
    scene, info = request.scene, video.info
    speech = read_speech(request, info) if scene is None else read_scene_speech(request, scene, video)
    notes = [*speech.notes]
    weights = request.weights.check()
    settings = model_settings(request.weights.unet, request.unet_config)
    request.named_batch()  # raises for what is no number
    plan = _window_plan(request.options, settings, video.info)
    written = check_encoder(request.encoding, video.info, request.output.suffix)
    if speech.heard is not None:
        heard = replace(speech.heard, for_browsers=request.encoding.for_browsers, filled=request.whole_frames)
        notes += check_audio(heard, written.container)
    options, duration = request.options, speech.duration
    if request.scene is not None:
        options = replace(options, length=LengthMode.CUT)  # each frame is shown once
    _require_usable_masks(options, settings, video)
    faces = [options.face] if request.scene is None else [person.face for person in request.scene.speakers()]
    for face in faces:
        _require_point_in_video(face, video.info, duration)
    if options.excerpt is not None:
        asked = options.excerpt.between_frames(info.fps) if request.whole_frames else options.excerpt
        options = replace(options, excerpt=asked.on_frames(video, duration, options.length))

    # torch takes seconds to import: all that can be refused without it has been.
    from latentsync.inference.kept_latents import bytes_per_window

    if options.sync_gate is not SyncGate.OFF:
        notes += _require_sync_network(request, options)
    if options.compat is None:
        load_enhancer(options.paste)  # raises for one of no use
    devices, device_notes = usable_devices(request)
    device, notes = devices[0], notes + device_notes
    if request.commercial_only:
        require_commercial([*request.weights.networks().values(), *_detector_files(request, device)])
    dtype, precision_notes = precision_of(request, options, devices, settings)
    notes += precision_notes
    finder = FaceFinder(
        request.detector,
        request.weights.auxiliary,
        device,
        clock or StageClock(),
        (networks or Networks()).detector,
        video.info.sample_aspect_ratio if options.compat is None else Fraction(1),
    )
    tracks = finder.tracks(video.info, options)
    cast = speech.cast(request, video, options)
    if request.scene is not None:
        tracks.choose([FaceSelector(face) for face in faces])
    tracks.prepare(video)
    frames = _frames_to_do(video, duration, options)
    made = result_stretch(options, result_seconds(video.info, duration, options.length))
    passing = _share_passing(cast, made)
    cost, room = _cost_of(request, video.info, frames, settings, plan, options, devices, dtype, passing)
    kept = cost.windows * bytes_per_window(settings.num_frames, settings.resolution, dtype) if request.resume else 0
    _require_room(request.output, cost.disk_bytes + kept - _size_of(request.kept_folder))
    notes += [*cast.notes, *video.notes, *settings.notes, *written.notes, *filter(None, [tracks.note])]
    return Preflight(
        video=video,
        cast=cast,
        heard=speech.heard,
        mix=speech.mix,
        options=options,
        settings=settings,
        plan=plan,
        devices=devices,
        dtype=dtype,
        finder=finder,
        tracks=tracks,
        face_seen=_samples_show_a_face(video, finder, tracks),
        weights=weights,
        cost=cost,
        room=room,
        notes=tuple(notes),
        kept_bytes=kept,
    )


def _share_passing(cast: Cast, made: Stretch) -> Fraction:
    """Which share of the frames of a ``made`` stretch passes through, each counted for every role that dubs it: below 0
    where several people speak at once."""
    if cast.parts[0].stop is None:
        return cast.parts[0].speech.share_passing(made)
    dubbed = Fraction(0)
    for part in cast.parts:
        own = Stretch(Fraction(0), part.seconds)
        dubbed += own.seconds * (1 - part.speech.share_passing(own))
    return 1 - dubbed / made.seconds


def rough_cost(request: DubRequest) -> Estimate:
    """The cost of a run by the headers of its files: no frame is decoded, no face looked for, pauses count as speech.

    Raises the named errors of what shows that far.
    """
    video = _open_video(request)
    seconds = audio_seconds(request.audio if request.drive is None else request.drive, request.audio_track)
    request.weights.check()
    settings, options = model_settings(request.weights.unet, request.unet_config), request.options
    plan = _window_plan(options, settings, video.info)
    frames = _frames_to_do(video, seconds, options)

    from latentsync.inference.device import common_precision  # torch takes seconds to import

    devices, _ = usable_devices(request)
    dtype = common_precision(request.precision, devices)
    cost, _ = _cost_of(request, video.info, frames, settings, plan, options, devices, dtype, Fraction(0))
    return cost


def _require_usable_masks(options: SyncOptions, settings: ModelSettings, video: VideoFile) -> None:
    """Raise as the stages of the run will for a mask, or a network that makes one, which cannot be used."""
    OcclusionStage(options, video)
    if options.compat is None:
        FacePaster(load_mask(settings.mask, settings.resolution), options.paste)


def _check_files(request: DubRequest) -> None:
    """That every file can be written, and that those of strangers keep to the limits."""
    refuse_unwritable(request.output, request.inputs, request.overwrite)
    if request.report is not None:
        _require_place_for_report(request.report, request)
    if request.signer is not None:
        request.signer.check(request.output, request.video)
    if not request.limits.own_files:
        request.limits.check_video(request.video)
        for audio in request.inputs[1:]:
            request.limits.check_audio(audio)


def _require_sync_network(request: DubRequest, options: SyncOptions) -> list[str]:
    """What the user should know of the gate. Raises ``WeightsMissingError`` if there is nothing to judge by."""
    from latentsync.inference.job.sync_judge import sync_weights  # here: it imports torch, which takes seconds

    sync_weights(request.weights)
    if options.sync_gate is not SyncGate.REDO:
        return []
    if options.excerpt is not None:
        return ["an excerpt is judged by the sync network, but nothing of it is made again"]
    return ["--sync_gate redo: what is made again comes on top of the estimate"]


def _open_video(request: DubRequest) -> VideoFile:
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


def _require_point_in_video(face: str, info: VideoInfo, audio_duration: Fraction) -> None:
    """Raise ``ConfigError`` for a face at a point outside the frame, or at a time after the end of the result."""
    choice = FaceChoice.parse(face)
    if choice.point is None:
        return
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


def _require_place_for_report(report: Path, request: DubRequest) -> None:
    """Raise ``OutputError`` unless ``report`` is a new file or an older report, which may be replaced."""
    weights = request.weights.networks().values()
    refuse_unwritable(report, (*request.inputs, request.output, *weights), overwrite=True)
    if report.absolute() == request.output.absolute():
        raise OutputError(f"{report} is the name of the result too.", remedy="Choose another name for the report.")


def _detector_files(request: DubRequest, device: torch.device) -> list[Path]:
    """The weights of the face detector; none where the faces come from a file."""
    if request.detector not in DETECTOR_NAMES:
        return []
    return detector_files(request.detector, request.weights.auxiliary, str(device))


def _cost_of(
    request: DubRequest,
    info: VideoInfo,
    frames: int,
    settings: ModelSettings,
    plan: WindowPlan,
    options: SyncOptions,
    devices: Sequence[torch.device],
    dtype: torch.dtype,
    passing: Fraction,
) -> tuple[Estimate, GpuRoom | None]:
    """What the run will cost, and what there is room for on the GPU that has the least."""
    from latentsync.inference.device import measure_speed
    from latentsync.inference.room import auto_batch, batches_in_flight, room_on

    sizes = NetworkSizes(count_parameters(request.weights.unet), count_parameters(request.weights.codec_file))
    branches = 2 if options.sampler.guided else 1
    weights = dtype.itemsize * sizes.total
    rooms = [room_on(device, dtype, settings.resolution, branches, weights) for device in devices]
    room = min(filter(None, rooms), key=lambda room: room.windows, default=None)
    small = request.weights.are_builtin
    windows = auto_batch(devices[0], dtype, settings.resolution, branches, small) if room is None else room.windows
    judged = 0 if options.sync_gate is SyncGate.OFF else ceil(STRETCH / MODEL_FPS * info.fps) + plan.group_length
    cost = estimate(
        info,
        frames,
        plan,
        settings.resolution,
        options.sampler,
        sizes,
        sum(measure_speed(device, dtype) for device in devices),
        request.named_batch() or windows,
        on_accelerator=devices[0].type != "cpu",
        passing=passing,
        held=occlusion_reach(options)[1] + judged,
        in_flight=1 if options.compat is not None else batches_in_flight(devices[0], len(devices)),
    )
    return cost, room


def _window_plan(options: SyncOptions, settings: ModelSettings, info: VideoInfo) -> WindowPlan:
    """How the run cuts its frames into windows. Raises ``ConfigError`` for an overlap that windows cannot have."""
    rate = 1 / frame_spacing(info)
    return WindowPlan.for_run(options.compat, rate, settings.num_frames, settings.steady_reference, options.overlap)


def _frames_to_do(video: VideoFile, duration: Fraction, options: SyncOptions) -> int:
    if options.excerpt is None:
        return expected_frames(video.info, duration, options.length)
    return len(excerpt_frames(video, duration, options.length, options.excerpt))


def _samples_show_a_face(video: VideoFile, finder: FaceFinder, tracks: FaceTracks) -> bool:
    if any(is_usable(face) for faces in tracks.detections.values() for face in faces):
        return True
    detector = finder.detector
    if detector is None:
        return False
    return any(is_usable(face) for f in video.sample(SAMPLED_FRAMES) for face in detector.detect([f])[0])


def _size_of(folder: Path) -> int:
    """Bytes of the files in a folder that need not be there."""
    return sum(path.stat().st_size for path in folder.glob("*"))


def _require_room(output: Path, needed: int) -> None:
    free = shutil.disk_usage(output.absolute().parent).free
    if free < needed * DISK_RESERVE:
        raise DiskFullError(
            f"{output.absolute().parent} has {free / 1e6:.0f} MB free, the result needs about {needed / 1e6:.0f} MB.",
            remedy="Make room, or write to another disk.",
        )
