"""Several people in one run: each as in a run of their own, and everybody else untouched."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from latentsync.diffusion.settings import SamplerSettings
from latentsync.face.paste_settings import PasteSettings
from latentsync.face.selection import FaceSelector
from latentsync.face.tracks import FaceTracks
from latentsync.face.visibility import VisibilitySettings
from latentsync.inference.compositing import lead_of
from latentsync.inference.excerpt import Excerpt
from latentsync.inference.options import SyncOptions
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.inference.record import RunRecord
from latentsync.inference.scene import OUTSIDE, Cast, Part, Role, merged
from latentsync.inference.timeline import LengthMode
from latentsync.inference.windows import FrameGroup, PassedFrame
from latentsync.types import ArrayFrame
from tests.inference.world import MASK, Crowd, Identity, KnownCrowd

RATE = 25
PASTE = PasteSettings(match_color=False, detail=0)
SEEN = VisibilitySettings(occlusion="off")
OPTIONS = SyncOptions(length=LengthMode.CUT, check_output=False, batch=3, paste=PASTE, visibility=SEEN)
LEFT, RIGHT = "index:0", "index:1"


class LoudnessAudio:
    """The token of a frame is the sample of the waveform at its time: what is spoken can be read off the faces."""

    def __init__(self, waveform):
        self.waveform, self.duration = waveform, Fraction(len(waveform), 16000)

    def window(self, frame_time):
        place = int(frame_time * 16000)
        return np.full((1, 1), self.waveform[min(place, len(self.waveform) - 1)], np.float32)


class ShadesByAudio(Identity):
    """Makes the faces darker or lighter by the token of each frame, times ``gain``; counts what it was given."""

    def __init__(self, gain=1.0):
        super().__init__()
        self.gain, self.batches, self.numbers = gain, [], []

    def __call__(self, windows):
        self.batches.append(len(windows))
        self.numbers += [window.number for window in windows]
        faces = super().__call__(windows)
        shades = np.stack([window.audio[:, 0, 0] for window in windows])
        return np.clip(faces + self.gain * shades[..., None, None, None], -1, 1)


def level(seconds, value):
    return np.full(int(seconds * 16000), value, np.float32)


def part(start, stop, value, options=OPTIONS, **more):
    return Part(Fraction(str(start)), Fraction(str(stop)), level(stop - start, value), options, **more)


def play(video, *roles, options=OPTIONS, record=None, made=None, steady=False):
    generators = {} if made is None else made

    def make(chosen, on_step, kept):
        generators[chosen.sampler.guidance_scale] = ShadesByAudio(chosen.sampler.guidance_scale / 1.5)
        return generators[chosen.sampler.guidance_scale]

    pipeline = LipsyncPipeline(make, lambda waveform, chosen: LoudnessAudio(waveform), MASK, steady_reference=steady)
    tracks = FaceTracks(KnownCrowd(video))
    tracks.choose([FaceSelector(role.face) for role in roles])
    cast = Cast(roles, video.info.duration + Fraction(1, RATE))
    return np.stack([f.pixels for f in pipeline.play(video, cast, options, tracks, record)])


def test_two_people_in_one_run_are_those_of_two_runs():
    video, made = Crowd(50), {}
    anna = Role(LEFT, (part(0, 2, 0.2),))
    ben = Role(RIGHT, (part(0.4, 1.6, -0.2),))
    source = np.stack([frame.pixels for frame in video.frames()])
    first, second = play(video, anna), play(video, ben)
    both = play(video, anna, ben, made=made)
    middle = 260  # between the two
    np.testing.assert_array_equal(both[:, :, :middle], first[:, :, :middle])
    np.testing.assert_array_equal(both[:, :, middle:], second[:, :, middle:])
    np.testing.assert_array_equal(first[:, :, middle:], source[:, :, middle:])
    np.testing.assert_array_equal(second[:, :, :middle], source[:, :, :middle])
    assert (first[:, :, :middle] != source[:, :, :middle]).any(axis=(1, 2, 3)).all()
    generator = made[1.5]
    assert len(set(generator.numbers)) == len(generator.numbers)
    assert max(generator.batches) > 1  # the windows of both are generated together


@pytest.mark.parametrize(("steady", "start", "stop"), [(True, 30, 42), (False, 9, 13)])
def test_an_excerpt_is_a_part_of_the_whole(steady, start, stop):
    """Each role has windows of its own, and fades of its own beside its parts."""
    options = replace(OPTIONS, paste=PasteSettings(), ramp=4)
    video, record = Crowd(60), RunRecord()
    anna = Role(LEFT, (part(0.4, 1.4, 0.3, fades=(None, 6)), part(1.4, 2, -0.3)), "anna")
    ben = Role(RIGHT, (part(0.2, 0.4, 0.3), part(1.24, 2.2, -0.2)), "ben")
    whole = play(video, anna, ben, options=options, steady=steady)
    excerpt = Excerpt(Fraction(start, RATE), Fraction(stop, RATE))
    frames = play(video, anna, ben, options=replace(options, excerpt=excerpt), record=record, steady=steady)
    np.testing.assert_array_equal(frames, whole[start:stop])
    assert (frames != np.stack([f.pixels for f in video.frames(start, stop)])).any(axis=(1, 2, 3)).all()
    assert record.frames == stop - start and set(record.others) == {"ben"}


def test_gaps_are_untouched_and_turns_follow_their_own_audio():
    video, record = Crowd(75), RunRecord()
    anna = Role(LEFT, (part(0.2, 1, 0.3), part(2, 2.6, -0.3)))
    ben = Role(RIGHT, (part(1, 1.6, 0.3),))
    frames = play(video, anna, ben, record=record)
    changed = frames != np.stack([frame.pixels for frame in video.frames()])
    left, right = (changed[:, :, half].any(axis=(1, 2, 3)) for half in (slice(0, 260), slice(260, 540)))
    assert np.flatnonzero(left).tolist() == [*range(5, 25), *range(50, 65)]
    assert np.flatnonzero(right).tolist() == list(range(25, 40))
    assert [(span.first, span.last, span.reason) for span in record.passed_through] == [
        (0, 4, OUTSIDE),
        (40, 49, OUTSIDE),
        (65, 74, OUTSIDE),
    ]
    mouth = frames[:, 195:205, 120:140].mean(axis=(1, 2, 3)) - frames[0, 195:205, 120:140].mean()
    assert mouth[15] > 5 and mouth[57] < -15  # each with the audio of its own part


def test_a_frame_is_left_alone_for_the_reason_of_whoever_has_a_segment_there():
    frame = next(Crowd(1).frames())
    outside, hidden = PassedFrame(frame, 0, OUTSIDE), PassedFrame(frame, 0, "no face")
    assert lead_of((outside, hidden)) is hidden and lead_of((outside, outside)).reason == OUTSIDE


def test_segments_have_their_own_settings_and_are_generated_together_where_these_agree():
    strong = replace(OPTIONS, sampler=SamplerSettings(guidance_scale=3.0))
    video, made = Crowd(50), {}
    anna = Role(LEFT, (part(0, 1, 0.2), part(1, 2, 0.2, strong)))
    play(video, anna, Role(RIGHT, (part(0, 2, 0.2, strong),)), made=made)
    assert sorted(made) == [1.5, 3.0]
    assert sum(made[1.5].batches) == 2 and sum(made[3.0].batches) == 6  # windows of 16 frames that share one


def test_transitions():
    video = Crowd(30)

    def strengths(fades):
        frames = play(video, Role(LEFT, (part(0.2, 1, 0.5, fades=fades),)))
        source = np.stack([frame.pixels for frame in video.frames()]).astype(float)
        change = np.abs(frames - source)[:, 195:205, 120:140].mean(axis=(1, 2, 3))
        return change / change.max()

    hard, usual, soft = strengths((0, 0)), strengths((None, None)), strengths((7, 3))
    assert hard[5:25].min() > 0.9
    np.testing.assert_allclose(usual[[5, 6, 7, 22, 23, 24]], [0.25, 0.5, 0.75, 0.75, 0.5, 0.25], atol=0.04)
    np.testing.assert_allclose(soft[5:12], np.arange(1, 8) / 8, atol=0.04)
    np.testing.assert_allclose(soft[22:25], [0.75, 0.5, 0.25], atol=0.04)


@pytest.mark.parametrize("is_named", [True, False])
def test_nothing_is_painted_over_a_face_that_is_nearer(is_named):
    """The larger head covers a part of the other one's mouth, whether it is dubbed or not."""
    video = Crowd(10, centres=((200, 150), (300, 180)), sizes=(120.0, 190.0))
    left, right = (Role(face, (part(0, 0.4, shade),)) for face, shade in ((LEFT, 0.4), (RIGHT, 0.1)))
    alone = play(video, right) if is_named else np.stack([frame.pixels for frame in video.frames()])
    frames = play(video, *([left, right] if is_named else [left]))
    for index in (3, 7):
        near = np.zeros(frames.shape[1:3], np.uint8)
        hull = cv2.convexHull(video.faces(index)[1].astype(np.float32))
        cv2.fillConvexPoly(near, hull.round().astype(np.int32), 1)
        np.testing.assert_array_equal(frames[index][near == 1], alone[index][near == 1])
        assert (frames[index][near == 0] != alone[index][near == 0]).any()


def test_no_role_runs_ahead_of_the_others():
    def groups(role, lengths):
        for length in lengths:
            order.append(role)
            frames = tuple(PassedFrame(ArrayFrame.of(np.zeros((1, 1, 3), np.uint8)), 0, "") for _ in range(length))
            yield FrameGroup(frames, (), (), role=role)

    order: list[int] = []
    assert len(list(merged([groups(0, [16] * 6), groups(1, [32, 4, 4, 56])]))) == 10
    assert order == [0, 1, 0, 0, 1, 1, 1, 0, 0, 0]
