"""Frames in which somebody speaks."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.audio.voice_activity import SAMPLES_PER_FRAME, SETTLING, speaking_frames


def audio(loud: list[bool], level: float = 0.1) -> np.ndarray:
    envelope = np.repeat(np.where(loud, level, level * 0.003), SAMPLES_PER_FRAME)
    return envelope * np.sin(np.arange(len(envelope)))


@pytest.mark.parametrize("level", [0.003, 0.5])
def test_a_pause_is_found_and_the_mouth_has_time_to_settle(level: float) -> None:
    loud = [True] * 30 + [False] * 25 + [True] * 20
    speaking = speaking_frames(audio(loud, level), 75)
    assert speaking[: 30 + SETTLING].all()
    assert not speaking[30 + SETTLING : 55 - SETTLING].any()
    assert speaking[55 - SETTLING :].all()


def test_beyond_the_audio_there_is_silence() -> None:
    speaking = speaking_frames(audio([True] * 30), 60)
    assert speaking.shape == (60,)
    assert not speaking[30 + SETTLING :].any()


def test_silence_throughout() -> None:
    assert not speaking_frames(np.zeros(16_000), 25).any()
