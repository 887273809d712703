"""Checks before a dub, within seconds and before a network is loaded: files, weights, device, encoder, disk, faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentsync.face.backends import DETECTOR_NAMES, detector_files
from latentsync.face.mask import load_mask
from latentsync.face.paste import FacePaster
from latentsync.face.selection import LARGEST, FaceSelector, is_usable
from latentsync.face.tracks import FaceTracks
from latentsync.inference.enhance import load_enhancer
from latentsync.inference.faces import FaceFinder
from latentsync.inference.job.cost import Estimate, cost_of, frames_to_do, share_passing, window_plan
from latentsync.inference.job.devices import precision_of, usable_devices
from latentsync.inference.job.files import bytes_in, check_files, open_video, require_points_in_video, require_room
from latentsync.inference.job.networks import Networks
from latentsync.inference.job.progress import RunControl
from latentsync.inference.job.request import DubRequest
from latentsync.inference.job.scene import Mix, read_scene_speech, require_segment_in
from latentsync.inference.job.speakers import Turns, as_scene, find_turns, sync_at_hand, whoever_speaks
from latentsync.inference.job.speech import read_speech, result_stretch, source_waveform
from latentsync.inference.kept_latents import bytes_per_window
from latentsync.inference.occlusion import OcclusionStage
from latentsync.inference.options import SyncGate, SyncOptions
from latentsync.inference.record import StageClock
from latentsync.inference.scene import Cast
from latentsync.inference.silence import SpeechPlan
from latentsync.inference.timeline import LengthMode, result_seconds
from latentsync.inference.weights import ModelSettings, model_settings
from latentsync.inference.windows import WindowPlan
from latentsync.media.output_audio import AudioPart, check_audio
from latentsync.media.video import VideoFile
from latentsync.media.writer import check_encoder
from latentsync.provenance.licences import require_commercial
from latentsync.types import VideoInfo

if TYPE_CHECKING:
    import torch

    from latentsync.inference.gpu_memory import GpuRoom

LOOKING_WHO_SPEAKS = (
    "looking at the whole video to find out who speaks; its faces are kept, so the dub does not look for them again"
)
SAMPLED_FRAMES = 20  # frames that are searched for a face


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
    turns: Turns | None = None  # of whoever speaks, if that was asked for
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


def preflight(
    request: DubRequest,
    clock: StageClock | None = None,
    networks: Networks | None = None,
    on_note: Callable[[str], None] = lambda text: None,
    control: RunControl | None = None,
) -> Preflight:
    """Check everything that could make the run of ``request`` fail; load no network but the face detector, and the sync
    network if whoever speaks is to be found.

    ``networks``: where the detector is loaded from. ``on_note`` is told of what takes long, and ``control`` may end
    that. Raises named errors.
    """
    request = as_scene(request)
    check_files(request)
    video = open_video(request)
    scene, info = request.scene, video.info
    speech = read_speech(request, info) if scene is None else read_scene_speech(request, scene, video)
    notes = [*speech.notes]
    weights = request.weights.check()
    settings = model_settings(request.weights.unet, request.unet_config)
    request.named_batch()  # raises for what is no number
    plan = window_plan(request.options, settings, info)
    written = check_encoder(request.encoding, info, request.output.suffix)
    notes += _check_heard(request, speech.heard, written.container)
    duration = speech.duration
    options = _options_of(request, settings, video, duration)

    # torch takes seconds to import: all that can be refused without it has been.
    notes += _require_networks_beside(request, options)
    devices, device_notes = usable_devices(request)
    if request.commercial_only:
        require_commercial([*request.weights.networks().values(), *_detector_files(request, devices[0])])
    dtype, precision_notes = precision_of(request, options, devices, settings)
    notes += device_notes + precision_notes
    finder = _face_finder(request, info, devices[0], clock or StageClock(), networks or Networks())
    tracks = finder.tracks(info, options)
    turns = None
    if scene is not None and whoever_speaks(scene):
        on_note(LOOKING_WHO_SPEAKS)
        turns = _find_turns(request, video, finder, tracks, devices[0], control or RunControl())
        in_turns = read_scene_speech(request, turns.scene(scene, video), video)
        speech, notes = replace(in_turns, heard=speech.heard, mix=speech.mix), notes + turns.notes  # heard as before
    cast = speech.cast(request, video, options)
    _follow_cast(cast, video, options, tracks, in_scene=scene is not None)
    frames = frames_to_do(video, duration, options)
    passing = share_passing(cast, result_stretch(options, result_seconds(info, duration, options.length)))
    cost, room = cost_of(request, info, frames, settings, plan, options, devices, dtype, passing)
    kept = _require_room(request, cost, settings, dtype)
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
        turns=turns,
        kept_bytes=kept,
    )


def _require_room(request: DubRequest, cost: Estimate, settings: ModelSettings, dtype: torch.dtype) -> int:
    """Bytes of the latents that ``--resume`` keeps. Raises ``DiskFullError`` where they and the result have no room."""
    kept = cost.windows * bytes_per_window(settings.num_frames, settings.resolution, dtype) if request.resume else 0
    require_room(request.output, cost.disk_bytes + kept - bytes_in(request.kept_folder))
    return kept


def _check_heard(request: DubRequest, heard: AudioPart | None, container: str) -> list[str]:
    """Notes on the audio of the result, if it has one. Raises as ``check_audio`` does."""
    if heard is None:
        return []
    written = replace(heard, for_browsers=request.encoding.for_browsers, filled=request.whole_frames)
    return check_audio(written, container)


def _require_networks_beside(request: DubRequest, options: SyncOptions) -> list[str]:
    """What the user should know of the sync gate. Raises where its network is missing, or for an enhancer of no use;
    with ``compat`` none is asked."""
    notes = _require_sync_network(request, options) if options.sync_gate is not SyncGate.OFF else []
    if options.compat is None:
        load_enhancer(options.paste)
    return notes


def _follow_cast(cast: Cast, video: VideoFile, options: SyncOptions, tracks: FaceTracks, *, in_scene: bool) -> None:
    """Have the faces of the cast followed. Raises for an excerpt of a scene in which nobody speaks."""
    if in_scene:
        if options.excerpt is not None:
            require_segment_in(options.excerpt, cast)
        tracks.choose([FaceSelector(role.face) for role in cast.roles])
    tracks.prepare(video)


def _find_turns(
    request: DubRequest,
    video: VideoFile,
    finder: FaceFinder,
    tracks: FaceTracks,
    device: torch.device,
    control: RunControl,
) -> Turns:
    """Who speaks when; all faces are known then. Raises ``ConfigError`` for a video that has no audio to tell it by."""
    control.enter("looking for who speaks")
    own = source_waveform(request, video, "who speaks in it cannot be told", "Name the person with --face.")
    sync = sync_at_hand(request.weights, device)
    turns = find_turns(video, finder.tracks_again(tracks, request.options, LARGEST), own, sync, control.beat)
    tracks.save()
    return turns


def _options_of(request: DubRequest, settings: ModelSettings, video: VideoFile, duration: Fraction) -> SyncOptions:
    """The options of the run: an excerpt begins with a frame. Raises for masks, faces and excerpts that do not fit."""
    options = request.options
    if request.scene is not None:
        options = replace(options, length=LengthMode.CUT)  # each frame is shown once
    _require_usable_masks(options, settings, video)
    require_points_in_video(request, video.info, duration)
    if options.excerpt is not None:
        asked = options.excerpt.between_frames(video.info.fps) if request.whole_frames else options.excerpt
        options = replace(options, excerpt=asked.on_frames(video, duration, options.length))
    return options


def _require_usable_masks(options: SyncOptions, settings: ModelSettings, video: VideoFile) -> None:
    """Raise as the stages of the run will for a mask, or a network that makes one, which cannot be used."""
    OcclusionStage(options, video)
    if options.compat is None:
        FacePaster(load_mask(settings.mask, settings.resolution), options.paste)


def _require_sync_network(request: DubRequest, options: SyncOptions) -> list[str]:
    """What the user should know of the gate. Raises ``WeightsMissingError`` if there is nothing to judge by."""
    from latentsync.inference.job.sync_judge import sync_weights  # here: it imports torch, which takes seconds

    sync_weights(request.weights)
    if options.sync_gate is not SyncGate.REDO:
        return []
    if options.excerpt is not None:
        return ["an excerpt is judged by the sync network, but nothing of it is made again"]
    return ["--sync_gate redo: what is made again comes on top of the estimate"]


def _detector_files(request: DubRequest, device: torch.device) -> list[Path]:
    """The weights of the face detector; none where the faces come from a file."""
    if request.detector not in DETECTOR_NAMES:
        return []
    return detector_files(request.detector, request.weights.auxiliary, str(device))


def _face_finder(
    request: DubRequest, info: VideoInfo, device: torch.device, clock: StageClock, networks: Networks
) -> FaceFinder:
    """What finds the faces of the video. A release that is reproduced takes all pixels for square."""
    aspect = info.sample_aspect_ratio if request.options.compat is None else Fraction(1)
    return FaceFinder(request.detector, request.weights.auxiliary, device, clock, networks.detector, aspect)


def _samples_show_a_face(video: VideoFile, finder: FaceFinder, tracks: FaceTracks) -> bool:
    if any(is_usable(face) for faces in tracks.detections.values() for face in faces):
        return True
    detector = finder.detector
    if detector is None:
        return False
    return any(is_usable(face) for f in video.sample(SAMPLED_FRAMES) for face in detector.detect([f])[0])
