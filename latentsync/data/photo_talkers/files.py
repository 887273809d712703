"""Photographs that speak as files, and dubs of them with their truth: as ``talkers.files`` and ``talkers.cross``.

The truth beside a video has the arrays of a drawn talker's; ``photograph`` is the content hash of the photograph.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.data.photo_talkers.clip import PhotoClip, make_photo_clip
from latentsync.data.photo_talkers.portrait import Portrait
from latentsync.data.talkers.clip import TalkerOptions
from latentsync.data.talkers.cross import CrossClip, cross_seeds, pause_of
from latentsync.data.talkers.files import case_options, write_clip

PHOTO_CASES = ("plain", "silence", "music", "music_only", "offset")  # of ``talkers.files.CASES``


def write_photo_talker(
    folder: Path, portraits: Sequence[Portrait], number: int, seed: int, case: str, seconds: float,
    size: tuple[int, int], fps: Fraction, crf: int,
) -> PhotoClip:  # fmt: skip
    """Draw clip ``number`` of a run and write its two files into ``folder``, over older ones of the same name.

    The people take turns. Raises ``OutputError`` and its kin where files cannot be written, ``ValueError`` for a clip
    without a frame.
    """
    seeds = np.random.SeedSequence([seed, number, 75]).generate_state(3)
    options = case_options(case, number, seconds)
    portrait = portraits[number % len(portraits)]
    clip = make_photo_clip(portrait, *(int(s) for s in seeds), seconds=seconds, size=size, fps=fps, options=options)
    path = folder / f"photo_{seed:04d}_{number:05d}_{case}.mp4"
    write_clip(path, clip, case, options, crf, photograph=np.array(portrait.content))
    return clip


def make_photo_cross_clip(portrait: Portrait, number: int, seconds: float, size: int) -> CrossClip:
    """As ``make_cross_clip``, of the person on a photograph: the same in the same scene saying what somebody else says.

    Sentences and voices are those of the drawn pair of that ``number``. ``size`` is the side of the frames in pixels.
    """
    identity, sentence, scene, new_sentence, speaker = cross_seeds(number)
    new = TalkerOptions(silences=(pause_of(seconds),), voice_of=speaker)
    return CrossClip(
        source=make_photo_clip(portrait, identity, sentence, scene, seconds=seconds, size=size),
        truth=make_photo_clip(portrait, identity, new_sentence, scene, seconds=seconds, size=size, options=new),
    )
