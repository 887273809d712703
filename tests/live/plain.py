"""A live world without networks: the generator gives its crops back, and waits for the audio as a real one does."""

from __future__ import annotations

import numpy as np

from latentsync.constants import AUDIO_RATE
from latentsync.face.tracks import FaceTracks
from latentsync.features.live_features import LOOK_AHEAD
from latentsync.inference.faces import tracking_settings
from latentsync.inference.options import LiveSettings, SyncOptions
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.live.audio_input import ENDLESS
from latentsync.live.person import analyse
from tests.inference.world import MASK, DrawnVideo, Identity, KnownFaces

OPTIONS = SyncOptions(live=LiveSettings(window=4), check_output=False)


class AwaitedAudio:
    """Tokens of nothing, as soon as the audio of a frame is there."""

    duration = ENDLESS

    def __init__(self, source):
        self.source = source

    def window(self, frame_time):
        self.source.until(int((frame_time + LOOK_AHEAD) * AUDIO_RATE))
        return np.zeros((1, 1), np.float32)


def plain_pipeline(generator=None):
    return LipsyncPipeline(
        lambda options, on_step, kept: generator or Identity(), lambda source, options: AwaitedAudio(source), MASK
    )


def plain_person(pipeline, frames=9):
    video = DrawnVideo(frames, width=160, height=160, face=70.0)
    return analyse(video, FaceTracks(KnownFaces(video), settings=tracking_settings(OPTIONS)), pipeline, OPTIONS)
