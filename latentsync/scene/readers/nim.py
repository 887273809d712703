"""Boxes of speakers, frame by frame, as NVIDIA's LipSync NIM takes them.

As JSON: `{"frames": [{"speakers": [{"bbox": [x, y, width, height], "speaker_id": 1, "is_speaking": true}], "bypass":
false}, ...]}`, an entry for each frame. As CSV, a line for each speaker in a frame, with the columns

    frame,x,y,width,height,speaker_id,is_speaking,bypass

A speaker is the person whose face is in the box when they first speak; the segments are the runs of frames in which
they speak and that are not bypassed. A frame for which no speaker is given leaves the choice to the program, which is
the largest face. The scene's audio is that of all speakers.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from latentsync.errors import ConfigError
from latentsync.scene.document import Document, Value, line_error, number_of, read_text
from latentsync.scene.model import PersonChoice, Scene, Segment, face_at

COLUMNS = ("frame", "x", "y", "width", "height", "speaker_id", "is_speaking", "bypass")
ANYBODY = "largest"  # who is dubbed in frames for which no speaker is given
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}
_REMEDY = f"The columns are {','.join(COLUMNS)}, with a line for each speaker in a frame."


@dataclass(frozen=True, slots=True)
class _Speaking:
    """A speaker whose mouth follows the audio in a frame; ``centre`` of the box in pixels."""

    frame: int
    speaker: str
    centre: tuple[Fraction, Fraction] | None
    place: str


def read_nim_json(document: Document, fps: Fraction | None) -> Scene:
    """From JSON. Raises ``ConfigError`` with the line of a fault."""
    frames = document.top.mapping()["frames"].items()
    return _scene(document.path, (one for number, frame in enumerate(frames) for one in _frame(number, frame)), fps)


def _frame(number: int, value: Value) -> Iterator[_Speaking]:
    given = value.mapping()
    if "bypass" in given and given["bypass"].truth():
        return
    speakers = list(given["speakers"].items()) if "speakers" in given and not given["speakers"].is_empty else []
    if not speakers:
        yield _Speaking(number, ANYBODY, None, f"frame {number}")
    for each in speakers:
        speaker = each.mapping(needed=("bbox", "speaker_id", "is_speaking"))
        box = [side.number() for side in speaker["bbox"].items()]
        if len(box) != 4 or min(box[2:]) <= 0:
            raise speaker["bbox"].error("a box is four numbers: x, y, width, height")
        if speaker["is_speaking"].truth():
            yield _Speaking(number, speaker["speaker_id"].text(), _centre(*box), f"frame {number}")


def read_nim_csv(path: Path, fps: Fraction | None) -> Scene:
    """From CSV. Raises ``ConfigError`` with the line of a fault."""
    rows = csv.DictReader(read_text(path, "The table of speakers").splitlines())
    found = tuple(name.strip() for name in rows.fieldnames or ())
    missing = [name for name in COLUMNS[:-1] if name not in found]
    if missing:
        raise line_error(path, 1, f"the column {missing[0]} is missing", _REMEDY)
    rows.fieldnames = list(found)
    return _scene(path, _rows(path, rows), fps)


def _rows(path: Path, rows: csv.DictReader) -> Iterator[_Speaking]:
    for row in rows:
        line = rows.line_num

        def number(name: str, row: dict[str, str] = row, line: int = line) -> Fraction:
            found = number_of(row[name] or "")
            if found is None:
                raise line_error(path, line, f"'{row[name] or ''}' is no number ({name})", _REMEDY)
            return found

        def truth(name: str, row: dict[str, str] = row, line: int = line) -> bool:
            given = (row.get(name) or "").strip().lower()
            if given not in _TRUTH:
                raise line_error(path, line, f"'{given}' is neither true nor false ({name})", _REMEDY)
            return _TRUTH[given]

        frame, speaker = number("frame"), (row["speaker_id"] or "").strip()
        if frame < 0 or frame.denominator != 1:
            raise line_error(path, line, f"'{row['frame']}' is no number of a frame", _REMEDY)
        if not speaker:
            raise line_error(path, line, "speaker_id is empty", _REMEDY)
        sides = [number(name) for name in COLUMNS[1:5]]
        if min(sides[2:]) <= 0:
            raise line_error(path, line, "a box needs a width and a height", _REMEDY)
        if truth("is_speaking") and not truth("bypass"):
            yield _Speaking(int(frame), speaker, _centre(*sides), f"{path}, line {line}")


def _centre(x: Fraction, y: Fraction, width: Fraction, height: Fraction) -> tuple[Fraction, Fraction]:
    return max(x + width / 2, Fraction(0)), max(y + height / 2, Fraction(0))


def _scene(path: Path, speaking: Iterable[_Speaking], fps: Fraction | None) -> Scene:
    if fps is None:
        raise ConfigError(f"{path} counts frames, and nothing says how long one lasts.", remedy="Name the video too.")
    runs: dict[str, list[list[_Speaking]]] = {}
    for one in sorted(speaking, key=lambda each: each.frame):
        known = runs.setdefault(one.speaker, [])
        if known and one.frame - known[-1][-1].frame <= 1:
            known[-1] = [known[-1][0], one]
        else:
            known.append([one])
    if not runs:
        raise ConfigError(f"Nobody speaks in any frame of {path}.", remedy="Set is_speaking where somebody does.")
    people, segments = [], []
    for speaker, its in runs.items():
        people.append(PersonChoice(speaker, _face(its[0][0], fps)))
        for run in its:
            place = run[0].place if "," in run[0].place else f"{path}, {run[0].place}"
            segments.append(Segment(run[0].frame / fps, (run[-1].frame + 1) / fps, speaker, place=place))
    return Scene(tuple(people), tuple(sorted(segments, key=lambda segment: segment.start)))


def _face(first: _Speaking, fps: Fraction) -> str:
    if first.centre is None:
        return ANYBODY
    return face_at(*first.centre, first.frame / fps)
