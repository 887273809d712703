"""The pipeline with stubs for the networks: what happens to every frame (USERS A1, A2, A3, A5, A17)."""

from __future__ import annotations

import threading
import time
from fractions import Fraction

import cv2
import numpy as np
import pytest

from latentsync.constants import AUDIO_RATE
from latentsync.face.align import FaceAligner
from latentsync.face.color_match import NEUTRAL
from latentsync.face.mask import load_mask
from latentsync.face.paste import FacePaster
from latentsync.face.tracks import FaceTracks
from latentsync.inference.faces import TimedDetector, tracking_settings
from latentsync.inference.options import SyncOptions
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.inference.record import RunRecord
from latentsync.inference.timeline import LengthMode, frame_count
from latentsync.types import AlignedFace, ArrayFrame
from tests.inference.world import (
    ClockAudio,
    ColorShift,
    DrawnVideo,
    Identity,
    IndexPainter,
    KnownFaces,
    Slow,
    write_number,
)

MASK = load_mask("mask", 256)


def sync(video, seconds, generator=None, detector=None, record=None, **options):
    """All frames of a dub of ``video`` with ``seconds`` of sound, through stubs."""
    seconds = Fraction(seconds)
    pipeline = LipsyncPipeline(
        lambda chosen, on_step: generator or Identity(), lambda waveform, chosen: ClockAudio(seconds), MASK
    )
    chosen = SyncOptions(check_output=False, **options)
    tracks = FaceTracks(detector or KnownFaces(video), settings=tracking_settings(chosen))
    waveform = np.zeros(int(seconds * AUDIO_RATE), np.float32)
    return pipeline.sync(video, waveform, chosen, tracks, record)


def check_indices(video, frames, passed=frozenset()):
    """Every frame carries the sound of its own time, or none if it passes through."""
    for number, frame in enumerate(frames):
        token = IndexPainter.read(frame.pixels, video.landmarks(frame.index))
        if number in passed:
            assert token is None and np.array_equal(frame.pixels, video.draw(frame.index))
        else:
            assert token == frame.time * 50 // 1, f"frame {number}"


def test_gaps_keep_their_place_in_time():
    missing = {*range(11), 60, 61, *range(75, 80)}
    video = DrawnVideo(80, missing=missing)
    record = RunRecord()
    frames = list(sync(video, Fraction(80, 25), IndexPainter(), record=record, ramp=0))
    assert len(frames) == 80
    check_indices(video, frames, passed={*range(11), *range(75, 80)})  # the two in between are bridged
    assert [(span.first, span.last) for span in record.passed_through] == [(0, 10), (75, 79)]
    assert record.passed_through[0].reason == "no face"


@pytest.mark.parametrize("fps", [16, Fraction(24000, 1001), 25, Fraction(30000, 1001), 50, Fraction(60000, 1001)])
@pytest.mark.parametrize("seconds", [Fraction(1, 5), Fraction(133, 100), Fraction(27, 10)])
def test_every_rate_and_length(fps, seconds):
    video = DrawnVideo(40, fps=fps)
    frames = list(sync(video, seconds, IndexPainter()))
    assert len(frames) == frame_count(seconds, Fraction(fps))
    assert all(frame.time == number / Fraction(fps) for number, frame in enumerate(frames))
    check_indices(video, frames)


@pytest.mark.parametrize("mode", list(LengthMode))
def test_every_length_mode_has_the_right_sound(mode):
    video = DrawnVideo(20)
    frames = list(sync(video, Fraction(47, 25), IndexPainter(), length=mode))
    assert len(frames) == (20 if mode is LengthMode.CUT else 47)
    check_indices(video, frames)


@pytest.mark.parametrize(("width", "height", "face"), [(1920, 1080, 420.0), (3840, 2160, 500.0)])
def test_identity_changes_nothing_outside_the_mask_and_little_inside(width, height, face):
    video = DrawnVideo(3, width, height, face=face, speed=(3, 1))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    smooth = np.stack([127 + 60 * np.sin(rows / 60 + k) + 50 * np.cos(columns / 70 - k) for k in range(3)], -1)
    video.draw = lambda index: numbered(smooth.astype(np.uint8), index)
    for frame in sync(video, Fraction(3, 25)):
        before = video.draw(frame.index)
        area = mouth_area(video, frame.index)
        changed = (frame.pixels != before).any(-1)
        assert not (changed & ~area).any()
        error = (frame.pixels.astype(float) - before)[area]
        assert 10 * np.log10(255**2 / max((error**2).mean(), 1e-9)) >= 40


def numbered(pixels, index):
    pixels = pixels.copy()
    write_number(pixels, index)
    return pixels


def mouth_area(video, index):
    """Where the mask lies in a frame, as booleans, from its geometry alone."""
    matrix = FaceAligner(256).matrix(video.landmarks(index))
    size = (video.info.width, video.info.height)
    hole = (MASK[0] < 0.5).astype(np.uint8)
    return cv2.warpAffine(hole, matrix, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP).astype(bool)


def test_a_wrong_color_is_matched():
    video = DrawnVideo(12)
    frames = list(sync(video, Fraction(12, 25), ColorShift()))
    for frame in frames[4:]:
        area = mouth_area(video, frame.index)
        error = np.abs(frame.pixels.astype(float) - video.draw(frame.index))[area]
        assert error.mean() < 3, "the generator itself is off by 12 levels"


def test_the_batch_and_the_run_do_not_matter():
    missing = {*range(20, 27)}
    results = []
    for batch in (1, 3, 1):
        video = DrawnVideo(90, missing=missing)
        results.append(np.stack([f.pixels for f in sync(video, Fraction(90, 25), IndexPainter(), batch=batch)]))
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


def test_a_second_pass_detects_nothing():
    video = DrawnVideo(20)
    detector = KnownFaces(video)
    assert len(list(sync(video, Fraction(100, 25), detector=detector))) == 100
    assert detector.seen == 20


class Waiting:
    """Stages that wait ``seconds`` for a frame instead of working."""

    seconds = 0.01
    frames = 600

    @classmethod
    def wait(cls, frames=1):
        time.sleep(cls.seconds * frames)


class WaitingVideo(DrawnVideo):
    def frames(self, start=0, stop=None, *, reverse=False):
        picture = self.draw(0)
        for index in range(self.info.n_frames)[start:stop]:
            Waiting.wait()
            pixels = picture.copy()
            write_number(pixels, index)
            yield ArrayFrame(index, index / self.info.fps, pixels)


class WaitingFaces(KnownFaces):
    def detect(self, frames):
        Waiting.wait(len(frames))
        return super().detect(frames)


@pytest.mark.alone
@pytest.mark.timeout(900)
def test_stages_overlap(monkeypatch):
    """Decoding, detecting, aligning, generating, pasting and encoding wait 10 ms a frame each; together they take less
    than 1.3 times the slowest of them (A17), the filling of the queues at the start included.

    On a machine that is busy with other work every hand-over may wait too: then longer stages drown that.
    """
    canvas = AlignedFace(np.zeros((3, 8, 8), np.float32), np.eye(2, 3))
    monkeypatch.setattr(FaceAligner, "crop", lambda *job: Waiting.wait() or canvas)
    monkeypatch.setattr(FacePaster, "compare", lambda *job: NEUTRAL)
    monkeypatch.setattr(FacePaster, "paste", lambda paster, frame, *rest: Waiting.wait() or frame)

    def share(seconds: float) -> float:
        """The time on the clock over that of the slowest stage."""
        monkeypatch.setattr(Waiting, "seconds", seconds)
        video, record = WaitingVideo(Waiting.frames, 160, 160, face=70), RunRecord()
        detector = TimedDetector(WaitingFaces(video), record.clock)
        start = time.perf_counter()
        for _ in sync(video, video.info.duration, Slow(16 * seconds), detector=detector, record=record):
            with record.clock.measure("encode"):
                Waiting.wait()
        wall, stages = time.perf_counter() - start, record.clock.seconds()
        waiting = {"decode", "detect", "align", "generate", "paste", "encode"}
        assert all(stages[stage] >= 0.99 * Waiting.frames * seconds for stage in waiting)
        return wall / max(stages.values())

    assert any(share(seconds) < 1.3 for seconds in (0.01, 0.02, 0.05))


def test_closing_early_stops_the_stages():
    frames = sync(DrawnVideo(10_000), 400)
    next(frames)
    frames.close()
    time.sleep(0.5)
    assert not [t for t in threading.enumerate() if t.name == "prefetch" and t.is_alive()]


def test_strength_ramps_beside_a_gap():
    missing = {*range(20, 30)}
    video = DrawnVideo(50, missing=missing)

    class White(Identity):
        def __call__(self, windows):
            return np.ones_like(super().__call__(windows))

    frames = list(sync(video, Fraction(50, 25), White(), ramp=3))

    def brightness(number):
        centre = video.landmarks(number)[62].round().astype(int)
        return frames[number].pixels[centre[1], centre[0]].mean()

    levels = [brightness(number) for number in (15, 17, 18, 19)]
    assert levels[0] > 200 and all(a > b for a, b in zip(levels, levels[1:], strict=False))
    assert frames[25].pixels.tolist() == video.draw(25).tolist()
