"""Talkers as files: a video with audio, the truth beside it, and an image of many.

Arrays of NAME.npz, N frames, P people (the speaker first):

- ``landmarks`` (P, N, 68, 2), ``opening`` (P, N), ``visible`` (P, N), ``mouth_free`` (P, N), ``yaw`` (P, N): see
  ``clip.PersonTruth``
- ``cuts`` (C,) first frames of later shots
- ``phones``, ``phone_starts``, ``phone_ends``: what is said when the mouth says it, s
- ``waveform`` (n,) float32 at 16 kHz; ``fps`` (2,) numerator and denominator; ``av_offset_frames``
- ``identity_seed``, ``sentence_seed``, ``scene_seed``, ``case``
"""

from __future__ import annotations

import tempfile
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from latentsync.atomic import atomic_file
from latentsync.constants import AUDIO_RATE
from latentsync.data.talkers.clip import SpokenClip, TalkerClip, TalkerOptions, make_talker
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.types import ArrayFrame, Frame, VideoInfo

CASES = ("plain", "absent", "profile", "hand", "crossing", "cuts", "silence", "music", "music_only", "offset")
SHEET_CLIPS = 48  # as many as an image can show
_SHEET_COLUMNS = 4  # clips beside each other
_SHEET_TILE = 192  # height of a tile, pixels
_OFFSETS = (-6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6)  # frames, one after the other


def case_options(case: str, number: int, seconds: float) -> TalkerOptions:
    """The options of a named hard case for clip ``number`` of ``seconds``."""
    third = ((seconds / 3, 2 * seconds / 3),)
    return {
        "plain": TalkerOptions(),
        "absent": TalkerOptions(absences=third),
        "profile": TalkerOptions(profiles=third),
        "hand": TalkerOptions(hands=third),
        "crossing": TalkerOptions(crossing=True),
        "cuts": TalkerOptions(cuts=(seconds / 3, 2 * seconds / 3)),
        "silence": TalkerOptions(silences=third),
        "music": TalkerOptions(music="under"),
        "music_only": TalkerOptions(music="instead"),
        "offset": TalkerOptions(av_offset_frames=_OFFSETS[number % len(_OFFSETS)]),
    }[case]


def write_talker(
    folder: Path, number: int, seed: int, case: str, seconds: float, size: tuple[int, int], fps: Fraction, crf: int
) -> TalkerClip:
    """Draw clip ``number`` of a run and write its two files into ``folder``, over older ones of the same name.

    Raises ``OutputError`` and its kin where they cannot be written, ``ValueError`` for a clip without a frame.
    """
    seeds = np.random.SeedSequence([seed, number]).generate_state(3)
    options = case_options(case, number, seconds)
    clip = make_talker(*(int(s) for s in seeds), seconds=seconds, size=size, fps=fps, options=options)
    write_clip(folder / f"talker_{seed:04d}_{number:05d}_{case}.mp4", clip, case, options, crf)
    return clip


def write_clip(path: Path, clip: SpokenClip, case: str, options: TalkerOptions, crf: int, **more: Any) -> None:
    """Write a clip that was made with those ``options``, and its truth, with ``more`` arrays, beside it.

    Raises ``OutputError`` and its kin.
    """
    info = VideoInfo(path, clip.width, clip.height, clip.fps, clip.n_frames, clip.n_frames / clip.fps)
    with tempfile.TemporaryDirectory(prefix="talker_") as scratch:
        audio = Path(scratch) / "audio.wav"
        write_wav(audio, clip.waveform)
        write_video(path, _timed(clip), info, EncodingOptions(crf=crf), audio, overwrite=True)
    with atomic_file(path.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **_truth(clip, case, options), **more)


def write_wav(path: Path, waveform: np.ndarray) -> None:
    """A float waveform at 16 kHz as 16-bit PCM."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(AUDIO_RATE)
        file.writeframes(np.rint(np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes())


def contact_strip(clip: SpokenClip) -> np.ndarray:
    """(192, W, 3) uint8: a quarter into the clip, the mouth at its widest while it is seen, and three quarters in, side
    by side."""
    widest = int(np.argmax(np.where(clip.visible, clip.opening, -1.0)))
    moments = (clip.n_frames // 4, widest, 3 * clip.n_frames // 4)
    tiles = [next(clip.frames(index, index + 1)) for index in moments]
    width = round(_SHEET_TILE * clip.width / clip.height)
    return np.hstack([cv2.resize(tile, (width, _SHEET_TILE), interpolation=cv2.INTER_AREA) for tile in tiles])


def write_contact_sheet(path: Path, strips: list[np.ndarray]) -> None:
    """A PNG of equally large strips."""
    strips = strips + [np.zeros_like(strips[0])] * (-len(strips) % _SHEET_COLUMNS)
    rows = [np.hstack(strips[start : start + _SHEET_COLUMNS]) for start in range(0, len(strips), _SHEET_COLUMNS)]
    encoded = cv2.imencode(".png", np.vstack(rows)[..., ::-1])[1]
    with atomic_file(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _timed(clip: SpokenClip) -> Iterator[Frame]:
    for index, pixels in enumerate(clip.frames()):
        yield ArrayFrame(index, index / clip.fps, pixels)


def _truth(clip: SpokenClip, case: str, options: TalkerOptions) -> dict[str, Any]:
    people = clip.people
    return {
        "landmarks": np.stack([p.landmarks for p in people]),
        "opening": np.stack([p.opening for p in people]),
        "visible": np.stack([p.visible for p in people]),
        "mouth_free": np.stack([p.mouth_free for p in people]),
        "yaw": np.stack([p.yaw for p in people]),
        "cuts": np.array(clip.cuts, np.int64),
        "phones": np.array(clip.utterance.phones),
        "phone_starts": clip.utterance.starts,
        "phone_ends": clip.utterance.ends,
        "waveform": clip.waveform,
        "fps": np.array([clip.fps.numerator, clip.fps.denominator]),
        "av_offset_frames": np.array(options.av_offset_frames),
        "identity_seed": np.array(clip.identity_seed),
        "sentence_seed": np.array(clip.sentence_seed),
        "scene_seed": np.array(clip.scene_seed),
        "case": np.array(case),
    }
