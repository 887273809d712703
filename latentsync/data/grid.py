"""The GRID audio-visual sentence corpus (Cooke, Barker, Cunningham, Shao: J. Acoust. Soc. Am. 120, 2006), one talker.

A folder ``grid_s1`` of videos of 3 s, each a sentence of six words that its name codes ("bbaf2n": bin blue at f two
now), and beside it ``grid_s1_align`` with the times of the words. Which sentences are for training is fixed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from latentsync.data.manifest import TRAIN, VALIDATION
from latentsync.errors import DataError

TEST = "test"  # sentences that no training and no choice of weights may see
TALKER_FOLDER, WORDS_FOLDER = "grid_s1", "grid_s1_align"
SPEAKER = "grid s1"
FILE_RATE = 25_000  # units per second of the times of words

_HELD_OUT = 30  # sentences; the first half of them for validation
_COMMAND = {"b": "bin", "l": "lay", "p": "place", "s": "set"}
_COLOR = {"b": "blue", "g": "green", "r": "red", "w": "white"}
_PREPOSITION = {"a": "at", "b": "by", "i": "in", "w": "with"}
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGIT = dict(zip("z123456789", _DIGITS, strict=True))
_ADVERB = {"a": "again", "n": "now", "p": "please", "s": "soon"}


@dataclass(frozen=True, slots=True)
class GridSentence:
    """One clip. ``split`` is ``TRAIN``, ``VALIDATION`` or ``TEST``."""

    path: Path
    words: str
    split: str

    @property
    def name(self) -> str:
        """The six letters and digits that code the sentence."""
        return self.path.stem


def sentence_of(name: str) -> str:
    """The six words of the sentence that a file's name codes. Raises ``DataError`` for another name."""
    try:
        command, color, preposition, letter, digit, adverb = list(name.lower())
        words = [_COMMAND[command], _COLOR[color], _PREPOSITION[preposition], letter, _DIGIT[digit], _ADVERB[adverb]]
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{name} codes no sentence of the GRID corpus.",
            remedy="Its videos are called as they come, six letters and digits: bbaf2n.mpg.",
        ) from error
    return " ".join(words)


def grid_sentences(people: Path) -> tuple[GridSentence, ...]:
    """The clips in ``people``/grid_s1 by name, each on its side: 15 each for validation and test, the rest to train.

    The sides follow from the names alone. Raises ``DataError`` if there are none, or too few to hold any out.
    """
    files = sorted((people / TALKER_FOLDER).glob("*.mpg"))
    if len(files) <= _HELD_OUT:
        raise DataError(
            f"{people / TALKER_FOLDER} holds {len(files)} videos; more than {_HELD_OUT} are needed.",
            remedy="people=DIR names a folder with grid_s1 in it, see docs/train_builtin.md; or leave it away.",
        )
    ranked = sorted(files, key=lambda file: hashlib.blake2b(file.stem.encode(), digest_size=8).digest())
    sides = dict.fromkeys(files, TRAIN)
    sides |= {file: VALIDATION if k < _HELD_OUT // 2 else TEST for k, file in enumerate(ranked[:_HELD_OUT])}
    return tuple(GridSentence(file, sentence_of(file.stem), sides[file]) for file in files)


def word_times(people: Path, sentence: GridSentence) -> list[tuple[str, float, float]]:
    """The words and silences ("sil") of a sentence with start and end in s, as the corpus gives them.

    Raises ``DataError`` for a file that is missing or says something else.
    """
    path = people / WORDS_FOLDER / f"{sentence.name}.align"
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [(word, int(start) / FILE_RATE, int(end) / FILE_RATE) for start, end, word in rows]
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} does not give the times of words: {error}.", remedy="Lay the file there again, or none."
        ) from error
