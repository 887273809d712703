"""Where the network cannot keep up, the mouth keeps its shape; nothing is made twice and nothing is missing."""

from __future__ import annotations

import threading
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from latentsync.errors import ConfigError
from latentsync.inference.timeline import LengthMode
from latentsync.live.late import FreezeWhenLate
from latentsync.live.stream import LipsyncStream, OnBacklog
from latentsync.types import Window
from tests.inference.world import Identity
from tests.live.plain import OPTIONS, plain_person, plain_pipeline


def window(number, level):
    return Window(number, np.full((4, 3, 2, 2), level, np.float32), np.zeros((4, 1, 1), np.float32))


def test_a_late_window_shows_the_last_face_again():
    lateness = iter([True, False, True])  # the first window is not asked about: there is nothing to repeat
    late = FreezeWhenLate(lambda: next(lateness))
    generator = late.around(lambda *arguments: Identity(2))(OPTIONS, None, None)
    levels = [float(generator([window(k, level)])[0, -1, 0, 0, 0]) for k, level in enumerate((0.1, 0.2, 0.3, 0.4))]
    assert levels == pytest.approx([0.1, 0.1, 0.3, 0.3]) and late.frozen == 2


@pytest.fixture(scope="module")
def world():
    pipeline = plain_pipeline()
    return pipeline, plain_person(pipeline)


def test_a_stream_that_is_far_behind_leaves_frames_out_and_stays_in_time(world):
    """All of the audio is there before the first window: what is more than 0.3 s and the look-ahead old is too late."""
    pipeline, person = world
    stream = LipsyncStream(pipeline, person, OPTIONS, on_backlog=OnBacklog.FREEZE, most_waiting=Fraction(1, 10))
    stream.push(np.zeros(16_000, np.float32))
    stream.end()
    frames = list(stream.frames())
    figures = stream.statistics
    assert frames[-1].time == Fraction(24, 25) and len(frames) + figures.left_out == 25
    assert figures.frames == len(frames) < 25
    times = [frame.time for frame in frames]
    assert times == sorted(set(times))
    stream.close()


def test_a_stream_that_waits_makes_every_frame(world):
    pipeline, person = world
    stream = LipsyncStream(pipeline, person, OPTIONS, most_waiting=Fraction(1, 10))
    for _ in range(20):
        stream.push(np.zeros(800, np.int16), 16_000)
    stream.end()
    assert [frame.time * 25 for frame in stream.frames()] == list(range(25))
    assert stream.is_over and stream.statistics.left_out == stream.statistics.frozen == 0
    stream.close()


def test_a_failure_of_the_network_reaches_whoever_takes_the_frames(world):
    def broken(windows):
        raise RuntimeError("broken")

    broken.resolution = 256
    stream = LipsyncStream(plain_pipeline(broken), world[1], OPTIONS)
    stream.push(np.zeros(16_000, np.float32))
    stream.end()
    with pytest.raises(RuntimeError, match="broken"):
        list(stream.frames())


def test_one_thread_may_push_more_than_there_is_room_for_frames(world, monkeypatch):
    monkeypatch.setattr("latentsync.live.stream.FRAMES_READY", 2)
    stream = LipsyncStream(*world, OPTIONS, most_waiting=Fraction(1, 10))
    for _ in range(2):
        stream.push(np.zeros(8000, np.float32))  # 12 frames and a half
    stream.end()
    assert [frame.time * 25 for frame in stream.frames()] == list(range(25))


def test_whoever_pushes_is_woken_by_a_failure_and_told_of_it(world):
    def broken(windows):
        raise RuntimeError("broken")

    broken.resolution = 256
    stream = LipsyncStream(plain_pipeline(broken), world[1], OPTIONS, most_waiting=Fraction(1, 10))
    with pytest.raises(RuntimeError, match="broken"):
        for _ in range(100):  # waits for a reader that is no more
            stream.push(np.zeros(1600, np.float32))


def test_closing_ends_the_wait_for_frames(world):
    stream, found = LipsyncStream(*world, OPTIONS), []
    taking = threading.Thread(target=lambda: found.append(list(stream.frames())))
    taking.start()
    stream.close()
    taking.join(300)  # the machine may be busy
    assert found == [[]]


def test_closing_ends_a_stream_that_waits_for_audio(world):
    stream = LipsyncStream(*world, OPTIONS)
    stream.close()
    stream._thread.join(300)  # the machine may be busy
    assert not stream._thread.is_alive()


def test_a_stream_has_no_end_to_fit_a_video_to(world):
    with pytest.raises(ConfigError, match="has no end"):
        LipsyncStream(*world, replace(OPTIONS, length=LengthMode.SPEED))
