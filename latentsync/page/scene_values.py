"""The scene of the page: what its editor sends as the values of a scene, and these as text that the page keeps.

The text is a scene file in JSON. Its audio files are uploads, by their whole paths; a name without a folder is a file
that a scene file names and nobody has brought yet.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from latentsync.errors import ConfigError
from latentsync.face.selection import SPEAKING, FaceChoice
from latentsync.page.names import safe_name
from latentsync.scene.document import Document, seconds_of
from latentsync.scene.files import scene_of, scene_to_dict
from latentsync.scene.model import PersonChoice, Scene, Segment, SegmentAudio, SegmentOptions, Transition
from latentsync.scene.readers import ALL_SUFFIXES, read_any

# In place of a folder, of files that nobody has brought: no system has files below it.
MISSING = (Path(os.devnull) / "missing").absolute()
MOST_SEGMENTS = 200
LONGEST_SCENE = 200_000  # characters of the text
MOST_BYTES = 2**20  # of a scene file
WHOEVER_SPEAKS = "Whoever speaks"
AS_LONG = Fraction(4, 5)  # of the video: audio that is at least so long begins with it
_LONGEST_NAME = 60  # characters of a person's name
_LATEST = 10**6  # s
_WORDS = {
    "start": "the start of a segment",
    "end": "the end of a segment",
    "from": "the second of the sound",
    "until": "the last second of the sound",
    "guidance_scale": "Guidance",
    "fade_in": "Fade in",
    "fade_out": "Fade out",
    "track": "Track",
    "channel": "Channel",
    "steps": "Steps",
}


@dataclass(frozen=True, slots=True)
class SeenPerson:
    """Somebody in a video. ``face``: as ``SyncOptions.face`` names them; ``image``: a data URL; ``stretches``:
    seconds from and to which they are seen."""

    face: str
    name: str
    image: str
    stretches: tuple[tuple[Fraction, Fraction], ...] = ()


@dataclass(frozen=True, slots=True)
class SeenVideo:
    """What the page knows of a video: ``seconds`` and ``fps``, and the people in it."""

    seconds: Fraction
    fps: Fraction
    people: tuple[SeenPerson, ...]

    def on_frame(self, time: Fraction) -> Fraction:
        """The nearest time at which a frame begins, inside the video."""
        return min(max(Fraction(round(time * self.fps)) / self.fps, Fraction(0)), self.seconds)

    def person(self, face: str) -> SeenPerson | None:
        """The one whom a choice names."""
        return next((each for each in self.people if each.face == face), None)


def scene_from_text(text: str) -> Scene:
    """The scene that the page keeps, or a program gives. Raises ``ConfigError``."""
    if len(text) > LONGEST_SCENE:
        raise ConfigError("The scene is too long for the page.", remedy=f"Give up to {LONGEST_SCENE} characters.")
    scene = scene_of(Document(MISSING / "scene.json", "The scene", text))
    _refuse_many(scene, "The scene")
    for person in scene.speakers():
        checked_face(person.face)
    return replace(scene, segments=tuple(replace(each, place="") for each in scene.segments))


def scene_to_text(scene: Scene) -> str:
    """As ``scene_from_text`` takes it; empty for a scene without segments and without people."""
    if not scene.segments and not scene.people:
        return ""
    return json.dumps(scene_to_dict(scene, MISSING), ensure_ascii=False)


def scene_to_yaml(scene: Scene, video: str) -> str:
    """A scene file: names in place of uploads, so that it lies beside the files. ``video``: the name of that."""
    taken: dict[str, Path] = {}

    def named(audio: SegmentAudio | None) -> SegmentAudio | None:
        if audio is None:
            return None
        name, count = audio.file.name, 1
        while taken.setdefault(name, audio.file) != audio.file:
            count += 1
            name = f"{audio.file.stem}_{count}{audio.file.suffix}"
        return replace(audio, file=MISSING / name)

    segments = tuple(replace(each, audio=named(each.audio)) for each in scene.segments)
    plain = replace(scene, segments=segments, audio=named(scene.audio), video=MISSING / video if video else None)
    return yaml.safe_dump(scene_to_dict(plain, MISSING), sort_keys=False, allow_unicode=True)


def brought_files(files: Iterable[Path], folder: Path) -> dict[str, Path]:
    """Name -> file, of those that lie in the ``folder`` of uploads; a text that a visitor sends can name any."""
    place = folder.resolve()
    return {file.name: file for file in files if file.resolve().is_relative_to(place) and file.is_file()}


def opened_scene(path: Path, fps: Fraction, known: Mapping[str, Path]) -> Scene:
    """The scene of an uploaded file of any known format. ``known``: name -> an upload of that name.

    Raises ``ConfigError``, and ``PackageMissingError`` for an edit without its library.
    """
    if path.suffix.lower() not in ALL_SUFFIXES:
        raise ConfigError(f"{path} is no scene.", remedy=f"Bring a file with {', '.join(ALL_SUFFIXES)}.")
    if path.stat().st_size > MOST_BYTES:
        raise ConfigError(f"{path} is too large for a scene.", remedy=f"Bring up to {MOST_BYTES // 2**20} MB.")
    scene = read_any(path, fps)
    _refuse_many(scene, str(path))

    def brought(audio: SegmentAudio | None) -> SegmentAudio | None:
        if audio is None:
            return None
        name = safe_name(audio.file.name.encode())
        return replace(audio, file=known.get(name, MISSING / name))

    people = tuple(PersonChoice(_name(each.name), _usable_face(each.face)) for each in scene.speakers())
    segments = tuple(
        replace(each, person=_name(each.person), audio=brought(each.audio), place="") for each in scene.segments
    )
    return Scene(people, segments, brought(scene.audio))


def edited_scene(message: Any, seen: SeenVideo, measure: Callable[[Path], Fraction]) -> Scene:
    """The scene that the editor shows: ``message`` has its people and segments, each as its fields.

    A segment whose field 'new' is set is a file that was brought for a person: it gets a time, or takes the place of a
    missing file of its name. ``measure`` gives the seconds of a file, and refuses what is no upload. Raises
    ``ConfigError`` for values that cannot be.
    """
    people = [_person(each, number) for number, each in enumerate(_list(message, "people"), 1)]
    fields = _list(message, "segments")
    if len(fields) > MOST_SEGMENTS:
        raise ConfigError(f"The page takes up to {MOST_SEGMENTS} segments.", remedy="Dub the video in pieces.")
    if any(str(each.get("person")) == SPEAKING for each in fields):
        people.append(PersonChoice(WHOEVER_SPEAKS, SPEAKING))
    names = [each.name for each in people]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"Two people are called '{twice}'.", remedy="Give one of them another name.")
    segments = [_segment(each, people, seen) for each in fields if not each.get("new")]
    for each in fields:
        if each.get("new"):
            segments = _with_audio(segments, _who(each, people), Path(_text(each, "file")), seen, measure)
    own = {segment.person for segment in segments}
    defaults = {each.face: each.name for each in seen.people}
    kept = [each for each in people if each.name in own or defaults.get(each.face, each.name) != each.name]
    return Scene(tuple(kept), tuple(sorted(segments, key=lambda segment: segment.start)))


def with_audio(scene: Scene, audio: Path | None) -> Scene:
    """The scene with the audio that was brought for all of it; without one that nobody has brought."""
    if audio is None:
        return replace(scene, audio=None) if is_missing(scene.audio) else scene
    return replace(scene, audio=SegmentAudio(audio) if scene.audio is None else replace(scene.audio, file=audio))


def is_missing(audio: SegmentAudio | None) -> bool:
    """Whether nobody has brought its file yet."""
    return audio is not None and audio.file.parent == MISSING


def checked_face(text: str) -> str:
    """A choice of a face that a visitor may make. Raises ``ConfigError``."""
    choice = FaceChoice.parse(text) if text else None
    if choice is not None and choice.photo is not None:  # that would be a file of the server
        raise ConfigError(f"'{Path(text).name}' names nobody here.", remedy="Choose one of the people in the video.")
    return text


def _refuse_many(scene: Scene, name: str) -> None:
    if len(scene.segments) > MOST_SEGMENTS:
        raise ConfigError(
            f"{name} has {len(scene.segments)} segments; the page takes up to {MOST_SEGMENTS}.",
            remedy="Dub the video in pieces.",
        )


def _usable_face(text: str) -> str:
    try:
        return checked_face(text)
    except ConfigError:
        return ""  # the page asks which face it is


def _with_audio(
    segments: list[Segment], person: str, file: Path, seen: SeenVideo, measure: Callable[[Path], Fraction]
) -> list[Segment]:
    seconds = measure(file)
    found = [replace(each, audio=_found(each.audio, file)) for each in segments]
    if found != segments:
        return found
    return [*segments, _placed(segments, person, file, seconds, seen)]


def _found(audio: SegmentAudio | None, file: Path) -> SegmentAudio | None:
    """The audio with its file, if that is the missing one."""
    if audio is None or not is_missing(audio) or audio.file.name != file.name:
        return audio
    return replace(audio, file=file)


def _placed(segments: list[Segment], person: str, file: Path, seconds: Fraction, seen: SeenVideo) -> Segment:
    """A segment for a file: with the video if it is about as long, else behind all others, where the person is seen."""
    own = [each.end_in(seen.seconds) for each in segments if each.person == person]
    start = Fraction(0)
    if own or seconds < AS_LONG * seen.seconds:
        start = max((each.end_in(seen.seconds) for each in segments), default=start)
    if start + 1 / seen.fps >= seen.seconds:  # no room: beside the others then
        start = max(own, default=Fraction(0))
    if start + 1 / seen.fps >= seen.seconds:
        raise ConfigError(
            f"There is no room behind the last segment of '{person}' for {file.name}.",
            remedy="Make one of their segments shorter, or remove one.",
        )
    return Segment(seen.on_frame(start), seen.on_frame(start + seconds + 1 / seen.fps / 2), person, SegmentAudio(file))


def _person(fields: Mapping[str, Any], number: int) -> PersonChoice:
    face = _text(fields, "face")
    return PersonChoice(_name(_text(fields, "name")) or f"Person {number}", checked_face(face))


def _who(fields: Mapping[str, Any], people: list[PersonChoice]) -> str:
    text = _text(fields, "person")
    if text == SPEAKING:
        return WHOEVER_SPEAKS
    if not text.isdecimal() or len(text) > 3 or int(text) >= len(people):
        raise ConfigError("A segment is of nobody who is known here.", remedy="Choose its person again.")
    return people[int(text)].name


def _segment(fields: Mapping[str, Any], people: list[PersonChoice], seen: SeenVideo) -> Segment:
    start, end = _seconds(fields, "start"), _seconds(fields, "end")
    start = seen.on_frame(start or Fraction(0))
    end = None if end is None else seen.on_frame(end)
    if end is not None and end <= start:
        raise ConfigError(
            f"From {float(start):g} to {float(end):g} s is no stretch of time.", remedy="Give a later end."
        )
    audio = None
    if file := _text(fields, "file"):
        path, first = Path(file), _seconds(fields, "from") or Fraction(0)
        whole = {key: _whole(fields, key) for key in ("track", "channel")}
        audio = SegmentAudio(path, **whole, start=first, end=_seconds(fields, "until"))
        if not path.is_absolute():
            audio = replace(audio, file=MISSING / path.name)
    guidance = _seconds(fields, "guidance_scale")
    options = SegmentOptions(
        preset=_text(fields, "preset") or None,
        steps=_whole(fields, "steps"),
        guidance_scale=None if guidance is None else float(guidance),
        silence=_text(fields, "silence") or None,
    )
    fades = Transition(_whole(fields, "fade_in"), _whole(fields, "fade_out"))
    return Segment(start, end, _who(fields, people), audio, options, fades)


def _list(message: Any, key: str) -> list[Mapping[str, Any]]:
    found = message.get(key) if isinstance(message, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise ConfigError("The page does not understand this change.", remedy="Reload it.")
    return found


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key, "")
    if not isinstance(value, str) or len(value) > 1000 or "\0" in value:
        raise ConfigError("The page does not understand this change.", remedy="Reload it.")
    return value.strip()


def _name(text: str) -> str:
    return " ".join("".join(c for c in text if c.isprintable()).split())[:_LONGEST_NAME]


def _seconds(fields: Mapping[str, Any], key: str) -> Fraction | None:
    text = _text(fields, key)
    if not text:
        return None
    seconds = seconds_of(text)
    if seconds is None or not 0 <= seconds <= _LATEST:
        raise ConfigError(f"'{text[:20]}' is no number for {_WORDS[key]}.", remedy="Give a number from 0.")
    return seconds


def _whole(fields: Mapping[str, Any], key: str) -> int | None:
    text = _text(fields, key)
    if not text:
        return None
    if not text.isdecimal() or len(text) > 4:
        raise ConfigError(f"'{text[:20]}' is no number for {_WORDS[key]}.", remedy="Give a whole number from 0.")
    return int(text)
