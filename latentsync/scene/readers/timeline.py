"""An edit in OpenTimelineIO whose clips name the takes: each audio track is a person, each clip of it a segment.

A clip's place in the track says when it is spoken, its source range which part of the take. The person is the
`person` in the clip's or the track's metadata, or else the name of the track; `face` in the metadata of the track says
which face that is. A video track that plays one file from its beginning names the video.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from latentsync.errors import ConfigError
from latentsync.extras import package_missing
from latentsync.scene.document import line_error, read_text
from latentsync.scene.model import PersonChoice, Scene, Segment, SegmentAudio

if TYPE_CHECKING:
    import opentimelineio as otio

METADATA = "latentsync"  # the key of our values in the metadata of clips and tracks


def read_timeline(path: Path) -> Scene:
    """The edit as a scene. Raises ``ConfigError`` with the line, and ``PackageMissingError`` without the package."""
    try:
        import opentimelineio as otio
    except ImportError as error:
        raise package_missing(f"The edit {path}", "otio", error) from error

    text = read_text(path, "The edit")
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise line_error(path, error.lineno, f"no JSON: {error.msg}", "Export the edit again.") from error
    try:
        edit = otio.adapters.read_from_string(text, "otio_json")
    except (otio.exceptions.OTIOError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{path} is no edit: {reason}.", remedy="Export it as OpenTimelineIO again.") from error
    if not isinstance(edit, otio.schema.Timeline):
        raise line_error(path, 1, "it holds no timeline", "Export a timeline.")
    lines = text.splitlines()
    people: dict[str, str] = {}
    segments = []
    for track in edit.audio_tracks():
        for clip in track.find_clips(shallow_search=True):
            place = _place(path, lines, clip.name)
            person = _ours(clip, "person") or _ours(track, "person") or track.name
            if not person:
                raise ConfigError(f"{place}: nothing names the person of this clip.", remedy="Name its track.")
            people.setdefault(person, _ours(track, "face"))
            segments.append(_segment(path, place, person, track, clip))
    if not segments:
        raise line_error(path, 1, "no audio track of it has a clip", "Put the takes of each person on an audio track.")
    found = tuple(PersonChoice(name, face) for name, face in people.items())
    return Scene(found, tuple(sorted(segments, key=lambda each: each.start)), video=_video(path, edit))


def _segment(path: Path, place: str, person: str, track: otio.schema.Track, clip: otio.schema.Clip) -> Segment:
    if clip.effects:
        raise ConfigError(
            f"{place}: the clip has the effect {clip.effects[0].effect_name or clip.effects[0].name}.",
            remedy="Render it into the take, and name the rendered file.",
        )
    file = _file(path, clip)
    if file is None:
        raise ConfigError(f"{place}: the clip names no file.", remedy="Link its take.")
    shown, taken = track.range_of_child(clip), clip.trimmed_range()
    available = clip.media_reference.available_range
    begins = _seconds(taken.start_time) - (Fraction(0) if available is None else _seconds(available.start_time))
    start, length = _seconds(shown.start_time), _seconds(taken.duration)
    return Segment(
        start, start + length, person, SegmentAudio(file, start=begins, end=begins + length), place=place
    )


def _video(path: Path, edit: otio.schema.Timeline) -> Path | None:
    clips = [clip for track in edit.video_tracks() for clip in track.find_clips()]
    files = {_file(path, clip) for clip in clips}
    return files.pop() if len(files) == 1 and len(clips) == 1 else None


def _file(path: Path, clip: Any) -> Path | None:
    url = getattr(clip.media_reference, "target_url", None)
    if not url:
        return None
    parts = urlsplit(url)
    return path.parent / (unquote(parts.path) if parts.scheme == "file" else url)


def _seconds(time: otio.opentime.RationalTime) -> Fraction:
    """Exactly; rates such as 23.976 are the fractions of 1001 that they stand for."""
    rate = Fraction(time.rate)
    if rate.denominator != 1:
        rate = Fraction(round(time.rate * 1001 / 1000) * 1000, 1001)
    return Fraction(time.value) / rate


def _ours(thing: Any, key: str) -> str:
    return str(thing.metadata.get(METADATA, {}).get(key, ""))


def _place(path: Path, lines: list[str], name: str) -> str:
    quoted = json.dumps(name)
    line = next((number for number, line in enumerate(lines, 1) if "name" in line and quoted in line), None)
    return f"{path}, clip '{name}'" if line is None else f"{path}, line {line}, clip '{name}'"
