"""RTTM, what diarizers write (NIST, Rich Transcription 2009): a line for each turn of a speaker.

    SPEAKER interview 1 0.00 4.20 <NA> <NA> anna <NA> <NA>
"""

from __future__ import annotations

from pathlib import Path

from latentsync.scene.document import line_error, read_text, seconds_of
from latentsync.scene.model import Scene, Segment
from latentsync.scene.readers.turns import scene_of_turns

_REMEDY = "A turn is: SPEAKER file channel start duration <NA> <NA> name <NA> <NA>."
_OTHER_TYPES = {
    *("SPKR-INFO", "LEXEME", "NON-LEX", "NON-SPEECH", "NOSCORE", "NO_RT_METADATA", "SEGMENT"),
    *("FILLER", "EDIT", "IP", "SU", "CB", "A/P", "SPKR_CHANGE"),
}  # of the format, and no turns


def read_rttm(path: Path) -> Scene:
    """The turns as segments that take the scene's audio. Raises ``ConfigError`` with the line of a fault."""
    turns, files = [], dict[str, int]()
    for number, line in enumerate(read_text(path, "The RTTM file").splitlines(), 1):
        fields = line.split()
        if not fields or line.startswith(";;") or fields[0] in _OTHER_TYPES:
            continue
        if fields[0] != "SPEAKER":
            raise line_error(path, number, f"'{fields[0][:40]}' begins no line of RTTM", _REMEDY)
        if len(fields) < 8:
            raise line_error(path, number, f"a turn has at least 8 fields, this one {len(fields)}", _REMEDY)
        start, duration = seconds_of(fields[3]), seconds_of(fields[4])
        if start is None or start < 0 or duration is None or duration < 0:
            raise line_error(path, number, f"'{fields[3]} {fields[4]}' is no start with a duration", _REMEDY)
        files.setdefault(fields[1], number)
        if len(files) > 1:
            raise line_error(path, number, f"turns of another file, '{fields[1]}'", "Give the lines of one recording.")
        if duration:
            turns.append(Segment(start, start + duration, fields[7], place=f"{path}, line {number}"))
    if not turns:
        raise line_error(path, 1, "there is no turn in it", _REMEDY)
    return scene_of_turns(turns)
