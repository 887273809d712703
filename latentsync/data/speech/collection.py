"""All speech that there is to learn from, with phones and mouths, put together once and kept.

What is missing is said and left out: the GRID talker, a folder of recordings, programs that speak.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentsync.constants import FEATURE_RATE, MODEL_FPS
from latentsync.data.grid import (
    SPEAKER,
    TEST,
    GridSentence,
    grid_sentences,
    make_grid_crops,
    measured_mouth,
    word_times,
)
from latentsync.data.manifest import VALIDATION, content_hash, read_manifest
from latentsync.data.speech.alignment import align_words, load_pocketsphinx
from latentsync.data.speech.recordings import SAMPLES_PER_POSITION, Recording, read_recordings, write_recordings
from latentsync.data.speech.synthesizers import ENGLISH, SyntheticVoice, installed_voices, speak_sentences
from latentsync.data.speech.texts import english_sentences, foreign_sentences
from latentsync.data.talkers.speech import Utterance
from latentsync.errors import DataError, PackageMissingError
from latentsync.face.detector import FaceDetector
from latentsync.media.audio import audio_delay, read_audio

logger = logging.getLogger(__name__)

RECORDED = "recorded"  # first word of the voices in a folder of recordings

_VERSION = 1
_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg")
_HELD_OUT_ONE_IN = 9  # voices of programs and folders are for validation
_APART = 0.2  # s that the first word of a sentence may be off from where the corpus has it


@dataclass(frozen=True, slots=True)
class SpeechSources:
    """Where speech comes from. ``people``: a folder with ``grid_s1``; ``recordings``: a folder VOICE/NAME.wav with the
    English words in NAME.txt; ``sentences`` said by each installed synthetic voice, by ``seed``; ``crop_side`` of the
    face crops from which the GRID talker's mouth is measured."""

    people: Path | None = None
    recordings: Path | None = None
    sentences: int = 0
    seed: int = 0
    crop_side: int = 128


@dataclass(frozen=True, slots=True)
class Speech:
    """Recordings of both sides. No voice of a program or a folder is on both; of the GRID talker no sentence is."""

    train: tuple[Recording, ...]
    validation: tuple[Recording, ...]


def gather_speech(sources: SpeechSources, cache: Path, detector: Callable[[], FaceDetector]) -> Speech:
    """What ``sources`` name, out of the files in ``cache`` or made for them now; ``detector`` is asked for only if
    faces have to be found.

    Raises ``DataError`` for a folder that is not as it should be.
    """
    try:
        load_pocketsphinx()
    except PackageMissingError as error:
        logger.info("Drawn talkers' speech only: %s %s", error.message, error.remedy)
        return Speech((), ())
    cache.mkdir(parents=True, exist_ok=True)
    train: list[Recording] = []
    validation: list[Recording] = []
    if sources.people is not None:
        for sentence, recording in _grid(sources.people, sources.crop_side, cache, detector):
            (validation if sentence.split == VALIDATION else train).append(recording)
        logger.info("%s: %d sentences to learn from, %d for validation", SPEAKER, len(train), len(validation))
    else:
        logger.info("No recordings of a real person: people=DIR names a folder with the GRID talker.")
    for voice, recordings in _voices(sources, cache):
        (validation if _held_out(voice) else train).extend(recordings)
    seconds = [sum(each.seconds for each in side) / 60 for side in (train, validation)]
    logger.info("speech: %.1f min to learn from, %.1f min for validation", *seconds)
    return Speech(tuple(train), tuple(validation))


def _grid(
    people: Path, side: int, cache: Path, detector: Callable[[], FaceDetector]
) -> Iterator[tuple[GridSentence, Recording]]:
    """The talker's sentences but those for tests, the mouth as measured."""
    sentences = [each for each in grid_sentences(people) if each.split != TEST]
    path = cache / f"grid-{_key([content_hash(each.path) for each in sentences], side)}.npz"
    if not path.is_file():
        crops = cache / f"grid_s1_{side}"
        clips = read_manifest(make_grid_crops(people, detector(), side, crops)).clips
        made = {clip.source: clip.path for clip in clips}
        write_recordings(path, [_grid_recording(people, each, made.get(each.name)) for each in sentences])
    yield from zip(sentences, read_recordings(path), strict=True)


def _grid_recording(people: Path, sentence: GridSentence, clip: Path | None) -> Recording:
    """With the mouth that was measured in ``clip``, if there is one."""
    waveform = read_audio(sentence.path)
    said = align_words(waveform, sentence.words, sentence.name)
    begins = word_times(people, sentence)[1][1]
    if abs(_first_sound(said) - begins) > _APART:
        logger.warning("%s: begins at %.2f s, by the corpus at %.2f s", sentence.name, _first_sound(said), begins)
    measured = None
    if clip is not None:
        mouth = measured_mouth(clip)
        positions = np.arange(len(waveform) // SAMPLES_PER_POSITION) / FEATURE_RATE + float(audio_delay(sentence.path))
        frames = np.arange(len(mouth)) / float(MODEL_FPS)
        measured = np.stack([np.interp(positions, frames, column) for column in mouth.T], axis=1)
    return Recording.of(sentence.name, SPEAKER, waveform, said, measured)


def _first_sound(said: Utterance) -> float:
    return next((float(start) for name, start in zip(said.phones, said.starts, strict=True) if name != "sil"), 0.0)


def _voices(sources: SpeechSources, cache: Path) -> Iterator[tuple[str, list[Recording]]]:
    """Name and recordings of every voice of the folder and of the installed programs."""
    if sources.recordings is not None:
        folders = [folder for folder in sorted(sources.recordings.iterdir()) if folder.is_dir()]
        for folder in folders:
            yield f"{RECORDED} {folder.name}", _from_folder(folder, cache)
        logger.info("%s: %d voices", sources.recordings, len(folders))
    voices = installed_voices() if sources.sentences else ()
    there = {voice.program for voice in voices}
    for voice in voices:
        yield voice.title, _from_program(voice, sources, cache)
    for program in ("flite", "festival", "espeak-ng"):
        if sources.sentences and program not in there:
            logger.info("%s is not installed: its voices are left out.", program)


def _from_folder(folder: Path, cache: Path) -> list[Recording]:
    files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in _SUFFIXES]
    files = [file for file in files if file.with_suffix(".txt").is_file()]
    path = cache / f"{_slug(folder.name)}-{_key([content_hash(file) for file in files])}.npz"
    if not path.is_file():
        write_recordings(path, list(_aligned(files, f"{RECORDED} {folder.name}")))
    return list(read_recordings(path))


def _aligned(files: Sequence[Path], voice: str) -> Iterator[Recording]:
    for file in files:
        waveform = read_audio(file)
        try:
            said = align_words(waveform, file.with_suffix(".txt").read_text(encoding="utf-8"), str(file))
        except DataError as error:
            logger.warning("left out: %s", error.message)
            continue
        yield Recording.of(file.stem, voice, waveform, said)


def _from_program(voice: SyntheticVoice, sources: SpeechSources, cache: Path) -> list[Recording]:
    path = cache / f"{_slug(voice.title)}-{_key(sources.sentences, sources.seed)}.npz"
    if not path.is_file():
        seed = sources.seed + int.from_bytes(hashlib.blake2b(voice.title.encode(), digest_size=3).digest())
        if voice.language == ENGLISH:
            texts = english_sentences(seed, sources.sentences)
        else:
            texts = foreign_sentences(voice.language, seed, sources.sentences)
        logger.info("%s says %d sentences", voice.title, len(texts))
        write_recordings(path, speak_sentences(voice, texts))
    return list(read_recordings(path))


def _held_out(voice: str) -> bool:
    return hashlib.blake2b(voice.encode(), digest_size=4).digest()[0] % _HELD_OUT_ONE_IN == 0


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", name)


def _key(*values: object) -> str:
    return hashlib.blake2b(json.dumps([_VERSION, *values]).encode(), digest_size=6).hexdigest()
