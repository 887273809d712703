"""Masks of the user's: white keeps the source at that moment, forwards and backwards; what cannot be one is refused."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from latentsync.errors import ConfigError
from latentsync.face.box import box_around
from latentsync.face.occlusion import REACH, SETTLED
from latentsync.face.visibility import VisibilitySettings
from latentsync.inference.occlusion import OcclusionStage, occlusion_reach, with_cover
from latentsync.inference.options import SyncOptions
from latentsync.inference.overview import MOST_ROWS, Overview
from latentsync.inference.visibility import OCCLUDED, SeenSpans, seen_as
from latentsync.inference.windows import FaceFrame, PassedFrame
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.types import AlignedFace, ArrayFrame, Compat, FaceObservation, VideoInfo
from tests.inference.world import face_landmarks

SIDE, COUNT = 64, 40
INFO = VideoInfo("clip.mp4", SIDE, SIDE, Fraction(25), COUNT, Fraction(COUNT, 25))
POINTS = face_landmarks((32, 30), 50)


class Source:
    info = INFO

    def times(self):
        return [Fraction(k, 25) for k in range(COUNT)]


def face_frame(index, pixels=None):
    frame = ArrayFrame(index, Fraction(index, 25), np.zeros((SIDE, SIDE, 3), np.uint8) if pixels is None else pixels)
    face = AlignedFace(np.zeros((3, SIDE, SIDE), np.float32), np.eye(2, 3))
    return FaceFrame(frame, face, 0, FaceObservation(index, 0, box_around(POINTS), POINTS, 0.9), confidence=0.9)


def options(occlusion, **more):
    return SyncOptions(visibility=VisibilitySettings(occlusion=str(occlusion)), **more)


@pytest.fixture(scope="module")
def mask(tmp_path_factory):
    """At half the rate and twice the size: column ``index`` of the source and all on its left are white."""
    path = tmp_path_factory.mktemp("mask") / "mask.mkv"
    info = replace(INFO, width=2 * SIDE, height=2 * SIDE, fps=Fraction(25, 2), n_frames=COUNT // 2)

    def drawn():
        for number in range(COUNT // 2):
            pixels = np.zeros((2 * SIDE, 2 * SIDE, 3), np.uint8)
            pixels[:, : 2 * (2 * number + 1)] = 255
            yield ArrayFrame(number, Fraction(2 * number, 25), pixels)

    write_video(path, drawn(), info, EncodingOptions("ffv1"), overwrite=True)
    return path


@pytest.mark.parametrize("order", [range(COUNT), range(COUNT - 1, -1, -1), [3, 30, 4, 4, 39, 0]])
def test_white_keeps_the_source_at_its_moment(mask, order):
    stage = OcclusionStage(options(mask), Source())
    for member in stage.apply(face_frame(index) for index in order):
        shown = member.frame.index // 2 * 2 + 1  # columns that are white
        row = np.ones(SIDE) if member.visible is None else member.visible[40]
        assert row[: shown - 1].max(initial=0) < 0.1 and row[shown + 1 :].min(initial=1) > 0.9


def test_masks_of_another_shape_or_length_are_refused(mask, tmp_path):
    class Longer(Source):
        info = replace(INFO, duration=Fraction(10))

    with pytest.raises(ConfigError, match="same shape and length"):
        OcclusionStage(options(mask), Longer())
    Longer.info = replace(INFO, width=SIDE + 8)
    with pytest.raises(ConfigError, match="same shape and length"):
        OcclusionStage(options(mask), Longer())


def test_off_and_compat_change_nothing():
    frames = [face_frame(k) for k in range(3)]
    for chosen in (options("off"), options("auto", compat=Compat.V1_5)):
        assert list(OcclusionStage(chosen, Source()).apply(iter(frames))) == frames
        assert occlusion_reach(chosen) == (0, 0)
    assert occlusion_reach(options("auto")) == (SETTLED, REACH)


def test_auto_gives_every_frame_back_in_order():
    frames = [face_frame(k) if k % 5 else PassedFrame(face_frame(k).frame, 0, "no face") for k in range(50)]
    frames[30:] = [replace(frame, shot=1) for frame in frames[30:]]
    assert list(OcclusionStage(options("auto"), Source()).apply(iter(frames))) == frames


def test_confidence_is_what_is_left_of_the_mouth():
    cover = np.zeros((SIDE, SIDE), np.float32)
    member = face_frame(0)
    assert with_cover(member, cover) is member
    cover[:, :32] = 1
    half = with_cover(member, cover)
    assert half.confidence == pytest.approx(0.5, abs=0.06)
    assert seen_as(half)[0] == OCCLUDED
    assert half.visible[:, :31].max() == 0 and half.visible[:, 33:].min() == 1


def test_spans_are_few_and_cover_every_frame():
    seen = SeenSpans()
    for number in range(5000):
        member = replace(face_frame(number), confidence=0.9 if number % 2 else 0.05)  # as bad as it can be
        seen.add(number, PassedFrame(member.frame, 0, "no face") if 100 <= number < 200 else member)
    assert len(seen.spans) <= 1000
    assert [span.first for span in seen.spans[1:]] == [span.last + 1 for span in seen.spans[:-1]]
    assert (seen.spans[0].first, seen.spans[-1].last) == (0, 4999)
    assert [span.reason for span in seen.spans if span.first <= 150 <= span.last] == ["no face"]
    assert seen.to_list()[0]["lowest"] == 0.05


class Made:
    def __init__(self, source):
        self.source = source


@pytest.mark.parametrize(("seconds", "rows"), [(3, 3), (250, None)])
def test_the_overview_has_a_row_a_second_until_there_are_many(tmp_path, seconds, rows):
    overview = Overview()
    for index in range(0, seconds * 25, 5):
        member = face_frame(index)
        (made,) = overview.sources(iter([Made(member)]), lambda frame: True)
        painted = np.zeros((SIDE, SIDE, 3), np.uint8)
        painted[40:50, 20:44] = 200
        overview.result(ArrayFrame(index, made.source.frame.time, painted))
    overview.write(tmp_path / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    times = [row.time for row in overview._rows]
    assert times[0] == 0 and len({after - before for before, after in zip(times, times[1:], strict=False)}) == 1
    assert len(times) == rows if rows else MOST_ROWS // 2 <= len(times) <= MOST_ROWS
    assert sheet.shape[0] < 24 * 131 and sheet.shape[1] <= 4 * 520
