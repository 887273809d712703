"""Which phone is said when, for a recording whose words are known: forced alignment by pocketsphinx.

The package carries a US English acoustic model and a pronouncing dictionary, so this works for English only. The words
are placed first, each with the pronunciation that fits best, then the phones within them.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from latentsync.constants import AUDIO_RATE
from latentsync.data.speech.symbols import translate
from latentsync.data.talkers.speech import Utterance
from latentsync.errors import DataError
from latentsync.extras import package_missing

_FRAME = 0.01  # s, what times of an alignment are multiples of


@cache
def load_pocketsphinx() -> ModuleType:
    """The library, which then writes nothing to the console. Raises ``PackageMissingError`` where it is not."""
    try:
        import pocketsphinx
    except ImportError as error:
        raise package_missing("Finding the phones of recordings", "train", error) from error
    pocketsphinx.set_loglevel("FATAL")
    return pocketsphinx


def align_words(waveform: np.ndarray, words: str, name: str) -> Utterance:
    """The phones of ``waveform`` (n,) in [-1, 1] at 16 kHz in which the English ``words`` are said, with silences.

    Raises ``DataError``, with the recording's ``name``, for words that the dictionary lacks or that are not said there,
    and ``PackageMissingError``.
    """
    decoder = _decoder()
    samples = np.rint(np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes()
    spoken = words.lower().split()
    strangers = [word for word in spoken if decoder.lookup_word(word) is None]
    if strangers or not spoken:
        raise DataError(
            f"{name}: the dictionary of pocketsphinx has no {', '.join(strangers) or 'words, since none are given'}.",
            remedy="Write numbers and abbreviations out, or leave the recording away.",
        )
    try:
        decoder.set_align_text(" ".join(spoken))
        _decode(decoder, samples)
        decoder.set_alignment()  # the phones of the words that were found
        _decode(decoder, samples)
        phones = [phone for word in decoder.get_alignment() for phone in word]
    except (RuntimeError, TypeError) as error:
        raise DataError(
            f"{name}: its words are not found in what is said ({error}).",
            remedy="See that the text belongs to the recording.",
        ) from error
    times = [(p.name, p.start * _FRAME, (p.start + p.duration) * _FRAME) for p in phones]
    return translate(times, "arpabet")


@cache
def _decoder() -> Any:
    """One per process: reading the dictionary takes longer than aligning a sentence."""
    return load_pocketsphinx().Decoder(samprate=AUDIO_RATE, loglevel="FATAL", lm=None, bestpath=False)


def _decode(decoder: Any, samples: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(samples, full_utt=True)
    decoder.end_utt()
