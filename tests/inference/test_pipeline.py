"""The pipeline with stubs for the networks: what happens to every frame."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import closing
from fractions import Fraction

import cv2
import numpy as np
import pytest

from latentsync.diffusion.settings import SamplerSettings
from latentsync.face.align import FaceAligner
from latentsync.face.occlusion import REACH
from latentsync.face.paste import UNFITTED, FacePaster
from latentsync.face.visibility import VisibilitySettings
from latentsync.inference.job.cost import NetworkSizes, estimate
from latentsync.inference.record import RunRecord
from latentsync.inference.scene import AFTER_AUDIO
from latentsync.inference.timeline import LengthMode, frame_count
from latentsync.inference.windows import WindowPlan
from latentsync.types import AlignedFace, ArrayFrame, Compat
from tests.inference.world import (
    MASK,
    ColorShift,
    DrawnVideo,
    Identity,
    IndexPainter,
    KnownFaces,
    face_landmarks,
    sync,
    write_number,
)


def check_indices(video, frames, passed=frozenset()):
    """Every frame carries the audio token of its own time, or none if it passes through."""
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
    windows = record.to_dict()["windows"]
    assert (windows["length"], windows["shared"]) == (16, 1)
    assert windows["starts"] == [0, 15, 30, 45, 60]
    assert windows["joins"] == [15, 30, 45, 60]


@pytest.mark.parametrize("fps", [16, Fraction(24000, 1001), 25, Fraction(30000, 1001), 50, Fraction(60000, 1001)])
@pytest.mark.parametrize("seconds", [Fraction(1, 5), Fraction(133, 100), Fraction(27, 10)])
def test_every_rate_and_length(fps, seconds):
    video = DrawnVideo(40, fps=fps)
    frames = list(sync(video, seconds, IndexPainter()))
    assert len(frames) == frame_count(seconds, Fraction(fps))
    assert all(frame.time == number / Fraction(fps) for number, frame in enumerate(frames))
    check_indices(video, frames)


@pytest.mark.parametrize("mode", list(LengthMode))
def test_every_length_mode_has_the_right_audio(mode):
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


def test_frames_that_are_shown_again_are_not_detected_again():
    video = DrawnVideo(20)
    detector = KnownFaces(video)
    assert len(list(sync(video, Fraction(100, 25), detector=detector))) == 100
    assert detector.seen == 20


class Meeting:
    """Where stages stay a moment with each frame instead of working, and longer if that lets all of them meet."""

    stages = frozenset({"decode", "detect", "align", "generate", "paste", "encode"})

    def __init__(self):
        self.most = 0  # stages that were at work at once
        self._at_work = Counter()
        self._changed = threading.Condition()

    def attend(self, stage, frames=1):
        with self._changed:
            self._at_work[stage] += 1
            self.most = max(self.most, len(+self._at_work))
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most == len(self.stages), timeout=0.05 * frames)
            self._at_work[stage] -= 1


def test_all_stages_are_at_work_at_once(monkeypatch):
    """Decoding, detecting, aligning, generating, pasting and encoding of different frames."""
    meeting, canvas = Meeting(), AlignedFace(np.zeros((3, 8, 8), np.float32), np.eye(2, 3))

    class MeetingVideo(DrawnVideo):
        def frames(self, start=0, stop=None, *, reverse=False):
            for index in range(self.info.n_frames)[start:stop]:
                meeting.attend("decode")
                yield ArrayFrame(index, index / self.info.fps, self.draw(index))

    class MeetingFaces(KnownFaces):
        def detect(self, frames):
            meeting.attend("detect", len(frames))
            return super().detect(frames)

    class MeetingGenerator(Identity):
        def __call__(self, windows):
            meeting.attend("generate", sum(len(window.faces) for window in windows))
            return super().__call__(windows)

    monkeypatch.setattr(FaceAligner, "crop", lambda *job: meeting.attend("align") or canvas)
    monkeypatch.setattr(FacePaster, "fit", lambda *job, colors: UNFITTED)
    monkeypatch.setattr(FacePaster, "paste", lambda paster, frame, *rest, **more: meeting.attend("paste") or frame)
    video = MeetingVideo(600, 160, 160, face=70)
    frames = sync(video, video.info.duration, MeetingGenerator(), detector=MeetingFaces(video))
    with closing(frames):
        for _ in frames:
            meeting.attend("encode")
            if meeting.most == len(Meeting.stages):
                break
    assert meeting.most == len(Meeting.stages)


def test_batches_that_overlap_give_the_same_frames():
    video, found = DrawnVideo(60, missing={*range(20, 30)}), []
    for in_flight in (1, 2):
        record = RunRecord()
        frames = sync(video, Fraction(60, 25), IndexPainter(), record=record, in_flight=in_flight)
        found.append([frame.pixels for frame in frames])
        assert record.frames == 60
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_with_compat_one_batch_follows_another():
    """Posterior draws are made in the order of the windows."""
    threads = set()

    class Noting(Identity):
        def __call__(self, windows):
            threads.add(threading.current_thread().name)
            return super().__call__(windows)

    list(sync(DrawnVideo(80), Fraction(80, 25), Noting(), in_flight=2, compat=Compat.V1_5))
    assert threads == {"prefetch"}


@pytest.mark.parametrize(("in_flight", "occlusion"), [(1, "auto"), (2, "off")])
def test_no_more_frames_wait_than_the_estimate_says(in_flight, occlusion):
    """The estimate of memory; however slow what takes the frames is."""

    class Counting(DrawnVideo):
        decoded = 0

        def frames(self, *span, **order):
            for frame in super().frames(*span, **order):
                self.decoded += 1
                yield frame

    video = Counting(300, 160, 160, face=70.0)
    visibility = VisibilitySettings(occlusion=occlusion)
    cost = estimate(video.info, 300, WindowPlan(overlap=1), 256, SamplerSettings(), NetworkSizes(1, 1), 1e12,
                    held=REACH if occlusion == "auto" else 0, in_flight=in_flight)  # fmt: skip
    frames = sync(video, 12, in_flight=in_flight, visibility=visibility)
    waiting = 0
    with closing(frames):
        for taken, _ in zip(range(40), frames, strict=False):
            before = -1
            while taken % 13 == 0 and (video.decoded > before or video.decoded - taken <= 30):
                before = video.decoded
                time.sleep(0.2)  # until all stages are full, as a rule
            waiting = max(waiting, video.decoded - taken)
    assert waiting <= cost.memory_bytes / (3 * 160 * 160 + 24 * 256**2)


@pytest.mark.parametrize("in_flight", [1, 2])
def test_closing_early_stops_the_stages(in_flight):
    frames = sync(DrawnVideo(10_000), 400, in_flight=in_flight)
    next(frames)
    frames.close()
    for thread in threading.enumerate():
        if thread.name == "prefetch":
            thread.join(300)
            assert not thread.is_alive()


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


@pytest.mark.parametrize(("n", "seconds"), [(47, Fraction(20, 25)), (31, Fraction(1, 3))])
def test_what_plays_after_the_audio_stays_as_it_was(n, seconds):
    video, record = DrawnVideo(n), RunRecord()
    frames = list(sync(video, seconds, IndexPainter(), record=record, length=LengthMode.PAD_SILENCE))
    spoken = -int(-seconds * 25 // 1)
    changed = [not np.array_equal(frame.pixels, video.draw(k)) for k, frame in enumerate(frames)]
    assert changed == [True] * spoken + [False] * (n - spoken)
    assert (record.passed_through[0].first, record.passed_through[0].reason) == (spoken, AFTER_AUDIO)


@pytest.mark.parametrize(("face", "above"), [(420.0, 150.0), (130.0, 40.0)])
@pytest.mark.parametrize("across", [False, True])
def test_nothing_shines_in_from_outside_the_frame(face, above, across):
    class AtTheEdge(DrawnVideo):
        def landmarks(self, index):
            middle = [self.info.width / 2, self.info.height - above] if not across else [above, self.info.height / 2]
            return face_landmarks(np.array(middle), self.face)

        def draw(self, index):
            pixels = np.full((self.info.height, self.info.width, 3), (200, 160, 130), np.uint8)
            write_number(pixels, index)
            return pixels

    video = AtTheEdge(1, 960, 540, face=face)
    (frame,) = sync(video, Fraction(1, 25))
    assert np.abs(frame.pixels.astype(int) - video.draw(0)).max() <= 1
