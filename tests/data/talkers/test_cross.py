"""The same talker saying two things."""

from __future__ import annotations

import numpy as np

from latentsync.data.talkers.clip import TalkerOptions, make_talker
from latentsync.data.talkers.cross import make_cross_clip, speaking


def test_only_the_mouth_differs_and_follows_the_new_sound():
    clip = make_cross_clip(0, seconds=3.0, size=96)
    assert clip.source.n_frames == clip.truth.n_frames == 75
    assert np.array_equal(clip.source.landmarks[:, 17:48], clip.truth.landmarks[:, 17:48])
    assert abs(np.corrcoef(clip.source.opening, clip.truth.opening)[0, 1]) < 0.6
    for index in (10, 60):
        before, after = (next(one.frames(index, index + 1)) for one in (clip.source, clip.truth))
        assert (before != after).any()
        assert np.array_equal(before[:30], after[:30])
    assert np.array_equal(clip.waveform, clip.truth.waveform)


def test_no_two_clips_share_a_person_or_a_sentence():
    clips = [make_cross_clip(number, seconds=0.4, size=32) for number in range(3)]
    people = {clip.source.identity_seed for clip in clips}
    sentences = {one.sentence_seed for clip in clips for one in (clip.source, clip.truth)}
    assert (len(people), len(sentences)) == (3, 6)


def test_a_borrowed_voice_is_heard_and_sets_the_mouth():
    own = make_talker(1, 2, 3, seconds=1.0, size=32)
    lent = make_talker(1, 2, 3, seconds=1.0, size=32, options=TalkerOptions(voice_of=9))
    lender = make_talker(9, 2, 3, seconds=1.0, size=32)
    assert np.array_equal(lent.waveform, lender.waveform)
    assert not np.array_equal(lent.waveform, own.waveform)
    scale = lent.opening.max() / lender.opening.max()  # mouths of different people open differently far
    assert np.allclose(lent.opening, lender.opening * scale, atol=1e-5)


def test_the_mouth_rests_where_nobody_speaks():
    clip = make_cross_clip(4, seconds=4.0, size=32).truth
    rest = ~speaking(clip)
    assert rest.sum() >= 8  # the pause, without the time to settle
    assert clip.opening[rest].max() < 0.1 * clip.opening.max()
    assert clip.opening[~rest].std() > 5 * clip.opening[rest].std()
