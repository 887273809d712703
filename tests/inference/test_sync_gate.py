"""The gate: which frames are judged together, what is made again, and what is told of it."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

from latentsync.constants import AUDIO_RATE
from latentsync.errors import ConfigError
from latentsync.face.mask import load_mask
from latentsync.face.tracks import FaceTracks
from latentsync.inference.excerpt import Excerpt
from latentsync.inference.options import DEFAULT_SEED, SyncGate, SyncOptions
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.inference.record import RunRecord, SyncVerdict
from latentsync.inference.stretches import Stretch
from latentsync.types import Compat
from tests.inference.world import ClockAudio, DrawnVideo, Identity, KnownFaces

SIDE = 64
GOOD, POOR = SyncVerdict(0.9, 0.4, 0, True), SyncVerdict(0.3, 0.02, 7, False)


class Shade(Identity):
    """A mouth of one level."""

    def __init__(self, level):
        super().__init__(SIDE)
        self.level, self.windows = level, []

    def __call__(self, windows):
        faces = super().__call__(windows).copy()
        faces[:, :, :, 36:60, 16:48] = self.level
        self.windows += [window.number for window in windows]
        return faces


class Judge:
    """Finds the first mouths poor from the second stretch on, and the second ones good or as poor."""

    def __init__(self, mended=True):
        self.mended, self.heard = mended, []

    def __call__(self, faces, start):
        mouth = faces[:, 50, 32, 0].mean() / 127.5 - 1
        self.heard.append((len(faces), start, round(float(mouth), 1)))
        if start < 2:
            return GOOD
        return GOOD if self.mended and mouth > 0 else POOR


def dub(judge, video=None, seconds=Fraction(5), **options):
    video = video or DrawnVideo(60, 200, 200, face=110)
    made = []

    def make(chosen, on_step, kept):
        made.append((chosen.seed, chosen.sampler.guidance_scale, kept, Shade(0.5 if made else -0.5)))
        return made[-1][-1]

    pipeline = LipsyncPipeline(make, lambda *_: ClockAudio(seconds), load_mask("mask", SIDE))
    chosen, record = SyncOptions(check_output=False, overlap=0, **options), RunRecord()
    waveform = np.zeros(int(seconds * AUDIO_RATE), np.float32)
    frames = list(
        pipeline.sync(video, waveform, chosen, FaceTracks(KnownFaces(video)), record, judge=judge, kept="kept")
    )
    return frames, record, made


def stretches(record):
    return [(str(each.start), str(each.stop), each.verdict.in_sync) for each in record.judged]


def test_stretches_are_judged_and_what_is_out_of_sync_is_reported():
    judge = Judge()
    plain, _, _ = dub(None)
    frames, record, made = dub(judge, sync_gate=SyncGate.REPORT)
    assert judge.heard == [(64, 0, -0.5), (61, Fraction(64, 25), -0.5)]
    assert stretches(record) == [("0", "64/25", True), ("64/25", "5", False)]
    assert [each.start for each in record.out_of_sync] == [Fraction(64, 25)]
    assert len(made) == 1
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(frames, plain, strict=True))
    written = json.loads(json.dumps(record.to_dict()))["sync"]
    assert [(each["start"], each["verdict"]["in_sync"], each["first_try"]) for each in written] == [
        (0.0, True, None),
        (2.56, False, None),
    ]


def test_what_is_out_of_sync_is_made_again_and_shown_if_it_is_better():
    frames, record, made = dub(Judge(), sync_gate=SyncGate.REDO)
    (_, guidance, _, first), (seed, more, kept, second) = made
    assert (seed, more, kept) == (DEFAULT_SEED + 1, guidance + 0.5, None)
    assert second.windows == [4, 5, 6, 7]
    assert first.windows == [*range(8)]
    assert record.judged[1].verdict == GOOD
    assert record.judged[1].first_try == POOR
    assert record.out_of_sync == []
    plain, _, _ = dub(None)
    same = [np.array_equal(one.pixels, other.pixels) for one, other in zip(frames, plain, strict=True)]
    assert same == [True] * 64 + [False] * 61


def test_what_stays_out_of_sync_is_the_first_try_and_is_flagged():
    frames, record, made = dub(Judge(mended=False), sync_gate=SyncGate.REDO)
    plain, _, _ = dub(None)
    assert len(made) == 2
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(frames, plain, strict=True))
    assert record.judged[1].first_try == POOR
    assert "also when it was made again" in record.out_of_sync[0].describe()


def test_gaps_and_other_rates():
    """Of a stretch with a gap the longer side is judged, at 25 frames/s whatever the rate of the video."""
    judge = Judge()
    video = DrawnVideo(160, 200, 200, fps=50, face=110)
    gap = (Stretch.parse("0.4-0.8"),)
    _, record, _ = dub(judge, video, Fraction(3), sync_gate=SyncGate.REPORT, skip=gap)
    assert judge.heard[0][:2] == (44, Fraction(4, 5))
    assert stretches(record)[0][:2] == ("0", "64/25")
    assert len(judge.heard) == 1  # the rest is too short


def test_an_excerpt_is_judged_and_not_made_again():
    excerpt = Excerpt(Fraction(3), Fraction(9, 2))
    judge = Judge()
    frames, record, made = dub(judge, sync_gate=SyncGate.REDO, excerpt=excerpt)
    whole, _, _ = dub(None)
    assert len(made) == 1
    assert len(judge.heard) == 1
    for frame in frames:
        assert np.array_equal(frame.pixels, next(other for other in whole if other.time == frame.time).pixels)


def test_off_is_the_default_and_no_release_has_a_gate():
    judge = Judge()
    _, record, _ = dub(judge)
    assert judge.heard == []
    assert record.to_dict()["sync"] == []
    with pytest.raises(ConfigError, match="No release"):
        SyncOptions(compat=Compat.V1_5, sync_gate=SyncGate.REPORT)
