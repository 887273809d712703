"""Frames in which somebody speaks."""

from __future__ import annotations

import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

from latentsync.audio.voice_activity import BY_LEVEL, SAMPLES_PER_FRAME, SETTLING, find_speech, speaking_frames
from latentsync.constants import AUDIO_RATE
from latentsync.data.talkers.identity import make_identity
from latentsync.data.talkers.speech import compose, tracks
from latentsync.data.talkers.voice import synthesise


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


def test_by_level_where_the_package_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "silero_vad", None)  # importing it fails
    loud = [False] * 10 + [True] * 30 + [False] * 25 + [True] * 20
    found = find_speech(audio(loud).astype(np.float32))
    assert found.judge == BY_LEVEL
    assert "silero-vad" in found.note
    assert np.allclose(np.array(found.speech, float), [(0.4, 1.6), (2.6, 3.4)])
    assert np.allclose(np.array(found.pauses(Fraction(4)), float), [(0, 0.4), (1.6, 2.6), (3.4, 4)])


def test_the_network_tells_a_voice_from_noise_and_leaves_torch_as_it_was() -> None:
    pytest.importorskip("silero_vad")
    voice, pause = make_identity(3).voice, (1.5, 2.5)
    utterance = compose(5, voice, 4.0, (pause,))
    spoken = synthesise(tracks(utterance, 5, voice, 4.0), voice, 5, 4 * AUDIO_RATE)
    noise = np.random.default_rng(0).normal(0, 0.1 * spoken.std(), len(spoken))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        found = find_speech((spoken + noise).astype(np.float32))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert found.judge.startswith("silero-vad ")
    assert any(start < 1.8 and stop > 2.3 for start, stop in found.pauses(Fraction(4))), found.speech
    assert any(start < 1.2 and stop > 1.0 for start, stop in found.speech)
    assert find_speech(np.zeros(AUDIO_RATE, np.float32)).speech == ()
