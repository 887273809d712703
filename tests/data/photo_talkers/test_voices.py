"""Stretches of recordings for photographs: audio, phones and mouth of the same moment."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.data.manifest import read_manifest
from latentsync.data.photo_talkers.crops import PhotoCrops, make_photo_crops
from latentsync.data.photo_talkers.voices import Voices
from latentsync.data.speech.collection import Speech
from latentsync.data.speech.recordings import NOTHING, PHONE_NAMES, SAMPLES_PER_POSITION, Recording
from latentsync.media.audio import read_audio
from tests.data.photo_talkers.test_crops import DrawnReader

POSITIONS = 100  # 2 s


def counting(name: str, voice: str, base: int = 0) -> Recording:
    """Samples and mouth that tell the position that they are of."""
    at = np.arange(POSITIONS)
    mouth = np.zeros((POSITIONS, 6), np.float32)
    mouth[:, 0] = at / POSITIONS
    phones = np.where(at < 50, PHONE_NAMES.index("a"), PHONE_NAMES.index("m"))
    phones[70:80] = NOTHING
    return Recording(name, voice, np.repeat(base + at, SAMPLES_PER_POSITION).astype(np.int16), phones, mouth)


def test_audio_phones_and_mouth_are_of_the_same_moment():
    voices = Voices([counting("one", "somebody"), counting("two", "somebody", 1000), counting("three", "else")])
    assert (len(voices), voices.names) == (2, ["else", "somebody"])
    starts = set()
    for seed in range(12):
        said = voices.say(25, Fraction(25), np.random.default_rng(seed))
        assert said.waveform.shape == (16000,)
        positions = np.rint(said.waveform[:: 2 * SAMPLES_PER_POSITION] * 32768) % 1000
        inside = np.flatnonzero(np.diff(positions, append=0) == 2)
        assert np.allclose(said.mouth.opening[inside], positions[inside] / POSITIONS, atol=1e-6)
        starts.add(int(positions[0]))
        for name, start, end in zip(said.utterance.phones, said.utterance.starts, said.utterance.ends, strict=True):
            middle = positions[min(int((start + end) / 2 * 25), 24)]
            assert {"a": middle < 51, "m": middle >= 49, "sil": True}[name]
        assert said.utterance.ends[-1] == 1.0
    assert len(starts) > 4


def test_a_short_voice_is_heard_again_after_a_pause():
    said = Voices([counting("one", "somebody")]).say(125, Fraction(25), np.random.default_rng(0))
    assert len(said.mouth.opening) == 125
    assert "sil" in said.utterance.phones
    assert said.mouth.opening.max() > 0.9


def test_clips_say_the_recordings_of_their_side(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("3.png", "4.png"):
        (photos / name).write_bytes(b"")
    noise = np.random.default_rng(1).integers(-9000, 9000, POSITIONS * SAMPLES_PER_POSITION).astype(np.int16)
    loud = counting("one", "loud")
    loud = Recording(loud.name, loud.voice, noise, loud.phones, loud.mouth)
    crops = PhotoCrops(train_clips=4, validation_clips=1, seconds=0.4, resolution=32)
    speech = Speech(train=(loud,), validation=())
    clips = read_manifest(make_photo_crops(crops, photos, tmp_path / "clips", DrawnReader(), 1, speech)).clips
    levels = [float(np.std(read_audio(Path(clip.path)))) for clip in clips]
    assert sum(level > 0.12 for level in levels[:4]) >= 2  # most say the recording
    assert levels[4] < 0.12  # there is no recording for this side
