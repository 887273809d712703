"""An excerpt shows what the whole shows there: the same person, the same windows, the same frames."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from latentsync.constants import AUDIO_RATE
from latentsync.face.detector import Detection
from latentsync.face.mask import load_mask
from latentsync.face.selection import FaceSelector
from latentsync.face.tracks import INTRODUCED, FaceTracks
from latentsync.face.visibility import VisibilitySettings
from latentsync.inference.excerpt import Excerpt
from latentsync.inference.options import SyncOptions
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.inference.timeline import LengthMode
from tests.inference.world import (
    ClockAudio,
    DrawnVideo,
    Identity,
    KnownFaces,
    face_landmarks,
    write_number,
)

HALF = Fraction(1, 2)
SIDE = 64  # pixels of the canvas


class TwoPeople(DrawnVideo):
    """Two people of different sizes who cross; a cut in between, after which they have changed places."""

    def __init__(self, n=100, cuts=(), fps=25):
        super().__init__(n, 400, 200, fps)
        self.cuts = cuts

    def faces(self, index):
        left, right = (90, 310) if sum(index >= cut for cut in self.cuts) % 2 == 0 else (310, 90)
        share = index / self.info.n_frames
        return [
            face_landmarks(np.array([left + (right - left) * share, 92.0]), 76),
            face_landmarks(np.array([right + (left - right) * share, 108.0]), 54),
        ]

    def draw(self, index):
        shade = 60 + 90 * (sum(index >= cut for cut in self.cuts) % 2)
        pixels = np.full((200, 400, 3), shade, np.uint8)
        for points, color in zip(reversed(self.faces(index)), ((130, 160, 200), (200, 160, 130)), strict=False):
            cv2.fillConvexPoly(pixels, cv2.convexHull(points).astype(np.int32), color)
            cv2.fillPoly(pixels, [points[48:60].astype(np.int32)], (120, 60, 60))
        write_number(pixels, index)
        return pixels


class TwoFaces(KnownFaces):
    """Finds both, a little beside the place, as detectors do: what is smoothed depends on the frames around."""

    def _detect(self, index):
        shaken = np.random.default_rng(index).normal(0, 0.7, 2).astype(np.float32)
        found = [points + shaken for points in self.video.faces(index)]
        return [Detection(np.concatenate([q.min(0), q.max(0)]).astype(np.float32), q, 0.99) for q in found]


class WindowPainter(Identity):
    """The mouth's level says which frames are in its window, which reference it has, and where in it the frame is.

    The colors of the whole face drift, from window to window and inside one.
    """

    def __init__(self):
        super().__init__(SIDE)
        self.windows = 0

    def __call__(self, windows):
        faces = super().__call__(windows)
        self.windows += len(windows)
        for made, window in zip(faces, windows, strict=True):
            tokens = window.audio[:, 0, 0]
            level = (tokens @ np.arange(1, 17) * 0.37 + float(window.references.mean()) * 50) % 1.2 - 0.6
            for position, face in enumerate(made):
                face *= 0.95 - position / 300
                face += np.array([0.06, -0.04, 0.05], np.float32)[:, None, None] * (level + position / 20)
                face[:, 40:52, 24:40] = level + position / 50
        return faces


def dub(video, seconds, steady=False, detector=None, **options):
    """The frames of a dub, and the generator and the tracks that made them."""
    painter, chosen = WindowPainter(), SyncOptions(check_output=False, **options)
    pipeline = LipsyncPipeline(
        lambda *_: painter, lambda *_: ClockAudio(seconds), load_mask("mask", SIDE), steady_reference=steady
    )
    tracks = FaceTracks(detector or TwoFaces(video), FaceSelector(chosen.face))
    frames = pipeline.sync(video, np.zeros(int(seconds * AUDIO_RATE), np.float32), chosen, tracks)
    return list(frames), painter, tracks


def assert_equal_frames(part, whole, excerpt, fps):
    half = Fraction(1, 2 * fps)
    expected = [frame for frame in whole if excerpt.start <= frame.time + half < excerpt.stop]
    assert [(frame.index, frame.time) for frame in part] == [(frame.index, frame.time) for frame in expected]
    for got, wanted in zip(part, expected, strict=True):
        assert np.array_equal(got.pixels, wanted.pixels), f"frame {wanted.index} at {float(wanted.time)} s"


@pytest.fixture(scope="module")
def crossing():
    """Two people who cross without a cut, and the whole dub of the one who was chosen at 0.2 s on the left."""
    video = TwoPeople(100)
    return video, dub(video, Fraction(4), face="95,95@0.2")[0]


@pytest.mark.parametrize("start", [Fraction(3, 5), Fraction(61, 25), Fraction(16, 5)])
def test_any_second_of_two_who_cross(crossing, start):
    video, whole = crossing
    excerpt = Excerpt(start, start + 1)
    part, painter, _ = dub(video, Fraction(4), face="95,95@0.2", excerpt=excerpt)
    assert_equal_frames(part, whole, excerpt, 25)
    assert painter.windows <= 4  # 25 frames, and 11 on either side that fits and joins depend on
    for frame in part:  # the one who was on the left at 0.2 s is dubbed, wherever he is now
        column, row = video.faces(frame.index)[0][62].astype(int)
        assert (frame.pixels != video.draw(frame.index))[row - 3 :, column].any()


def case(n, seconds, start, cuts=(), fps=25, steady=False, **options):
    return TwoPeople(n, cuts, fps), Fraction(seconds), Fraction(start), steady, options


CASES = {
    "cuts": case(90, "3.6", "1.5", cuts=(21, 47)),
    "cut inside": case(60, "2.4", "0.7", cuts=(21, 47)),
    "backwards": case(50, "3.4", "2.6", cuts=(21,), steady=True),
    "over the turn": case(50, "2.8", "1.8", cuts=(21,)),
    "second pass of a loop": case(40, "2.8", "2.1", length=LengthMode.LOOP, steady=True),
    "seam of a loop": case(40, "2.8", "1.4", cuts=(21,), length=LengthMode.LOOP),
    "slower": case(40, "2.8", "1.9", cuts=(21,), length=LengthMode.SPEED),
    "fifty a second": case(90, "1.8", "1", cuts=(5,), fps=50),
    "the end": case(80, "3.2", "2.7", steady=True),
    "index": case(70, "2.8", "2", cuts=(30,), face="index:1"),
}


@pytest.mark.parametrize(("video", "seconds", "start", "steady", "options"), CASES.values(), ids=CASES)
def test_cuts_and_ways_of_fitting(video, seconds, start, steady, options):
    excerpt = Excerpt(start, start + HALF)
    whole, _, _ = dub(video, seconds, steady, **options)
    part, painter, _ = dub(video, seconds, steady, **options, excerpt=excerpt)
    assert_equal_frames(part, whole, excerpt, int(video.info.fps))
    assert painter.windows <= 6


@pytest.fixture(scope="module")
def slow():
    """One person, joins around the frames 15, 30 and 45, and the whole dub."""
    video = DrawnVideo(60, 200, 200, face=90)
    return video, dub(video, Fraction(12, 5), detector=KnownFaces(video))[0]


@pytest.mark.parametrize(("first", "windows"), [(28, 2), (31, 2), (32, 2), (58, 1)])
def test_a_join_that_reaches_into_the_excerpt(slow, first, windows):
    """Two frames before, at and after a join, and one frame beyond it."""
    video, whole = slow
    excerpt = Excerpt(Fraction(first, 25), Fraction(first + 1 if first == 32 else first + 2, 25))
    part, painter, _ = dub(video, Fraction(12, 5), detector=KnownFaces(video), excerpt=excerpt)
    assert_equal_frames(part, whole, excerpt, 25)
    assert painter.windows == windows


def test_only_the_shot_is_followed():
    video = TwoPeople(100, cuts=(64,))
    detector = TwoFaces(video)
    dub(video, Fraction(4), detector=detector, excerpt=Excerpt(Fraction(3), Fraction(16, 5)))
    assert detector.seen <= 100 - 64 + INTRODUCED  # and where the video begins: whom the whole run chose


class Leaving(TwoPeople):
    """The larger one of two leaves after ``stays`` frames; the other one was smaller, and is there to the end."""

    stays = 30

    def faces(self, index):
        return super().faces(index)[0 if index < self.stays else 1 :]


@pytest.mark.parametrize(("face", "dubbed", "most"), [("310,108", True, 72), ("largest", False, 140)])
def test_who_has_left_is_not_replaced(face, dubbed, most):
    """The one who stays is followed from where they are alone; whether the other one was here decides for 'largest'."""
    video = Leaving(140)
    detector, excerpt = TwoFaces(video), Excerpt(Fraction(27, 5), Fraction(28, 5))
    alone = VisibilitySettings(occlusion="off")  # what is before a face is looked for further back
    part, _, _ = dub(video, Fraction(28, 5), detector=detector, excerpt=excerpt, face=face, visibility=alone)
    assert detector.seen <= most + INTRODUCED
    whole, _, _ = dub(video, Fraction(28, 5), face=face)
    assert_equal_frames(part, whole, excerpt, 25)
    assert [bool((frame.pixels != video.draw(frame.index)).any()) for frame in part] == [dubbed] * 5


def test_a_gap_beside_the_excerpt_fades_as_in_the_whole():
    video = DrawnVideo(60, missing=range(20, 23))
    excerpt = Excerpt(Fraction(23, 25), Fraction(35, 25))
    (whole, _, _), (part, _, _) = (
        dub(video, Fraction(2), detector=KnownFaces(video), **chosen) for chosen in ({}, {"excerpt": excerpt})
    )
    assert_equal_frames(part, whole, excerpt, 25)
