"""What dictionaries, aligners and synthesizers call speech sounds, in the sounds of ``talkers.phones``.

Diphthongs and affricates become two sounds one after the other. Vowels that the talkers lack go to the nearest one by
lips and formants. Symbols that no table has are unknown: nothing is learnt from their stretch of time.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from latentsync.data.talkers.speech import Utterance

UNKNOWN = "?"  # in place of a phone's name
ALPHABETS = ("arpabet", "sampa", "ipa")

_FIRST_HALF = 0.6  # share of a diphthong that its first part takes
_REDUCED = 0.075  # s below which the vowel of "but" is that of "the"; dictionaries write both alike

_ARPABET = {
    "aa": "a", "ae": "ae", "ah": "A", "ao": "O", "aw": "a U", "ax": "@", "axr": "r", "ay": "a I", "b": "b", "ch": "t S",
    "d": "d", "dh": "D", "dx": "d", "eh": "e", "el": "l", "em": "m", "en": "n", "er": "r", "ey": "e I", "f": "f",
    "g": "g", "hh": "h", "hv": "h", "ih": "I", "ix": "I", "iy": "i", "jh": "d Z", "k": "k", "l": "l", "m": "m",
    "n": "n", "ng": "N", "nx": "n", "ow": "o U", "oy": "O I", "p": "p", "r": "r", "s": "s", "sh": "S", "sil": "sil",
    "pau": "sil", "h#": "sil", "brth": "sil", "+nsn+": "sil", "+spn+": "sil", "ssil": "sil", "t": "t", "th": "T",
    "uh": "U", "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "Z",
}  # fmt: skip
# The phone sets of festival's Italian, Finnish, Czech and Catalan voices; marks of length and stress are taken off.
_SAMPA = {
    "#": "sil", "_": "sil", "pau": "sil", "a": "a", "e": "e", "E": "e", "i": "i", "o": "o", "O": "O", "u": "u",
    "y": "y", "{": "ae", "ax": "@", "j": "j", "w": "w", "l": "l", "L": "l j", "r": "rr", "rr": "rr", "m": "m", "n": "n",
    "ng": "N", "N": "N", "n*": "N", "nf": "m", "J": "n j", "n~": "n j", "p": "p", "b": "b", "t": "t", "t~": "t j",
    "d": "d", "d~": "d j", "k": "k", "g": "g", "f": "f", "v": "v", "s": "s", "z": "z", "S": "S", "Z": "Z", "s~": "S",
    "z~": "Z", "c": "t s", "c~": "t S", "ts": "t s", "dz": "d z", "tS": "t S", "dZ": "d Z", "h": "h", "ch": "x",
    "D": "D", "T": "T",
}  # fmt: skip
_IPA = {
    "#": "sil", "a": "a", "ɑ": "a", "ɐ": "A", "ʌ": "A", "æ": "ae", "e": "e", "ɛ": "e", "ə": "@", "ɚ": "r", "ɜ": "r",
    "ɘ": "@", "i": "i", "ɪ": "I", "ɨ": "I", "ᵻ": "I", "o": "o", "ɔ": "O", "ɒ": "O", "ø": "y", "œ": "y", "u": "u",
    "ʊ": "U", "y": "y", "ʏ": "y", "w": "w", "j": "j", "ɹ": "r", "r": "rr", "ɾ": "rr", "l": "l", "ɫ": "l",
    "ʎ": "l j", "m": "m", "n": "n", "ɲ": "n j", "ŋ": "N", "p": "p", "b": "b", "t": "t", "d": "d", "k": "k", "g": "g",
    "ɡ": "g", "f": "f", "v": "v", "θ": "T", "ð": "D", "s": "s", "z": "z", "ʃ": "S", "ʒ": "Z", "ɕ": "S",
    "ʑ": "Z", "ʂ": "S", "ʐ": "Z", "x": "x", "χ": "x", "ç": "x", "h": "h", "ɦ": "h",
    "ɣ": "g", "β": "b", "c": "t j", "ɟ": "d j", "ʋ": "v",
}  # fmt: skip
_MARKS = "ˈˌː:ˑʲʰ̩̯̃'"
_TABLES = {"arpabet": _ARPABET, "sampa": _SAMPA, "ipa": _IPA}


def translate(symbols: Iterable[tuple[str, float, float]], alphabet: str) -> Utterance:
    """The phones of ``symbols`` (name, start and end in s, one after the other) that ``alphabet`` calls so.

    What is unknown keeps its time under the name ``UNKNOWN``. Raises ``KeyError`` for another alphabet.
    """
    names: list[str] = []
    borders: list[tuple[float, float]] = []
    for symbol, start, end in symbols:
        parts = _sounds(symbol, alphabet)
        if alphabet == "arpabet" and parts == ["A"] and end - start < _REDUCED:
            parts = ["@"]
        middle = start + _FIRST_HALF * (end - start)
        spans = [(start, end)] if len(parts) == 1 else [(start, middle), (middle, end)]
        names += parts
        borders += spans
    starts, ends = np.array(borders, np.float64).reshape(-1, 2).T
    return Utterance(tuple(names), starts, ends, np.ones(len(names)))


def _sounds(symbol: str, alphabet: str) -> list[str]:
    """One or two names of phones."""
    table = _TABLES[alphabet]
    if alphabet == "arpabet":
        return table.get(symbol.lower().rstrip("012"), UNKNOWN).split()
    bare = "".join(letter for letter in symbol if letter not in _MARKS)
    if alphabet == "sampa":
        bare = bare.rstrip("1") or bare
        return table.get(bare, UNKNOWN).split()
    sounds = [name for letter in bare for name in table.get(letter, UNKNOWN).split()]
    return [UNKNOWN] if UNKNOWN in sounds or not 1 <= len(sounds) <= 2 else sounds
