"""A head that turns away: its mouth fades out and in again, and nothing is generated meanwhile."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from latentsync.data.talkers.clip import TalkerOptions, make_talker
from latentsync.face.box import box_around
from latentsync.face.selection import TargetFrame
from latentsync.face.visibility import TURNED, VisibilitySettings
from latentsync.inference.options import SyncOptions
from latentsync.inference.visibility import VisibilityLimits
from latentsync.inference.windows import FaceFrame, PassedFrame, ramp_at_gaps
from latentsync.types import AlignedFace, ArrayFrame, Compat, FaceObservation, VideoInfo

INFO = VideoInfo("clip.mp4", 256, 256, Fraction(25), 100, Fraction(4))
NOTHING = np.zeros((0, 0, 3), np.uint8)


def talker(sentence, seed=3):
    return make_talker(seed, sentence, 5, seconds=4, options=TalkerOptions(profiles=((1.6, 2.4),)))


def targets_of(clip):
    for index, points in enumerate(clip.landmarks):
        frame = ArrayFrame(index, Fraction(index, 25), NOTHING)
        yield TargetFrame(frame, FaceObservation(index, 0, box_around(points), points, 1.0), 0)


def ramped(clip, **settings):
    options = SyncOptions(visibility=VisibilitySettings(**settings))
    limits = VisibilityLimits(options, INFO)
    aligned = (
        PassedFrame(target.frame, target.shot, target.reason)
        if target.face is None
        else FaceFrame(target.frame, AlignedFace(NOTHING, np.eye(2, 3)), target.shot, target.face)
        for target in limits.apply(targets_of(clip))
    )
    return list(ramp_at_gaps(aligned, options.ramp, limits.ramps))


@pytest.mark.parametrize("seed", [3, 7])
def test_the_opening_of_the_mouth_fades_without_a_jump(seed):
    """The largest step of the shown opening is at most 1.5 times the source's own, also where it fades."""
    source, generated = talker(4, seed), talker(9, seed)
    frames = ramped(source)
    strength = np.array([getattr(frame, "strength", 0.0) for frame in frames])
    assert {frame.reason for frame in frames if isinstance(frame, PassedFrame)} == {TURNED}
    assert (strength == 0).sum() > 10 and (strength == 1).sum() > 30
    shown = strength * generated.opening + (1 - strength) * source.opening
    assert np.abs(np.diff(shown)).max() <= 1.5 * np.abs(np.diff(source.opening)).max()
    assert np.abs(np.diff(strength)).max() <= 1 / 7 + 1e-9  # the opposite: a cut in one frame would be 1


def test_without_limits_every_face_is_generated():
    frames = ramped(talker(4), max_yaw=0, max_pitch=0, min_face=0, max_cut=0)
    assert {getattr(frame, "strength", None) for frame in frames} == {1.0}


def test_a_fade_of_no_frames_leaves_the_usual_ramp():
    strengths = sorted({frame.strength for frame in ramped(talker(4), fade=0) if isinstance(frame, FaceFrame)})
    assert strengths == [0.25, 0.5, 0.75, 1.0]


def test_compat_has_no_limits():
    limits = VisibilityLimits(SyncOptions(compat=Compat.V1_5), INFO)
    assert limits.reach == 0 and not limits.ramps
    assert all(target.face is not None and not target.reason for target in limits.apply(targets_of(talker(4))))
