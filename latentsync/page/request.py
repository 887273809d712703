"""What a visitor asks for, checked value by value: whatever a program sends is a request or a sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentsync.errors import ConfigError
from latentsync.face.paste_settings import FACE, TRAINED
from latentsync.face.selection import LARGEST, SPEAKING, FaceChoice
from latentsync.face.visibility import AUTO, OFF
from latentsync.inference.options import DEFAULT_SEED, PRESETS, SyncGate
from latentsync.inference.stretches import SilenceMode, Stretch
from latentsync.inference.timeline import LengthMode
from latentsync.page.scene_values import MISSING, is_missing, scene_from_text, with_audio
from latentsync.scene.model import Scene

RANDOM_SEED = -1  # one is drawn
QUALITIES: Mapping[str, int | None] = {"as the source": None, "smaller file": 26, "draft": 34}  # name -> CRF of H.264
LENGTHS = tuple(mode.value for mode in LengthMode)
MASKS, SILENCES = (FACE, TRAINED), tuple(mode.value for mode in SilenceMode)
GATES, OCCLUSIONS = tuple(gate.value for gate in SyncGate), (AUTO, OFF)
_FACE_REMEDY = "Use 'largest', 'speaking', 'index:0' or 'X,Y@SECONDS'."
MOST_STEPS = 200
MOST_GUIDANCE = 10.0
# Names of the API, in its order, with what the page calls them.
LABELS: Mapping[str, str] = {
    "video": "Video",
    "audio": "Sound",
    "moment": "Moment to try",
    "checkpoint": "Models",
    "preset": "Preset",
    "steps": "Steps",
    "guidance_scale": "Guidance (hold of the sound)",
    "seed": "Seed",
    "length": "If the video is shorter or longer than the sound",
    "quality": "Quality of the file",
    "face": "Who speaks",
    "mask": "What is painted",
    "silence": "Where nobody speaks",
    "skip": "Leave these seconds alone",
    "sync_gate": "Mouth and sound",
    "occlusion": "Things before the face",
    "mask_file": "A mask of your own",
    "scene": "Scene",
}
PREVIEW_FIELDS = tuple(LABELS)
DUB_FIELDS = tuple(name for name in LABELS if name != "moment")
LATER_FIELDS = ("mask", "silence", "skip", "sync_gate", "occlusion", "mask_file", "scene")  # older programs give none
CALLS: Mapping[str, tuple[str, ...]] = {"dub": DUB_FIELDS, "preview": PREVIEW_FIELDS}  # of the API, with their fields
NEEDED = ("video", "audio")
FILES = (*NEEDED, "mask_file")  # fields that take a file

_LONGEST_TEXT = 200  # characters of a choice
_STRETCH = re.compile(r"\d{1,6}(?:\.\d{1,6})?-\d{1,6}(?:\.\d{1,6})?")  # seconds; no exponents, which can be huge
_LONGEST_CAUSE = 300  # characters that are said of a wrong scene
_SHOWN = 40  # characters of a wrong value that are said
_LONGEST_MOMENT = 1e6  # s; whatever lies after the end of the audio is tried at its end
_KINDS = {list: "a list", dict: "an object", bool: "true or false", str: "a text", type(None): "nothing"}


class FieldError(ConfigError):
    """A value that a field of the page cannot have. ``field``: its name in the API."""

    def __init__(self, field: str, cause: str, *, remedy: str = "") -> None:
        super().__init__(f"{LABELS[field]}: {cause}", remedy=remedy)
        self.field = field


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a visitor asks for. ``None`` for what the preset decides, ``RANDOM_SEED`` for one that is drawn; ``moment``
    (s) for a preview around it. ``mask_file``: a picture that is painted by in place of ``mask``. ``scene``: who speaks
    when; ``face`` and ``length`` do not count then, and ``audio`` is that of the whole scene, if there is one."""

    video: Path
    audio: Path | None
    checkpoint: str
    preset: str | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    seed: int = DEFAULT_SEED
    length: str = LengthMode.PINGPONG.value
    quality: str = next(iter(QUALITIES))
    face: str = LARGEST
    mask: str = FACE
    silence: str = SilenceMode.GENERATE.value
    skip: str = ""
    sync_gate: str = SyncGate.OFF.value
    occlusion: str = AUTO
    mask_file: Path | None = None
    scene: Scene | None = None
    moment: float | None = None

    @classmethod
    def from_values(
        cls, values: Mapping[str, Any], checkpoints: Collection[str], folder: Path | None = None
    ) -> JobRequest:
        """From what a call of the API or the page gives, by the names of ``LABELS``; with a 'moment' it is a preview.

        A field that is empty (null or "") has its default, the first of ``checkpoints`` for the models. Files are as
        Gradio has them, or paths; those of the scene lie in ``folder``, if that is given. Raises ``FieldError`` for the
        first value that cannot be.
        """
        scene = _scene(values.get("scene"), folder)
        needed = NEEDED if scene is None or any(each.audio is None for each in scene.segments) else NEEDED[:1]
        if any(_is_empty(values.get(name)) for name in needed):
            raise ConfigError("A video and a sound are needed.", remedy="Upload both, or take the example.")
        audio = None if _is_empty(values.get("audio")) else uploaded_file("audio", values["audio"])
        return cls(
            video=uploaded_file("video", values["video"]),
            audio=audio,
            checkpoint=chosen("checkpoint", values.get("checkpoint"), checkpoints) or next(iter(checkpoints)),
            preset=chosen("preset", values.get("preset"), PRESETS),
            steps=int(_number("steps", values, 0, MOST_STEPS, whole=True)) or None,
            guidance_scale=float(_number("guidance_scale", values, 0, MOST_GUIDANCE)) or None,
            seed=int(_number("seed", values, RANDOM_SEED, 2**64 - 1, whole=True, default=DEFAULT_SEED)),
            length=chosen("length", values.get("length"), LENGTHS) or LengthMode.PINGPONG.value,
            quality=chosen("quality", values.get("quality"), QUALITIES) or next(iter(QUALITIES)),
            face=_face(values),
            mask=chosen("mask", values.get("mask"), MASKS) or FACE,
            silence=chosen("silence", values.get("silence"), SILENCES) or SilenceMode.GENERATE.value,
            skip=", ".join(map(str, stretches(values.get("skip")))),
            sync_gate=chosen("sync_gate", values.get("sync_gate"), GATES) or SyncGate.OFF.value,
            occlusion=chosen("occlusion", values.get("occlusion"), OCCLUSIONS) or AUTO,
            mask_file=None if _is_empty(mask := values.get("mask_file")) else uploaded_file("mask_file", mask),
            scene=None if scene is None else with_audio(scene, audio),
            moment=float(_number("moment", values, 0, _LONGEST_MOMENT)) if "moment" in values else None,
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that were uploaded for it."""
        return tuple(dict.fromkeys(filter(None, (self.video, self.audio, self.mask_file, *self.sounds))))

    @property
    def sounds(self) -> tuple[Path, ...]:
        """The files of the scene's sounds."""
        return () if self.scene is None else tuple(self.scene.files())

    @property
    def is_as_long_as_video(self) -> bool:
        """Whether the result lasts as long as the video, whatever the audio does."""
        return self.scene is not None or self.face == SPEAKING

    @property
    def kind(self) -> str:
        """'preview' or 'dub'."""
        return "dub" if self.moment is None else "preview"


def uploaded_file(field: str, value: Any, folder: Path | None = None) -> Path:
    """The file of a value: a path, or Gradio's object with one. It must lie in ``folder``, if that is given.

    Raises ``FieldError``; ``field`` is a name of ``LABELS``.
    """
    path = value.get("path") if isinstance(value, Mapping) else value
    if not isinstance(path, (str, Path)) or not path:
        raise FieldError(field, f"{_said(value)} is no file.", remedy="Upload one and give what the upload answers.")
    try:
        place = Path(path).resolve()
        there = (folder is None or place.is_relative_to(folder.resolve())) and place.is_file()
    except (OSError, ValueError):  # a name that no system has
        there = False
    if not there:
        raise FieldError(
            field, "there is no such file here.", remedy="Upload it (again); nothing is fetched from elsewhere."
        )
    return place


def chosen(field: str, value: Any, known: Collection[str]) -> str | None:
    """A name out of ``known``, None if the field is empty; ``field`` is a name of ``LABELS``. Raises ``FieldError``."""
    if _is_empty(value):
        return None
    if not isinstance(value, str) or value not in known:
        raise FieldError(field, f"there is no {_said(value)}.", remedy=f"Use one of: {', '.join(known)}.")
    return value


def _number(
    field: str, values: Mapping[str, Any], least: float, most: float, *, whole: bool = False, default: float = 0
) -> int | float:
    value = values.get(field)
    if _is_empty(value):
        return default
    kind = "whole number" if whole else "number"
    remedy = f"Give a {kind} from {least} to {most:g}." if most < 2**53 else f"Give a {kind} from {least}."
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FieldError(field, f"{_said(value)} is no number.", remedy=remedy)
    if isinstance(value, float) and not math.isfinite(value):
        raise FieldError(field, f"{value} is no number to count with.", remedy=remedy)
    if not least <= value <= most or (whole and value != int(value)):
        raise FieldError(field, f"{_said(value)} is not possible.", remedy=remedy)
    return value


def stretches(value: Any) -> tuple[Stretch, ...]:
    """The stretches of time in a text such as '12.0-14.5, 20-21'; none if it is empty. Raises ``FieldError``."""
    if _is_empty(value):
        return ()
    remedy = "Give seconds of the result, such as 12.0-14.5, 20-21."
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise FieldError("skip", f"{_said(value)} is no stretch of time.", remedy=remedy)
    found = []
    for part in filter(None, re.split(r"[,;\s]+", re.sub(r"\s*-\s*", "-", value.strip()))):
        if _STRETCH.fullmatch(part) is None:
            raise FieldError("skip", f"{_said(part)} is no stretch of time.", remedy=remedy)
        try:
            found.append(Stretch.parse(part))
        except ConfigError as error:
            raise FieldError("skip", error.message, remedy=error.remedy) from error
    return tuple(found)


def _face(values: Mapping[str, Any]) -> str:
    value = values.get("face")
    if _is_empty(value):
        return LARGEST
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise FieldError("face", f"{_said(value)} names nobody.", remedy=_FACE_REMEDY)
    try:
        choice = FaceChoice.parse(value)
    except ConfigError as error:
        raise FieldError("face", f"{_said(value)} names nobody.", remedy=_FACE_REMEDY) from error
    if choice.photo is not None:  # that would be a file of the server
        raise FieldError("face", f"{_said(value)} names nobody.", remedy=_FACE_REMEDY)
    return value


def _scene(value: Any, folder: Path | None) -> Scene | None:
    """The scene of a text, whose files were uploaded; None for one without segments. Raises ``FieldError``."""
    if _is_empty(value):
        return None
    if not isinstance(value, str):
        raise FieldError("scene", f"{_said(value)} is no scene.", remedy="Give the text of a scene file in JSON.")
    try:
        scene = scene_from_text(value)
    except ConfigError as error:
        cause = error.message.replace(f"{MISSING / 'scene.json'}", "the text")[:_LONGEST_CAUSE]
        raise FieldError("scene", cause, remedy=error.remedy) from error
    for audio in (scene.audio, *(each.audio for each in scene.segments)):
        if audio is not None and audio is not scene.audio and is_missing(audio):
            raise FieldError("scene", f"the sound {audio.file.name} is not here.", remedy="Upload it.")
        if audio is not None and not is_missing(audio):
            uploaded_file("scene", audio.file, folder)
    return scene if scene.segments else None


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value)


def _said(value: Any) -> str:
    """A wrong value in a sentence: what it is, if it is not short."""
    if isinstance(value, str) and len(value) <= _SHOWN:
        return f"'{value}'"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:g}" if isinstance(value, float) or abs(value) < 10**6 else "so large a number"
    return next((words for kind, words in _KINDS.items() if isinstance(value, kind)), "this")
