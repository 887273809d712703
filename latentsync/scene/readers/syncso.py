"""A generation request of sync.so, as its SDK (`syncsdk` 0.3) sends it, with `segments`.

`input` has a video and audios with a `refId`; each segment has `startTime`, `endTime` and the `audioInput` that is
spoken in it, of which `startTime` and `endTime` may take a part. Nothing is fetched: a `url` is a path, or the name of
a file that lies beside the request. Who speaks is `active_speaker_detection`, in the `optionsOverride` of a segment or
in the `options` of all: a point in a frame, whoever speaks (`auto_detect`), or, without it, the largest face. The same
choice is the same person.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote, urlsplit

from latentsync.scene.document import Document, Value
from latentsync.scene.model import PersonChoice, Scene, Segment, SegmentAudio, face_at

SPEAKER = "speaker"  # the name of the first person of a request, which names nobody; others have a number
LARGEST, SPEAKING = "largest", "speaking"  # ``face.selection``
_AS_FILE = "Save it beside the request, and give its name as url."


def read_syncso(document: Document, fps: Fraction | None) -> Scene:
    """From JSON. ``fps``: of the video, for a speaker who is named in a frame. Raises ``ConfigError`` with the line."""
    given = document.top.mapping(needed=("input", "segments"))
    audios: dict[str, Path] = {}
    video: Path | None = None
    for value in given["input"].items():
        item = value.mapping(needed=("type",))
        kind = item["type"].text()
        if kind == "video":
            video = _file(document, value, item)
        elif kind == "audio":
            file = _file(document, value, item)
            if "refId" not in item:
                raise value.error("this audio has no refId, so no segment can name it", "Give it a refId.")
            audios[item["refId"].text()] = file
        elif kind == "text":
            raise value.error("speech from text is not made here", f"Make the audio with that service. {_AS_FILE}")
        else:
            raise item["type"].error(f"there is no input of the type '{kind}'", "The types are video and audio.")
    default = _face(given["options"], fps) if "options" in given and not given["options"].is_empty else LARGEST
    names: dict[str, str] = {}  # of people, by the choice of a face
    segments = tuple(_segment(value, audios, names, default, fps) for value in given["segments"].items())
    return Scene(tuple(PersonChoice(name, face) for face, name in names.items()), segments, video=video)


def _file(document: Document, value: Value, item: dict[str, Value]) -> Path:
    if "url" not in item or item["url"].is_empty:
        raise value.error("an assetId is known to that service only", _AS_FILE)
    url = item["url"].text()
    parts = urlsplit(url)
    name = unquote(parts.path) if parts.scheme in ("http", "https", "file") else url
    if parts.scheme in ("http", "https"):
        path = document.path.parent / Path(name).name
        if not path.is_file():
            raise item["url"].error(f"{url} is on the web, and nothing is fetched", _AS_FILE)
        return path
    return document.path.parent / Path(name)


def _segment(value: Value, audios: dict[str, Path], names: dict[str, str], face: str, fps: Fraction | None) -> Segment:
    """``names`` gets the person of the segment, who is ``face`` unless it says otherwise."""
    given = value.mapping(needed=("startTime", "endTime", "audioInput"))
    audio = given["audioInput"].mapping(needed=("refId",))
    name = audio["refId"].text()
    if name not in audios:
        raise audio["refId"].error(f"no audio of the input has the refId '{name}'", "Add it to the input.")
    cropped = [key for key in ("startTime", "endTime") if key in audio and not audio[key].is_empty]
    if len(cropped) == 1:
        raise given["audioInput"].error("a part of an audio has a startTime and an endTime", "Give both, or neither.")
    spoken = SegmentAudio(audios[name])
    if cropped:
        spoken = SegmentAudio(audios[name], start=audio["startTime"].seconds(), end=audio["endTime"].seconds())
    start, end = given["startTime"].seconds(), given["endTime"].seconds()
    if "optionsOverride" in given and not given["optionsOverride"].is_empty:
        face = _face(given["optionsOverride"], fps, face)
    person = names.setdefault(face, f"{SPEAKER}-{len(names) + 1}" if names else SPEAKER)
    return Segment(start, end, person, spoken, place=value.place)


def _face(options: Value, fps: Fraction | None, default: str = LARGEST) -> str:
    given = options.mapping()
    if "active_speaker_detection" not in given or given["active_speaker_detection"].is_empty:
        return default
    choice = given["active_speaker_detection"].mapping()
    given = {name: value for name, value in choice.items() if not value.is_empty}
    whoever = "auto_detect" in given and given["auto_detect"].truth()
    point, boxes = None, []
    if "coordinates" in given:
        point = [side.number() for side in given["coordinates"].items()]
        if len(point) != 2 or min(point) < 0:
            raise given["coordinates"].error("a point is two numbers from 0: x, y")
    elif "bounding_boxes" in given:
        for value in given["bounding_boxes"].items():
            boxes.append([] if value.is_empty else [side.number() for side in value.items()])
            if len(boxes[-1]) not in (0, 4):
                raise value.error("a box is four numbers: x1, y1, x2, y2")
    frame = given["frame_number"].whole() if "frame_number" in given else 0

    def rate() -> Fraction:
        if fps is None:
            raise options.error("the speaker is named in a frame, and nothing says when that is", "Name the video too.")
        return fps

    return speaker_face(whoever, point, frame, boxes, rate)


def speaker_face(
    whoever_speaks: bool,
    point: Sequence[float | Fraction] | None,
    frame: int,
    boxes: Sequence[Sequence[float | Fraction] | None],
    fps: Callable[[], Fraction],
) -> str:
    """Whom an ``active_speaker_detection`` means, in the syntax of ``--face``.

    Whoever speaks, else who is at a ``point`` (x, y) of a ``frame``, else in the first of the ``boxes`` (x1, y1, x2,
    y2; one for each frame, None or empty where there is none), else the largest face. ``fps`` is asked only where a
    frame other than the first is named.
    """
    if whoever_speaks:
        return SPEAKING
    if point is None:
        frame, box = next(((number, box) for number, box in enumerate(boxes) if box), (0, None))
        if box is None:
            return LARGEST
        point = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return face_at(point[0], point[1], frame / fps() if frame else Fraction(0))
