"""Scenes as YAML or JSON files, both ways (docs/scenes.md)."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from latentsync.atomic import write_text
from latentsync.scene.document import Document, Value
from latentsync.scene.model import PersonChoice, Scene, Segment, SegmentAudio, SegmentOptions, Transition

SUFFIXES = (".yaml", ".yml", ".json")
KEYS = ("video", "audio", "people", "segments")
_SEGMENT_KEYS = ("start", "end", "person", "audio", "options", "transition")
_AUDIO_KEYS = ("file", "track", "channel", "start", "end")
_OPTION_KEYS = ("preset", "steps", "guidance_scale", "silence")
_TRANSITION_KEYS = ("fade_in", "fade_out")


def read_scene(path: Path) -> Scene:
    """The scene in a file. Raises ``ConfigError`` with the line for an unknown key or a wrong value."""
    return scene_of(Document(path, "The scene"))


def scene_of(document: Document) -> Scene:
    """The scene in a document; as ``read_scene``."""
    given = document.top.mapping(KEYS, needed=("segments",))
    people = {} if _absent(given, "people") else given["people"].mapping()
    return Scene(
        people=tuple(_person(name, value) for name, value in people.items()),
        segments=tuple(_segment(value) for value in given["segments"].items()),
        audio=None if _absent(given, "audio") else _audio(given["audio"]),
        video=None if _absent(given, "video") else given["video"].file(),
    )


def write_scene(scene: Scene, path: Path) -> None:
    """Write ``scene`` so that ``read_scene`` gives it back: as JSON or YAML, by the suffix.

    Files below the folder of ``path`` are written relative to it, others as they are found from anywhere.
    """
    plain = scene_to_dict(scene, path.absolute().parent)
    is_json = path.suffix.lower() == ".json"
    text = json.dumps(plain, indent=1) + "\n" if is_json else yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    write_text(path, text)


def scene_to_dict(scene: Scene, folder: Path) -> dict[str, Any]:
    """Plain values, without those that are defaults."""
    return _given(
        video=None if scene.video is None else _path(scene.video, folder),
        audio=None if scene.audio is None else _plain_audio(scene.audio, folder),
        people={person.name: person.face or None for person in scene.people} or None,
        segments=[_plain_segment(segment, folder) for segment in scene.segments],
    )


def _absent(given: dict[str, Value], key: str) -> bool:
    return key not in given or given[key].is_empty


def _person(name: str, value: Value) -> PersonChoice:
    if value.is_mapping:
        value = value.mapping(("face",), needed=("face",))["face"]
    return PersonChoice(name, "" if value.is_empty else _face(value))


def _face(value: Value) -> str:
    """A choice of a face; a file is looked for beside the scene."""
    text = value.text()
    path = value.file()
    return str(path) if path.suffix and path.is_file() else text


def _segment(value: Value) -> Segment:
    given = value.mapping(_SEGMENT_KEYS, needed=("start", "person"))
    return Segment(
        start=given["start"].seconds(),
        end=None if _absent(given, "end") else given["end"].seconds(),
        person=given["person"].text(),
        audio=None if _absent(given, "audio") else _audio(given["audio"]),
        options=SegmentOptions() if _absent(given, "options") else _options(given["options"]),
        transition=Transition() if _absent(given, "transition") else _transition(given["transition"]),
        place=value.place,
    )


def _audio(value: Value) -> SegmentAudio:
    """A file, or a mapping that says which part of one."""
    if not value.is_mapping:
        return SegmentAudio(value.file())
    given = value.mapping(_AUDIO_KEYS, needed=("file",))
    return SegmentAudio(
        file=given["file"].file(),
        track=None if _absent(given, "track") else given["track"].whole(),
        channel=None if _absent(given, "channel") else given["channel"].whole(),
        start=Fraction(0) if _absent(given, "start") else given["start"].seconds(),
        end=None if _absent(given, "end") else given["end"].seconds(),
    )


def _options(value: Value) -> SegmentOptions:
    given = value.mapping(_OPTION_KEYS)
    return SegmentOptions(
        preset=None if _absent(given, "preset") else given["preset"].text(),
        steps=None if _absent(given, "steps") else given["steps"].whole(),
        guidance_scale=None if _absent(given, "guidance_scale") else float(given["guidance_scale"].number()),
        silence=None if _absent(given, "silence") else given["silence"].text(),
    )


def _transition(value: Value) -> Transition:
    given = value.mapping(_TRANSITION_KEYS)
    return Transition(*(None if _absent(given, key) else given[key].whole() for key in _TRANSITION_KEYS))


def _plain_segment(segment: Segment, folder: Path) -> dict[str, Any]:
    options, transition = segment.options, segment.transition
    return _given(
        start=plain_seconds(segment.start),
        end=None if segment.end is None else plain_seconds(segment.end),
        person=segment.person,
        audio=None if segment.audio is None else _plain_audio(segment.audio, folder),
        options=_given(**{key: getattr(options, key) for key in _OPTION_KEYS}) or None,
        transition=_given(**{key: getattr(transition, key) for key in _TRANSITION_KEYS}) or None,
    )


def _plain_audio(audio: SegmentAudio, folder: Path) -> dict[str, Any] | str:
    plain = _given(
        file=_path(audio.file, folder),
        track=audio.track,
        channel=audio.channel,
        start=plain_seconds(audio.start) if audio.start else None,
        end=None if audio.end is None else plain_seconds(audio.end),
    )
    return str(plain["file"]) if len(plain) == 1 else plain


def _path(path: Path, folder: Path) -> str:
    absolute = path.absolute()
    return (absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute).as_posix()


def plain_seconds(seconds: Fraction) -> int | float | str:
    """A number where that is exact in a file, else a fraction as text."""
    if seconds.denominator == 1:
        return int(seconds)
    return float(seconds) if Fraction(repr(float(seconds))) == seconds else str(seconds)


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
