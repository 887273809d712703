"""Which face speaks: by what fits the audio in place; unsure where nothing tells the faces apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentsync.metrics.active_speaker import FaceTrack, best_sequence, who_speaks
from latentsync.types import SyncView

FRAMES, TURN = 100, 50


class FitsByNumber:
    """A sync network for faces whose pixels are numbers of frames: they fit the audio of the frame with that number."""

    view = SyncView(num_frames=4)

    def count_windows(self, mel, n_frames):
        return n_frames - self.view.num_frames + 1

    def crop(self, faces):
        return torch.from_numpy(faces)

    def embed_frames(self, windows):
        return torch.eye(256)[windows[:, 0, 0, 0, 0].long()]

    def mel_windows(self, mel, n_windows):
        return torch.arange(n_windows)

    def embed_audio(self, windows):
        return torch.eye(256)[windows]


def track(numbers, opening=None, present=None):
    faces = np.tile(np.asarray(numbers, np.uint8)[:, None, None, None], (1, 2, 2, 3))
    everywhere, still = np.ones(FRAMES, bool), np.zeros(FRAMES)
    return FaceTrack(faces, everywhere if present is None else present, still if opening is None else opening)


def speech(seconds=FRAMES / 25):
    return np.random.default_rng(0).normal(0, 0.1, int(seconds * 16_000)).astype(np.float32)


FITTING = np.arange(FRAMES)
OTHERWISE = (FITTING + 7) % FRAMES


def test_who_fits_the_audio_speaks_and_turns_are_seen():
    first = np.where(FITTING < TURN, FITTING, OTHERWISE)
    second = np.where(FITTING < TURN, OTHERWISE, FITTING)
    found = who_speaks([track(first), track(second), track(OTHERWISE)], speech(), FitsByNumber())
    for each in found:
        if abs(each.frame - TURN) > 8:
            assert each.face == (0 if each.frame < TURN else 1) and each.confidence > 0.3


def test_faces_that_cannot_be_told_apart_are_said_to_be_unsure():
    for numbers in (FITTING, OTHERWISE):  # both fit, and neither does
        found = who_speaks([track(numbers), track(numbers)], speech(), FitsByNumber())
        assert all(each.is_unsure and each.confidence < 0.1 for each in found)


def test_moments_of_doubt_are_no_turns_and_a_face_that_is_away_does_not_speak():
    scores = np.array([[0.5, 0.1]] * 4 + [[0.2, 0.4]] + [[0.5, 0.1]] * 4 + [[0.1, 0.5]] * 5)
    speech = np.ones(len(scores), bool)
    assert best_sequence(scores, speech).tolist() == [0] * 9 + [1] * 5
    scores[9:, 1] = np.nan
    assert best_sequence(scores * [0.1, 1], speech)[9:].tolist() == [2] * 5  # nobody who is seen


def test_a_small_lead_stays_unsure_however_long_it_lasts():
    slightly = 0.003 * (-1.0) ** FITTING
    found = who_speaks([track(FITTING), track(FITTING, slightly)], speech(), FitsByNumber())
    assert all(each.is_unsure for each in found)


def test_a_mouth_that_moves_decides_between_faces_that_fit_alike():
    moving = 0.05 * np.sin(FITTING)
    found = who_speaks([track(FITTING), track(FITTING, moving)], speech(), FitsByNumber())
    assert {each.face for each in found} == {1}


def test_nobody_speaks_in_silence_and_whoever_is_not_there_is_not_named():
    waveform = speech()
    waveform[: 60 * 640] = 0
    present = FITTING < 80
    found = who_speaks([track(FITTING, present=present), track(OTHERWISE)], waveform, FitsByNumber())
    assert not any(each.is_speech or each.is_unsure for each in found if each.frame < 50)
    assert {each.face for each in found if 66 < each.frame < 78} == {0}
    assert {each.face for each in found if each.frame > 82} == {None}


def test_faces_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="frames"):
        who_speaks([track(FITTING), FaceTrack(np.zeros((3, 2, 2, 3), np.uint8), np.ones(3, bool), np.zeros(3))],
                   speech(), FitsByNumber())  # fmt: skip
