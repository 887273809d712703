"""From a job to a dub: which weights its model means, whom it is about, how its length is fitted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from latentsync.atomic import write_text
from latentsync.checkpoint import read_card
from latentsync.errors import ConfigError, WeightsError
from latentsync.inference.job.request import DubRequest
from latentsync.inference.options import DEFAULT_SEED, SyncOptions, apply_preset
from latentsync.inference.timeline import SYNC_MODES, frame_spacing
from latentsync.inference.weights import WeightPaths, installed_weights
from latentsync.media.limits import MediaLimits
from latentsync.media.video import VideoFile
from latentsync.scene.document import Document
from latentsync.scene.model import Scene, check_scene
from latentsync.scene.readers.syncso import read_syncso, speaker_face
from latentsync.service.generation import ActiveSpeaker, AudioInput, GenerateRequest, Options, SyncMode
from latentsync.service.job import RESULT, RequestRefusedError, ServiceSettings

FOREIGN = ("lipsync-2", "lipsync-2-pro", "lipsync-1.9.0-beta", "sync-3")  # models of sync.so that dub lips only
PREFIX = "latentsync-"


@dataclass(frozen=True, slots=True)
class Models:
    """The models of this service by name; ``default`` also answers to sync.so's names, for clients made for them."""

    weights: Mapping[str, WeightPaths]
    default: str

    @classmethod
    def installed(cls, directory: Path | None = None, default: str = "") -> Models:
        """Those in a folder of weights. Raises ``ConfigError`` for a ``default`` that is not among them."""
        chosen = WeightPaths.choose(directory)
        chosen.check()
        found = {_name(paths): paths for paths in installed_weights(directory).values()}
        default = default or next((name for name, paths in found.items() if paths == chosen), next(iter(found)))
        if default not in found:
            raise ConfigError(f"There is no model '{default}' here.", remedy=f"Take one of {', '.join(found)}.")
        return cls(found, default)

    def resolve(self, name: str) -> str:
        """The model that a request names. Raises ``RequestRefusedError``."""
        if name in FOREIGN:
            return self.default
        if name not in self.weights:
            raise RequestRefusedError(
                f"There is no model '{name[:100]}' here.", remedy=f"Take one of {', '.join(self.weights)} (/v2/models)."
            )
        return name


def _name(paths: WeightPaths) -> str:
    if paths.are_builtin:
        return f"{PREFIX}builtin"
    try:
        card = read_card(paths.unet)
    except WeightsError:  # whoever uses it is told
        card = None
    return f"{PREFIX}{card.release if card is not None and card.release else paths.unet.stem}"


def make_dub(
    request: GenerateRequest,
    models: Models,
    settings: ServiceSettings,
    folder: Path,
    device: str = "auto",
) -> DubRequest:
    """The dub that a request asks for, of inputs that are in the ``folder`` of its job (``GenerateRequest.files``).

    Raises as what opens the video, if it must be opened to find the person or the segments, and
    ``RequestRefusedError`` for segments that do not fit it.
    """
    options = request.options or Options()
    preset = options.preset if options.preset is not None else settings.preset
    weights, sampler = apply_preset(preset, models.weights[models.resolve(request.model)])
    chosen = SyncOptions(
        sampler=sampler,
        seed=DEFAULT_SEED if options.seed is None else options.seed,
        length=SYNC_MODES[SyncMode.BOUNCE if request.is_as_long_as_video else options.sync_mode or SyncMode.BOUNCE],
    )
    if options.occlusion_detection_enabled is False:
        chosen = replace(chosen, visibility=replace(chosen.visibility, occlusion="off"))
    files = {name: _input_file(folder, name) for name in request.files}
    video, audio, scene = files["video"], files["audio"], None
    if request.segments:
        scene = _scene(request, folder, files, settings.limits)
        audio = next(scene.files())
    elif options.active_speaker_detection is not None:
        chosen = replace(chosen, face=_face(options.active_speaker_detection, video, settings.limits))
    return DubRequest(
        video,
        audio,
        folder / RESULT,
        chosen,
        weights=weights,
        device=device,
        limits=settings.limits,
        resume=True,
        scene=scene,
    )


def _input_file(folder: Path, name: str) -> Path:
    """An input of a job: a file of that name, of any suffix."""
    return next(iter(sorted(folder.glob(f"{name}.*"))), folder / f"{name}.bin")


def _scene(request: GenerateRequest, folder: Path, files: Mapping[str, Path], limits: MediaLimits) -> Scene:
    """The segments of a request, read by the reader of such requests from a copy in which inputs are files."""
    limits.check_video(files["video"])
    info = VideoFile(files["video"], limits=limits).info
    local = [
        {
            "type": each.type,
            "url": files[name].name,
            "refId": each.ref_id if isinstance(each, AudioInput) else None,
        }
        for name, each in request.files.items()
    ]
    copy = folder / "request.json"
    write_text(copy, json.dumps(request.stored() | {"input": local}))
    try:
        scene = read_syncso(Document(copy, "The request"), info.fps)
        scene = replace(scene, segments=tuple(replace(each, place="") for each in scene.segments))  # no line of theirs
        check_scene(scene, info.duration, frame_spacing(info))
    except ConfigError as error:
        raise RequestRefusedError(error.message, remedy=error.remedy) from error
    return scene


def _face(speaker: ActiveSpeaker, video: Path, limits: MediaLimits) -> str:
    """Whom to follow, in the syntax of ``face.selection``."""

    def rate() -> Fraction:
        limits.check_video(video)
        return VideoFile(video, limits=limits).info.fps

    point, frame, boxes = speaker.coordinates, speaker.frame_number or 0, speaker.bounding_boxes or []
    return speaker_face(bool(speaker.auto_detect), point, frame, boxes, rate)
