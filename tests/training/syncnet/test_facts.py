"""A/V offsets of clips, with a network whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.data.clip_reader import ArrayCache, MelReader
from latentsync.data.scan import load_clips
from latentsync.errors import DataError
from latentsync.metrics.stable_sync import StableSync
from latentsync.training.syncnet.facts import measure_offset
from latentsync.types import SyncView
from tests.data.clips import talking_square
from tests.media.synthetic import write_clip
from tests.metrics.sync_networks import Knowing

MODEL = StableSync(Knowing(), SyncView(resolution=32))


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
