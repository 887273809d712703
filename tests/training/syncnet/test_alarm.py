"""The alarm speaks at chance level only, and blames what was measured; offsets by a network whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latentsync.data.clip_reader import ArrayCache, MelReader
from latentsync.data.scan import load_clips
from latentsync.errors import DataError
from latentsync.metrics.stable_sync import StableSync
from latentsync.training.syncnet.alarm import ChanceAlarm, SyncFacts, diagnose, measure_offset
from latentsync.types import SyncView
from tests.data.clips import talking_square
from tests.media.synthetic import write_clip
from tests.metrics.sync_networks import Knowing

FINE = SyncFacts(
    clips=50_000, sources=5_000, hours=100.0, silent_share=0.1, still_share=0.0, learning_rate=1e-5, pairs_per_step=256,
    min_distance=5, near_negative_share=0.0, in_sync_share=0.97, offsets="-1: 1, +0: 38",
)  # fmt: skip
MODEL = StableSync(Knowing(), SyncView(resolution=32))


def rows(losses):
    return [{"step": 10 * (k + 1), "loss": loss} for k, loss in enumerate(losses)]


def test_it_waits_and_then_speaks_at_every_doubling():
    alarm = ChanceAlarm(100, lambda: FINE)
    spoken = [step for step in range(10, 1000, 10) if alarm.check(step, rows([0.6931] * (step // 10)))]
    assert spoken == [100, 200, 400, 800]


def test_a_loss_that_moves_is_no_alarm():
    assert ChanceAlarm(100, lambda: FINE).check(100, rows([0.69] * 7 + [0.65] * 3)) is None
    assert ChanceAlarm(100, lambda: FINE).check(100, rows([0.4] * 5 + [0.75] * 5)) is None
    assert ChanceAlarm(100, lambda: FINE).check(100, rows([0.4] * 5 + [0.70] * 5)) is not None


def test_a_network_that_left_chance_level_early_is_judged_by_its_last_quarter():
    assert ChanceAlarm(100, lambda: FINE).check(100, rows([0.55] * 7 + [0.693] * 3)) is not None


def test_chance_level_is_where_the_weights_of_fits_and_misfits_put_it():
    assert ChanceAlarm(100, lambda: FINE, chance=0.837).check(100, rows([0.84] * 10)) is not None
    assert ChanceAlarm(100, lambda: FINE, chance=0.837).check(100, rows([0.693] * 10)) is None


def first_cause(**values):
    text = diagnose(replace(FINE, **values), step=100_000, loss=0.6932)
    return text.splitlines()[2]


def test_the_worst_value_is_named_first_with_its_figure():
    assert "out" not in diagnose(FINE, 100_000, 0.6932).splitlines()[1]
    assert "No measured value is suspicious" in diagnose(FINE, 100_000, 0.6932)
    assert "12% of the clips are in sync" in first_cause(in_sync_share=0.12, offsets="+75: 30", sources=80)
    assert "-2: 5, +3: 35" in first_cause(in_sync_share=0.0, offsets="-2: 5, +3: 35")
    assert "3 recordings" in first_cause(sources=3, pairs_per_step=60)
    assert "1.0e-02" in first_cause(learning_rate=1e-2)
    assert "2 pairs per step" in first_cause(pairs_per_step=2)
    assert "90% of the audio is silent" in first_cause(silent_share=0.9)
    assert "80% of the windows hardly move" in first_cause(still_share=0.8)
    assert "31% of the negatives" in first_cause(near_negative_share=0.31, min_distance=1)


def test_unmeasured_offsets_are_said_to_be_unmeasured():
    assert "offset_syncnet_path" in diagnose(replace(FINE, in_sync_share=None), 100_000, 0.69)


@pytest.fixture(scope="module")
def mels(tmp_path_factory):
    return MelReader(ArrayCache(tmp_path_factory.mktemp("mel")))


@pytest.mark.parametrize("late", [0, 3, -4, 75])
def test_an_offset_is_measured_in_frames(tmp_path, mels, late):
    frames, audio = talking_square(5, 200)
    moved = np.roll(audio, late * 640)
    write_clip(tmp_path / "clip.mp4", frames, sound=moved)
    (clip,) = load_clips(tmp_path).clips
    offset = measure_offset(MODEL, clip, mels, max_shift=15)
    if late == 75:
        assert offset.confidence < 0.2
        assert measure_offset(MODEL, clip, mels, max_shift=90).frames == 75
    else:
        assert offset.frames == late
        assert offset.confidence > 0.2


def test_a_clip_without_two_windows_of_sound_has_no_offset(tmp_path, mels):
    """Its audio is shorter than the container says, so that no look at the file foresaw it."""
    frames, audio = talking_square(5, 48)
    write_clip(tmp_path / "clip.mp4", frames, sound=audio[: 28 * 640])
    (clip,) = load_clips(tmp_path).clips
    with pytest.raises(DataError, match="too short to measure its offset"):
        measure_offset(MODEL, clip, mels)
