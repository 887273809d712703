"""Sentences to be said: English by word frequencies, those of the GRID corpus, and nonsense of other languages.

They mean nothing. What counts is that sounds follow one another as they do in speech.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from latentsync.data.grid import sentence_of
from latentsync.data.speech.alignment import load_pocketsphinx

GRID_SHARE = 0.15  # of the English sentences
_FLATTENED = 0.75  # exponent of word frequencies: below 1 rare words come more often
_TRIED = 100  # words among which the one before chooses
_LOG_BASE = np.log(1.0001)  # of pocketsphinx's probabilities
_LEAST = -(10**8)  # in that base: what the language model gives to words that it lacks

# Language -> onsets, vowels, codas as that language spells them; an empty onset or coda is written "-".
_SYLLABLES = {
    "it": ("b c d f g l m n p r s t v z gi ci sc gl gn ch qu tr st pr br -", "a e i o u à ò ia io", "- - - l n r"),
    "fi": ("h j k l m n p r s t v - -", "a e i o u y ä ö aa ii uu ää uo ie ai", "- - n s t l kk tt ll"),
    "cs": ("b c č d ď f g h ch j k l m n ň p r ř s š t v z ž st pr", "a á e é ě i í o u ou", "- - n k t š l r"),
    "ca": ("b c d f g l m n p r s t v x j ny ll qu tr br -", "a e i o u è ó", "- - s n l r t ny"),
    "de": ("b d f g h j k l m n p r s sch st t w z pf kr br -", "a e i o u ä ö ü au ei eu ie", "- n t ch r s l nd ng"),
    "es": ("b c d f g j l ll m n ñ p r rr s t ch qu v y tr pr -", "a e i o u ie ue", "- - s n r l d"),
    "fr": ("b ch d f g j l m n gn p r s t v z tr br pl -", "a é è i o u ou eu an on in oi", "- - - r l c t"),
    "pl": ("b c cz d f g h j k l ł m n ń p r rz s sz ś t w z ż", "a e i o u ó y ę ą", "- - m n k ł j"),
    "pt-br": ("b c d f g j l lh m n nh p r s t v x z tr qu -", "a e i o u ã ão é ô", "- - s r l m"),
    "sv": ("b d f g h j k l m n p r s sj t tj v st -", "a e i o u y å ä ö", "- n r t l ng s"),
    "tr": ("b c ç d f g h j k l m n p r s ş t v y z -", "a e ı i o ö u ü", "- n r k l m t"),
    "nl": ("b d f g h j k l m n p r s sch t v w z -", "a e i o u aa ee oo oe ui ij", "- n t s r cht l"),
}
FOREIGN = tuple(_SYLLABLES)


def english_sentences(seed: int, count: int) -> list[str]:
    """``count`` English sentences of lower-case words, all in pocketsphinx's dictionary; some are GRID's.

    Raises ``PackageMissingError`` without that package.
    """
    sentences = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        if rng.random() < GRID_SHARE:
            sentences.append(sentence_of("".join(str(rng.choice(list(letters))) for letters in _GRID_LETTERS)))
        else:
            sentences.append(_english(rng))
    return sentences


def foreign_sentences(language: str, seed: int, count: int) -> list[str]:
    """``count`` sentences of nonsense words as ``language``, one of ``FOREIGN``, could have them."""
    onsets, vowels, codas = (letters.replace("-", "").split(" ") for letters in _SYLLABLES[language])
    rng = np.random.default_rng([seed, FOREIGN.index(language)])

    def word() -> str:
        syllables = range(int(rng.integers(1, 4)))
        return "".join(str(rng.choice(part)) for _ in syllables for part in (onsets, vowels, codas))

    return [" ".join(word() for _ in range(int(rng.integers(4, 9)))) for _ in range(count)]


_GRID_LETTERS = ("blps", "bgrw", "abiw", "abcdefghijklmnopqrstuvxyz", "z123456789", "anps")


def _english(rng: np.random.Generator) -> str:
    """Each word follows from the one before by pocketsphinx's language model."""
    model, words, logarithms, shares = _vocabulary()
    said: list[str] = []
    for _ in range(int(rng.integers(5, 13))):
        tried = rng.choice(len(words), size=_TRIED, p=shares)
        likely = np.array([model.prob([words[k], *said[-1:]]) for k in tried]) * _LOG_BASE
        odds = np.exp(0.8 * (likely - _FLATTENED * logarithms[tried] - np.max(likely - _FLATTENED * logarithms[tried])))
        said.append(words[int(rng.choice(tried, p=odds / odds.sum()))])
    return " ".join(said)


@cache
def _vocabulary() -> tuple:
    """The language model, its words, their logarithms and the shares with which they are tried."""
    library = load_pocketsphinx()
    model = library.NGramModel(library.Config(), library.LogMath(), library.get_model_path("en-us/en-us.lm.bin"))
    lines = Path(library.get_model_path("en-us/cmudict-en-us.dict")).read_text(encoding="utf-8").splitlines()
    spelled = sorted({line.split()[0] for line in lines if line.split()[0].replace("'", "").isalpha()})
    words = [word for word in spelled if len(word) > 1 or word in "ai"]
    logarithms = np.array([model.prob([word]) for word in words], np.float64)
    words = [word for word, value in zip(words, logarithms, strict=True) if value > _LEAST]
    logarithms = logarithms[logarithms > _LEAST] * _LOG_BASE
    shares = np.exp(_FLATTENED * logarithms)
    return model, words, logarithms, shares / shares.sum()
