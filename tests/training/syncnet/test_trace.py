"""Sync of a clip that comes frame by frame, with a network whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from latentsync.audio.mel import syncnet_mel
from latentsync.data.syncnet_dataset import SyncView
from latentsync.training.syncnet.model import SyncModel
from latentsync.training.syncnet.trace import STRIDE, SyncTrace
from tests.data.clips import talking_square
from tests.training.syncnet.test_model import Knowing

MODEL = SyncModel(Knowing(), SyncView(resolution=32))


def trace_of(faces, sound):
    trace = SyncTrace(MODEL, syncnet_mel(sound[:, 0].astype(np.float32) / 32768))
    for face in faces:
        trace.add(face)
    return trace.finish()


@pytest.mark.parametrize("late", [0, 4, -3])
def test_the_sound_fits_where_it_is(late):
    frames, sound = talking_square(5, 120)
    fit = trace_of(frames, np.roll(sound, late * 640, axis=0))
    assert fit.offset.frames == late
    assert fit.windows == len(range(0, 120 - 16 + 1, STRIDE))
    right = trace_of(frames, sound)
    assert right.cosine > trace_of(frames, np.roll(sound, 60 * 640, axis=0)).cosine + 0.1


def test_no_window_reaches_across_a_missing_face():
    frames, sound = talking_square(5, 60)
    whole = trace_of(frames, sound)
    assert trace_of([None if 20 <= n < 30 else face for n, face in enumerate(frames)], sound).windows < whole.windows
    assert trace_of([face if n % 10 else None for n, face in enumerate(frames)], sound) is None
    assert trace_of(frames[:10], sound) is None
