"""Voices of other programs that say which phone they say when: flite, festival and espeak-ng.

All are packages of Linux distributions and none is required: a voice that is not installed is not there.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from latentsync.constants import AUDIO_RATE
from latentsync.data.speech.recordings import Recording
from latentsync.data.speech.symbols import translate
from latentsync.errors import DataError
from latentsync.media.audio import read_audio

ENGLISH = "en"
_SECONDS = 600  # after which a synthesizer that does not end is ended


@dataclass(frozen=True, slots=True)
class SyntheticVoice:
    """One voice of a ``program``; ``alphabet`` as in ``symbols.ALPHABETS``, ``language`` of the texts that it reads."""

    program: str
    name: str
    language: str
    alphabet: str

    @property
    def title(self) -> str:
        """What the recordings call it."""
        return f"{self.program} {self.name}"


_FLITE = ("kal16", "awb", "rms", "slt")
_FESTIVAL = {
    "ked_diphone": (ENGLISH, "arpabet"), "kal_diphone": (ENGLISH, "arpabet"),
    "cmu_us_slt_arctic_hts": (ENGLISH, "arpabet"), "lp_diphone": ("it", "sampa"), "pc_diphone": ("it", "sampa"),
    "suo_fi_lj_diphone": ("fi", "sampa"), "hy_fi_mv_diphone": ("fi", "sampa"), "czech_ph": ("cs", "sampa"),
    "czech_dita": ("cs", "sampa"), "czech_machac": ("cs", "sampa"), "upc_ca_ona_hts": ("ca", "sampa"),
}  # fmt: skip
_ENCODINGS = {"it": "latin-1", "fi": "latin-1", "cs": "iso-8859-2", "ca": "latin-1"}
_ESPEAK = (
    "en-us", "en-us+f2", "en-us+m3", "en-us+klatt2", "en-us+f4", "en-us+m7", "en-gb-x-rp", "en-gb-scotland+f3",
    "en+klatt4", "de", "de+f1", "es", "es+m5", "fr", "fr+f5", "pl", "pt-br+f2", "sv+m2", "tr+f3", "nl", "it+m4",
    "cs+f4", "fi+m1",
)  # fmt: skip


def installed_voices() -> tuple[SyntheticVoice, ...]:
    """The voices that this machine has."""
    voices = []
    if shutil.which("flite"):
        voices += [SyntheticVoice("flite", name, ENGLISH, "arpabet") for name in _FLITE]
    if shutil.which("festival"):
        there = _festival_voices()
        voices += [SyntheticVoice("festival", name, *kind) for name, kind in _FESTIVAL.items() if name in there]
    if ctypes.util.find_library("espeak-ng"):
        voices += [SyntheticVoice("espeak-ng", name, _language(name), "ipa") for name in _ESPEAK]
    return tuple(voices)


def speak_sentences(voice: SyntheticVoice, texts: Sequence[str]) -> list[Recording]:
    """``texts`` as said by ``voice``; what it cannot say is left out. Raises ``DataError`` if the program fails."""
    say = {"flite": _flite, "festival": _festival, "espeak-ng": _espeak}[voice.program]
    said = []
    with tempfile.TemporaryDirectory(prefix="latentsync-voice-") as scratch:
        for number, waveform, symbols in say(voice, texts, Path(scratch)):
            if symbols and len(waveform) > AUDIO_RATE // 2:
                name = f"{voice.title} {number}"
                said.append(Recording.of(name, voice.title, waveform, translate(symbols, voice.alphabet)))
    return said


Symbols = list[tuple[str, float, float]]  # name, start, end


def _flite(voice: SyntheticVoice, texts: Sequence[str], folder: Path) -> Iterator[tuple[int, np.ndarray, Symbols]]:
    target = folder / "said.wav"
    for number, text in enumerate(texts):
        told = _run(["flite", "-voice", voice.name, "-psdur", "-t", text, "-o", str(target)])
        ends = [part.rsplit(":", 1) for part in told.split() if ":" in part]
        yield number, read_audio(target), _from_ends([(name, float(end)) for name, end in ends])


def _festival(voice: SyntheticVoice, texts: Sequence[str], folder: Path) -> Iterator[tuple[int, np.ndarray, Symbols]]:
    """All texts in one process: loading a voice takes longer than a sentence."""
    script = folder / "say.scm"
    lines = [f"(voice_{voice.name})"]
    for number, text in enumerate(texts):
        base = folder / f"{number:05d}"
        lines += [
            f'(set! said (utt.synth (Utterance Text "{text}")))',
            f'(utt.save.wave said "{base}.wav")',
            f'(utt.save.segs said "{base}.segs")',
        ]
    script.write_bytes("\n".join(lines).encode(_ENCODINGS.get(voice.language, "utf-8"), "ignore"))
    _run(["festival", "-b", str(script)], may_fail=True)  # an error in one text ends it: what was said by then counts
    for number in range(len(texts)):
        base = folder / f"{number:05d}"
        if base.with_suffix(".segs").is_file() and base.with_suffix(".wav").is_file():
            rows = [line.split() for line in base.with_suffix(".segs").read_text(encoding="latin-1").splitlines()[1:]]
            ends = [(row[2], float(row[0])) for row in rows if len(row) >= 3]
            yield number, read_audio(base.with_suffix(".wav")), _from_ends(ends)


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """What espeak-ng reports while it speaks (``espeak_EVENT`` of its speak_lib.h)."""

    _fields_ = [
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", _Id),
    ]  # fmt: skip


_TO_CALLER, _PHONE_EVENTS, _AS_IPA, _UTF8, _PHONE, _LAST = 2, 1, 2, 1, 7, 0


def _espeak(voice: SyntheticVoice, texts: Sequence[str], _: Path) -> Iterator[tuple[int, np.ndarray, Symbols]]:
    library = ctypes.CDLL(ctypes.util.find_library("espeak-ng"))
    rate = library.espeak_Initialize(_TO_CALLER, 0, None, _PHONE_EVENTS | _AS_IPA)
    if rate <= 0 or library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        raise DataError(f"espeak-ng has no voice {voice.name}.", remedy="Install all of its package, data included.")
    samples: list[np.ndarray] = []
    events: list[tuple[str, float]] = []

    def receive(block: ctypes._Pointer, count: int, told: ctypes._Pointer) -> int:
        if count > 0:
            samples.append(np.ctypeslib.as_array(block, (count,)).copy())
        for event in iter(_Events(told).next, None):
            if event.type == _PHONE:
                events.append((event.id.string.decode("utf-8", "ignore"), event.sample / rate))
        return 0

    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
    callback = kind(receive)
    library.espeak_SetSynthCallback(callback)
    for number, text in enumerate(texts):
        samples.clear()
        events.clear()
        spelled = text.encode()
        library.espeak_Synth(spelled, len(spelled) + 1, 0, 1, 0, _UTF8, None, None)
        library.espeak_Synchronize()
        waveform = np.concatenate(samples or [np.zeros(0, np.int16)]).astype(np.float32) / 32768
        ends = [start for _, start in events[1:]] + [len(waveform) / rate]
        symbols = [(name or "#", start, end) for (name, start), end in zip(events, ends, strict=True) if end > start]
        yield number, _at_our_rate(waveform, rate), symbols


class _Events:
    """Walks an array of events to the one that says it is the last."""

    def __init__(self, told: ctypes._Pointer) -> None:
        self._told, self._number = told, -1

    def next(self) -> _Event | None:
        self._number += 1
        event = self._told[self._number]
        return None if event.type == _LAST else event


def _from_ends(ends: Sequence[tuple[str, float]]) -> Symbols:
    starts = [0.0, *(end for _, end in ends)]
    return [(name, start, end) for (name, end), start in zip(ends, starts, strict=False) if end > start]


def _at_our_rate(waveform: np.ndarray, rate: int) -> np.ndarray:
    if rate == AUDIO_RATE or not len(waveform):
        return waveform
    common = int(np.gcd(rate, AUDIO_RATE))
    return resample_poly(waveform, AUDIO_RATE // common, rate // common).astype(np.float32)


def _language(voice: str) -> str:
    name = voice.partition("+")[0]
    return ENGLISH if name.startswith("en") else name


def _festival_voices() -> set[str]:
    listed = _run(["festival", "-b", "(print (voice.list))"], may_fail=True)
    return set(listed.replace("(", " ").replace(")", " ").split())


def _run(command: list[str], may_fail: bool = False) -> str:
    """What a program prints. Raises ``DataError`` if it fails or does not end."""
    try:
        ended = subprocess.run(command, capture_output=True, timeout=_SECONDS, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"{command[0]} does not run: {error}.", remedy="Mend or remove that package.") from error
    if ended.returncode and not may_fail:
        said = ended.stderr.decode("utf-8", "replace").strip().splitlines()
        raise DataError(
            f"{command[0]} ended with {ended.returncode}: {said[-1] if said else 'it says nothing'}.",
            remedy="Mend or remove that package.",
        )
    return ended.stdout.decode("utf-8", "replace")
