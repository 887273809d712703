"""Pauses and stretches that are left alone: which frames are whose, and what the network is given."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from latentsync.audio.voice_activity import VoiceActivity
from latentsync.constants import AUDIO_RATE
from latentsync.errors import ConfigError
from latentsync.face.mask import load_mask
from latentsync.face.tracks import FaceTracks
from latentsync.inference import silence
from latentsync.inference.excerpt import Excerpt
from latentsync.inference.options import SyncOptions
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.inference.record import RunRecord
from latentsync.inference.silence import AFTER, BEFORE, SKIPPED, SpeechPlan
from latentsync.inference.stretches import SilenceMode, Stretch, Stretches
from latentsync.inference.timeline import LengthMode
from latentsync.types import Compat
from tests.inference.world import ClockAudio, DrawnVideo, Identity, KnownFaces

SIDE = 64
SPEECH = ((Fraction(0), Fraction(1)), (Fraction(12, 5), Fraction(16, 5)))  # seconds; between them a pause
SECONDS = Fraction(16, 5)
PAUSE = Stretch(Fraction(1), Fraction(12, 5))


@pytest.fixture(autouse=True)
def speech(monkeypatch):
    monkeypatch.setattr(silence, "find_speech", lambda waveform: VoiceActivity(SPEECH, "a listener"))


class Grey(Identity):
    """A mouth that is nothing but grey."""

    def __call__(self, windows):
        faces = super().__call__(windows).copy()
        faces[:, :, :, 36:60, 16:48] = 0.3
        return faces


def dub(video=None, steady=False, record=None, seconds=SECONDS, **options):
    video = video or DrawnVideo(40, 200, 200, face=110)
    pipeline = LipsyncPipeline(
        lambda *_: Grey(SIDE), lambda *_: ClockAudio(seconds), load_mask("mask", SIDE), steady_reference=steady
    )
    waveform = np.zeros(int(seconds * AUDIO_RATE), np.float32)
    chosen = SyncOptions(check_output=False, **options)
    return list(pipeline.sync(video, waveform, chosen, FaceTracks(KnownFaces(video)), record)), video


def strengths(frames, video):
    """How much of each frame's mouth is generated, 0 to 1."""
    changes = np.array([np.abs(frame.pixels.astype(int) - video.draw(frame.index)).sum() for frame in frames])
    return changes / changes.max()


def test_pauses_lie_between_what_is_said():
    assert VoiceActivity(SPEECH, "").pauses(Fraction(4)) == ((1, Fraction(12, 5)), (Fraction(16, 5), 4))
    assert VoiceActivity((), "").pauses(Fraction(4)) == ((0, 4),)
    assert VoiceActivity(((Fraction(1, 2), Fraction(41, 10)),), "").pauses(Fraction(4)) == ((0, Fraction(1, 2)),)


def test_a_skipped_stretch_is_the_source_with_ramps_outside():
    record = RunRecord()
    frames, video = dub(record=record, skip=(Stretch.parse("1-2"),))
    shown = strengths(frames, video)
    assert not shown[25:50].any()
    assert (shown[:22] > 0.5).all()
    assert (shown[53:] > 0.5).all()
    assert (np.diff(shown[21:26]) < 0).all()
    assert (np.diff(shown[49:54]) > 0).all()
    assert [(span.first, span.last, span.reason) for span in record.passed_through] == [(25, 49, SKIPPED)]


@pytest.mark.parametrize("mode", LengthMode)
def test_skipping_counts_seconds_of_the_result(mode):
    frames, video = dub(length=mode, skip=(Stretch.parse("0.4-0.8"), Stretch.parse("1-1.2")))
    shown = strengths(frames, video)
    half = Fraction(1, 50)
    untouched = [frame.time for frame, share in zip(frames, shown, strict=True) if share == 0 and frame.time < SECONDS]
    inside = [f.time for f in frames if 0.4 <= f.time + half / 50 < 0.8 or 1 <= f.time + half / 50 < 1.2]
    assert untouched == inside


def test_original_shows_the_source_in_the_middle_of_the_pause():
    frames, video = dub(silence=SilenceMode.ORIGINAL)
    shown = strengths(frames, video)
    full = [frame.time for frame, share in zip(frames, shown, strict=True) if share > 0.5]
    assert all(time in full for time in (f.time for f in frames) if time <= PAUSE.start or time >= PAUSE.stop - BEFORE)
    assert not shown[34:52].any()  # of 25 to 60
    assert (np.diff(shown[30:34]) < 0).all()


def test_the_first_and_the_last_syllable_are_the_network_s():
    """Nothing that is done to a pause reaches what is heard, nor the time in which the mouth opens before it."""
    plan = SpeechPlan.of_run(np.zeros(int(SECONDS * AUDIO_RATE)), SyncOptions(silence=SilenceMode.CLOSE), Fraction(25))
    eased = plan.eased(ClockAudio(SECONDS), lambda: ClockAudio(1))
    plain = ClockAudio(SECONDS)
    for frame in range(80):
        time = Fraction(frame, 25)
        changed = (eased.window(time) != plain.window(time)).any()
        assert not changed or PAUSE.start + AFTER < time < PAUSE.stop - BEFORE
    middle = eased.window(Fraction(17, 10))
    assert (middle == ClockAudio(1).window(Fraction(1, 2))).all()
    steps = np.diff([float(eased.window(Fraction(frame, 100)).mean()) for frame in range(320)])
    assert np.abs(steps).max() < 10  # of 60 from the audio's tokens to those of silence, over 12 hundredths


def test_close_gives_the_network_silence_and_changes_nothing_else():
    seen = []

    class Listening(Grey):
        def __call__(self, windows):
            seen.append(windows[0].audio[:, 0, 0])
            return super().__call__(windows)

    video = DrawnVideo(40, 200, 200, face=110)
    for options in ({}, {"silence": SilenceMode.CLOSE}):
        pipeline = LipsyncPipeline(
            lambda *_: Listening(SIDE), lambda waveform, _: ClockAudio(SECONDS), load_mask("mask", SIDE)
        )
        chosen = SyncOptions(check_output=False, overlap=0, **options)
        waveform = np.zeros(int(SECONDS * AUDIO_RATE), np.float32)
        list(pipeline.sync(video, waveform, chosen, FaceTracks(KnownFaces(video))))
    plain, closed = np.concatenate(seen[:5]), np.concatenate(seen[5:])
    assert np.flatnonzero(plain != closed).tolist() == list(range(31, 55))
    assert set(closed[34:52]) == {25.0}  # what silence gives


def test_short_pauses_stay_as_they_are():
    assert not silence.quiet_stretches(((Fraction(1), Fraction("1.55")),)).all
    assert [str(s) for s in silence.quiet_stretches(((Fraction(1), Fraction("1.75")),)).all] == ["1.2-1.55"]


def test_original_spares_what_the_source_says():
    """The source speaks from 1 to 1.6 s of its own; a pause at 1 to 3 s shows it from its start, twice as fast."""
    quiet = Stretches([Stretch(Fraction(1), Fraction(3))])
    plan = SpeechPlan(quiet=quiet, mode=SilenceMode.ORIGINAL)
    shown = [(Fraction(k, 25), Fraction(k, 25) * 2 - 2) for k in range(100)]
    resting = plan.where_source_rests(shown, VoiceActivity(((Fraction(1), Fraction(8, 5)),), ""))
    first, last = (min(t for t, s in shown if s >= edge) for edge in (1 - BEFORE, Fraction(8, 5) + AFTER))
    assert resting.quiet.all == (Stretch(Fraction(1), first), Stretch(last, Fraction(3)))
    assert "the source speaks itself" in resting.notes[0]
    assert plan.where_source_rests(shown, None) is plan
    assert plan.where_source_rests(shown, VoiceActivity((), "")).quiet.all == quiet.all


@pytest.mark.parametrize("steady", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"skip": (Stretch.parse("0-0.9"), Stretch.parse("2-2.2"))},
        {"silence": SilenceMode.ORIGINAL},
        {"silence": SilenceMode.CLOSE},
    ],
    ids=["skip", "original", "close"],
)
def test_an_excerpt_shows_what_the_whole_shows(options, steady):
    excerpt = Excerpt(Fraction(9, 5), Fraction(12, 5))
    video = DrawnVideo(90, 200, 200, face=110)
    whole, _ = dub(video, steady, **options)
    part, _ = dub(video, steady, **options, excerpt=excerpt)
    assert len(part) == 15
    for frame in part:
        same = next(other for other in whole if other.time == frame.time)
        assert np.array_equal(frame.pixels, same.pixels), float(frame.time)


def test_no_release_does_either():
    for options in ({"skip": (Stretch.parse("0-1"),)}, {"silence": SilenceMode.CLOSE}):
        with pytest.raises(ConfigError, match="No release"):
            SyncOptions(compat=Compat.V1_5, **options)
