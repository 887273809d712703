"""A bad network and another clock: nothing stands for long, nothing is lost in silence, audio and image stay together.

No real time: whoever sends, the network and the networks of the model all follow one simulated clock.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentsync.live.jitter import JitterBuffer
from latentsync.live.playout import MOST_DELAY, Playout
from latentsync.live.session import LiveSession, SessionSettings
from latentsync.live.stream import StreamStatistics
from latentsync.types import ArrayFrame

RATE = 16_000
PIECE = 320  # samples, 20 ms
STILL = ArrayFrame.of(np.zeros((2, 2, 3), np.uint8))
FPS = 25


class SimulatedStream:
    """Makes windows of ``window`` frames, each of which takes ``computing`` seconds of the simulated clock.

    The pixels of a frame say whether its audio was there: the mean of its 40 ms, in steps of 1/255.
    """

    look_ahead = Fraction(7, FPS) + Fraction(7, 50)

    def __init__(self, clock, computing=0.1, window=7):
        self.clock, self.computing, self.window = clock, computing, window
        self.audio = np.empty(0, np.float32)  # from the first frame that is not made yet on
        self.made, self.busy_until, self.coming = 0, 0.0, []

    @property
    def statistics(self):
        return StreamStatistics(Fraction(0), self.made, 0, 0, Fraction(0))

    def push(self, samples, rate):
        assert rate == RATE
        self.audio = np.concatenate([self.audio, samples])

    def poll(self):
        while len(self.audio) / RATE >= (self.window - 1) / FPS + 0.14:
            self.busy_until = max(self.busy_until, self.clock.now) + self.computing
            for number in range(self.made, self.made + self.window):
                level = self.audio[(number - self.made) * 640 :][:640].mean()
                pixels = np.full((2, 2, 3), round(float(level) * 255), np.uint8)
                self.coming.append((self.busy_until, ArrayFrame(number, Fraction(number, FPS), pixels)))
            self.made += self.window
            self.audio = self.audio[self.window * 640 :]
        ready = [frame for when, frame in self.coming if when <= self.clock.now]
        self.coming = [each for each in self.coming if each[0] > self.clock.now]
        return ready


class Clock:
    now = 0.0


def play(seconds, travel=lambda number: 0.03, drift=0.0, computing=0.1, begin=100.0, tick=0.01):
    """A session of ``seconds``; piece k comes ``travel(k)`` s after it was spoken, or not at all (None).

    Returns the session and, for every tick, (clock, what is seen).
    """
    clock = Clock()
    clock.now = begin
    session = LiveSession(SimulatedStream(clock, computing), STILL, Fraction(1, FPS), SessionSettings(RATE))
    arrivals = []
    for number in range(int(seconds * 50)):
        delay = travel(number)
        if delay is not None:
            spoken = begin + (number + 1) * 0.02 * (1 + drift)
            arrivals.append((spoken + delay, number))
    arrivals.sort()
    seen, coming = [], iter(arrivals)
    following = next(coming, None)
    for step in range(int(seconds / tick)):
        clock.now = begin + step * tick
        while following is not None and following[0] <= clock.now:
            session.receive(following[1] * PIECE, np.full(PIECE, 0.5, np.float32), clock.now)
            following = next(coming, None)
        seen.append((clock.now, session.tick(clock.now)))
    return session, seen


def test_a_good_network_shows_every_frame_once_in_time():
    session, seen = play(6)
    figures = session.statistics()
    assert figures["stalls"] == figures["skipped"] == figures["lost"] == figures["late"] == figures["missing"] == 0
    first = next(now for now, frame in seen if frame is not STILL)
    assert first - 100 == pytest.approx(0.03 + 0.02 + 0.42 + 0.3, abs=0.05)  # travel, look-ahead, computing
    changes = [now for (now, frame), (_, before) in zip(seen[1:], seen, strict=False) if frame is not before]
    assert max(np.diff(changes)) <= 0.051 and figures["shown"] == len(changes)


def test_five_percent_late_and_one_percent_lost():
    random = np.random.default_rng(5)
    fate = random.random(3000)

    def travel(number):
        return None if fate[number] < 0.01 else 0.23 if fate[number] < 0.06 else 0.03

    session, seen = play(30, travel)
    figures = session.statistics()
    assert figures["longest_stall"] < 0.5 and figures["delay"] < MOST_DELAY
    assert figures["lost"] == pytest.approx(0.02 * (fate[:1480] < 0.01).sum(), abs=0.05)
    assert figures["late"] == 0  # 200 ms are within what is waited for
    assert figures["shown"] + figures["skipped"] >= 30 * FPS - 45
    changes = [now for (now, frame), (_, before) in zip(seen[1:], seen, strict=False) if frame is not before]
    assert max(np.diff(changes)) < 0.5
    late = [now - 100 - float(frame.time) for now, frame in seen[1500:-1]]
    assert max(late) < figures["delay"] + 0.25 and min(late) > 0  # behind the audio by as much all the time


@pytest.mark.parametrize("drift", [-1e-3, 1e-3])
def test_another_clock_moves_nothing(drift):
    """In two minutes a thousandth is 0.12 s, three frames; at the end the image is as far behind its audio as at the
    beginning."""
    session, seen = play(120, drift=drift, tick=0.02)
    figures = session.statistics()
    assert figures["drift"] == pytest.approx(drift * 1e6, rel=0.2)
    assert figures["longest_stall"] <= 0.1 and figures["missing"] == figures["late"] == 0

    def behind(place):
        now, frame = seen[place]
        spoken = 100 + float(frame.time) * (1 + drift)
        return now - spoken

    assert abs(behind(-1) - behind(300)) <= 1 / FPS + 1e-6
    assert len(session.playout._waiting) < 40


def test_a_sender_that_stops_does_not_stop_the_face():
    session, seen = play(8, lambda number: None if number >= 100 else 0.03)
    figures = session.statistics()
    assert figures["longest_stall"] < 0.5 and figures["missing"] > 3
    assert seen[-1][1].time > 6 and seen[-1][1].pixels.max() == 0  # of silence


def test_a_model_that_is_too_slow_falls_behind_and_skips():
    session, _ = play(12, computing=0.35)  # for 0.28 s of frames
    figures = session.statistics()
    assert figures["delay"] == pytest.approx(MOST_DELAY) and figures["skipped"] > 0


@settings(max_examples=30)
@given(order=st.permutations(range(12)), length=st.integers(1, 50), gone=st.sets(st.integers(0, 11), max_size=4))
def test_pieces_in_any_order_become_one_stream(order, length, gone):
    buffer, audio = JitterBuffer(RATE, wait=1.0), np.arange(12 * length, dtype=np.float32) + 1
    out = []
    for step, number in enumerate(order):
        if number not in gone:
            first = number * length
            buffer.put(first, audio[first : first + length], step * 0.01)
            buffer.put(first, audio[first : first + length], step * 0.01)  # doubled
        out.append(buffer.take(step * 0.01))
    held = buffer.take(5.0)
    found = np.concatenate([*out, held])
    expected = audio.copy()
    for number in gone:
        expected[number * length : (number + 1) * length] = 0
    came = [number for number in range(12) if number not in gone]
    stop = (max(came) + 1) * length
    assert np.array_equal(found[:stop], expected[:stop]) and not found[stop:].any()  # then silence, as time passes


def test_what_comes_after_its_time_is_counted_and_left_out():
    buffer = JitterBuffer(RATE)
    buffer.put(0, np.ones(320, np.float32), 0.0)
    buffer.put(640, np.ones(320, np.float32), 0.04)
    assert len(buffer.take(0.05)) == 320
    assert buffer.take(0.295)[:640].tolist() == [0] * 320 + [1] * 320
    buffer.put(320, np.ones(320, np.float32), 0.295)
    assert len(buffer.take(0.295)) == 0
    assert buffer.statistics.late == buffer.statistics.lost == 0.02


def test_the_first_frame_is_awaited_without_a_stall():
    playout = Playout(delay=0.5, spacing=0.04)
    assert playout.show(3.0, 0.0) is None
    assert playout.statistics.longest_stall == 0
