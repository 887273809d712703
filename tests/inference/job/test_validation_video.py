"""A clip that is opened once and dubbed several times."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentsync.errors import AudioError, NoFaceError, VideoError
from latentsync.face.align import FaceAligner, align_face
from latentsync.face.detections_file import read_detections, write_detections
from latentsync.face.mask import load_mask
from latentsync.inference.job.validation_video import open_validation_video
from latentsync.inference.options import SyncOptions
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.media.video import VideoFile
from tests.data.talkers.talker_video import write_talker_video
from tests.inference.world import ClockAudio, ColorShift

SIDE = 64
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def talker_video(tmp_path_factory):
    return write_talker_video(tmp_path_factory.mktemp("talker"))


def painting() -> LipsyncPipeline:
    return LipsyncPipeline(
        lambda options, on_step, kept: ColorShift(SIDE),
        lambda waveform, options: ClockAudio(len(waveform) / 16000),
        load_mask("mask", SIDE),
    )


def test_every_dub_is_the_same_and_is_watched(talker_video, tmp_path):
    video, faces = talker_video
    validation = open_validation_video(video, video, str(faces), tmp_path, CPU, SIDE)
    shown = []
    for name in ("first.mp4", "second.mp4", "second.mp4"):
        seen = []
        validation.dub(
            painting(), SyncOptions(check_output=False), tmp_path / name, lambda f, p, seen=seen: seen.append((f, p))
        )
        shown.append(np.stack([frame.pixels for frame, _ in seen]))
        assert all(placement is not None for _, placement in seen)
    assert np.array_equal(shown[0], shown[1])
    assert np.array_equal(shown[0], shown[2])
    source = list(validation.source())
    assert len(source) == len(shown[0]) == VideoFile(tmp_path / "second.mp4").info.n_frames == 30
    changed = (shown[0] != np.stack([frame.pixels for frame, _ in source])).any(axis=(1, 2, 3))
    assert changed.all()
    frame, placement = source[7]
    landmarks = read_detections(faces)[7][0].landmarks
    plain = align_face(frame.pixels, FaceAligner(SIDE).matrix(landmarks), SIDE).pixels
    mine = align_face(frame.pixels, placement.matrix, SIDE).pixels
    assert np.abs(plain - mine).mean() < 0.1  # tracks are smoothed, so not equal


def test_what_cannot_be_dubbed_is_refused_when_it_is_opened(talker_video, tmp_path):
    video, faces = talker_video
    write_detections(tmp_path / "nobody.npz", {number: [] for number in range(30)})
    with pytest.raises(NoFaceError, match="no usable face"):
        open_validation_video(video, video, str(tmp_path / "nobody.npz"), tmp_path, CPU, SIDE)
    with pytest.raises(AudioError):
        open_validation_video(video, faces, str(faces), tmp_path, CPU, SIDE)
    with pytest.raises(VideoError):
        open_validation_video(faces, video, str(faces), tmp_path, CPU, SIDE)
