"""Subtitles that say who speaks: SubRip (.srt) and WebVTT (.vtt).

The name stands in a voice tag, `<v Anna>`, or before a colon, `Anna: ...`, or in brackets, `[Anna] ...`. A cue of
nothing but brackets or notes, as `[music]`, is nobody's. Several speakers in one cue, on lines of their own, speak at
the same time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from latentsync.scene.document import line_error, read_text, seconds_of
from latentsync.scene.model import Scene, Segment
from latentsync.scene.readers.turns import scene_of_turns

PAUSE = Fraction(1, 2)  # seconds between two cues of a speaker that are one segment: cues end where a line does
_TIMES = re.compile(r"([\d:.,]+)\s+-->\s+([\d:.,]+)(?:\s.*)?")
_NAMES = (
    re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>"),
    re.compile(r"(?:<[^>]*>)*\s*-?\s*\[([^\]:]{1,40})\]\s*:?\s*[\w'“«¿¡]"),
    re.compile(r"(?:<[^>]*>)*\s*-?\s*([^\W\d_][^:<>\[\]]{0,39}):(?:\s|$)"),
)
_NOBODY = re.compile(r"(?:<[^>]*>|[\s\-♪♫#]|\[[^\]]*\]|\([^)]*\))*(?:[♪♫].*)?")
_BLOCKS = ("NOTE", "STYLE", "REGION")  # of WebVTT, and no cues
_REMEDY = "A cue is a line such as 00:00:01.000 --> 00:00:04.200 and below it 'Anna: ...' or '<v Anna>...'."


def read_subtitles(path: Path) -> Scene:
    """The cues as segments that take the scene's audio. Raises ``ConfigError`` with the line of a fault."""
    text = read_text(path, "The subtitle file")
    if path.suffix.lower() == ".vtt" and not text.startswith("WEBVTT"):
        raise line_error(path, 1, "it does not begin with WEBVTT", "Give a WebVTT file, or name it .srt.")
    turns: list[Segment] = []
    for number, lines in _blocks(text):
        place = next((k for k, line in enumerate(lines) if "-->" in line), None)
        if place is None:
            if lines[0].startswith(("WEBVTT", *_BLOCKS)):
                continue
            raise line_error(path, number, "these lines have no times", _REMEDY)
        turns += _turns(path, number + place, lines[place], lines[place + 1 :])
    if not turns:
        raise line_error(path, 1, "no cue names a speaker", _REMEDY)
    return scene_of_turns(turns, PAUSE)


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the first line, and the lines, of what stands between empty lines."""
    block: list[str] = []
    lines = text.splitlines()
    for number, line in enumerate([*lines, ""], 1):
        if line.strip():
            block.append(line.strip())
        elif block:
            yield number - len(block), block
            block = []


def _turns(path: Path, number: int, times: str, lines: list[str]) -> list[Segment]:
    match = _TIMES.fullmatch(times)
    start, end = (seconds_of(match[1]), seconds_of(match[2])) if match else (None, None)
    if start is None or end is None or end <= start:
        raise line_error(path, number, f"'{times[:60]}' is no start with a later end", _REMEDY)
    names = list(dict.fromkeys(name for line in lines for name in _names(line)))
    if not names and not _NOBODY.fullmatch(" ".join(lines)):
        raise line_error(
            path, number, "nobody is named as the speaker of this cue", "Write 'Anna: ...' or '<v Anna>...'."
        )
    return [Segment(start, end, name, place=f"{path}, line {number}") for name in names]


def _names(line: str) -> list[str]:
    voices = [name.strip() for name in _NAMES[0].findall(line)]
    return voices or [match[1].strip() for pattern in _NAMES[1:] if (match := pattern.match(line))][:1]
