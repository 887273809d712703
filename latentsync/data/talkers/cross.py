"""A talker, and the same talker in the same scene saying what somebody else says: a dub with its ground truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentsync.data.talkers.clip import SpokenClip, TalkerOptions, make_talker

FIRST_SEED = 50_000_000  # far from the seeds of training and validation clips (``data.talker_crops``)
SETTLING = 0.16  # s after the last phone until the mouth rests, and before the first one
_SILENCE = (0.45, 0.65)  # share of the clip in which the new audio pauses


@dataclass(frozen=True, slots=True)
class CrossClip:
    """``source`` is what gets dubbed, with the audio of ``truth``, which is what the result should look like.

    Both show the same person, scene and movement; frames differ in the mouth only.
    """

    source: SpokenClip
    truth: SpokenClip

    @property
    def waveform(self) -> np.ndarray:
        """(n,) float32 at 16 kHz: another sentence in another person's voice, with a pause."""
        return self.truth.waveform


def make_cross_clip(number: int, seconds: float, size: int) -> CrossClip:
    """Clip ``number`` of an endless row: identities, sentences, scenes and voices that no other number has.

    ``size`` is the side of the square frames in pixels.
    """
    identity, sentence, scene, new_sentence, speaker = cross_seeds(number)
    new = TalkerOptions(silences=(pause_of(seconds),), voice_of=speaker)
    return CrossClip(
        source=make_talker(identity, sentence, scene, seconds=seconds, size=size),
        truth=make_talker(identity, new_sentence, scene, seconds=seconds, size=size, options=new),
    )


def cross_seeds(number: int) -> tuple[int, ...]:
    """Of identity, sentence and scene of the source, and of the new sentence and its speaker."""
    return tuple(FIRST_SEED + 5 * number + k for k in range(5))


def pause_of(seconds: float) -> tuple[float, float]:
    """The span in which the new audio of a clip of ``seconds`` pauses."""
    return _SILENCE[0] * seconds, _SILENCE[1] * seconds


def speaking(clip: SpokenClip) -> np.ndarray:
    """(N,) bool: False in the frames in which the mouth rests, ``SETTLING`` away from every phone."""
    times = np.arange(clip.n_frames) / float(clip.fps)
    said = clip.utterance
    near = np.zeros(clip.n_frames, bool)
    for phone, start, end in zip(said.phones, said.starts, said.ends, strict=True):
        if phone != "sil":
            near |= (times > start - SETTLING) & (times < end + SETTLING)
    return near
