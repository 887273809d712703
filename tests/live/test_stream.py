"""A live stream gives the frames of the offline run, however the audio comes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from latentsync.diffusion.settings import SamplerSettings
from latentsync.face.tracks import FaceTracks
from latentsync.inference.faces import tracking_settings
from latentsync.inference.loading import load_pipeline
from latentsync.inference.options import LiveSettings, SyncOptions
from latentsync.inference.weights import ModelSettings, WeightPaths
from latentsync.live.person import analyse
from latentsync.live.stream import LipsyncStream
from tests.inference.tiny_weights import RESOLUTION, write_checkpoints
from tests.inference.world import DrawnVideo, KnownFaces

OPTIONS = SyncOptions(
    sampler=SamplerSettings("ddim", steps=1, guidance_scale=1.0), live=LiveSettings(window=4), check_output=False
)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    folder = write_checkpoints(tmp_path_factory.mktemp("tiny"))
    return load_pipeline(WeightPaths.in_directory(folder), ModelSettings(RESOLUTION))


def voice(seconds):
    random = np.random.default_rng(3)
    samples = random.normal(0, 0.1, int(seconds * 16_000)).astype(np.float32)
    return samples * (np.sin(np.arange(len(samples)) / 3000) > -0.3)


@pytest.fixture(scope="module")
def world(pipeline):
    video = DrawnVideo(9, width=160, height=160, face=70.0)
    return video, analyse(video, tracks_of(video), pipeline, OPTIONS)


def tracks_of(video):
    return FaceTracks(KnownFaces(video), settings=tracking_settings(OPTIONS))


def pieces(audio, lengths):
    start = 0
    for length in lengths:
        yield audio[start : start + length]
        start += length
    yield audio[start:]


def test_the_frames_are_those_of_the_offline_run(pipeline, world):
    video, person = world
    audio = voice(0.77)
    expected = list(pipeline.sync(video, audio, OPTIONS, tracks_of(video)))
    assert len(expected) == 19 and len({frame.pixels.tobytes() for frame in expected}) == 19
    for lengths in ([320] * 40, [5000, 1, 333]):
        stream = LipsyncStream(pipeline, person, OPTIONS)
        found = []
        for piece in pieces(audio, lengths):
            stream.push(piece)
            found += stream.poll()
        stream.end()
        found += stream.frames()
        assert [frame.time for frame in found] == [frame.time for frame in expected]
        for mine, theirs in zip(found, expected, strict=True):
            assert np.array_equal(mine.pixels, theirs.pixels), mine.time
        assert stream.statistics.frames == 19 and stream.statistics.pushed == Fraction(len(audio), 16_000)
        stream.close()
