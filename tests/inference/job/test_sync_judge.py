"""The built-in sync network as the judge of a dub: talkers who say what is heard, and who do not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.constants import AUDIO_RATE
from latentsync.data.talkers.cross import make_cross_clip
from latentsync.errors import WeightsMissingError
from latentsync.face.align import FaceAligner, align_face
from latentsync.inference.job.sync_judge import LEAST_CONFIDENCE, load_judge, sync_weights, verdict_on
from latentsync.inference.weights import WeightPaths
from latentsync.levels import to_image

SECOND_HALF = 64  # first frame of the stretch whose audio is another


@pytest.fixture(scope="module")
def talker():
    """(128, 128, 128, 3) aligned faces, their audio, and the same audio with another second half."""
    clip = make_cross_clip(3, 5.16, 192)
    aligner, source = FaceAligner(128), clip.source
    frames = zip(source.pixels()[:128], source.landmarks, strict=False)
    faces = to_image(np.stack([align_face(pixels, aligner.matrix(points), 128).pixels for pixels, points in frames]))
    other = source.waveform.copy()
    start = SECOND_HALF * AUDIO_RATE // 25
    other[start:] = clip.truth.waveform[start:]
    return faces, source.waveform, other


def judged(faces, waveform, first):
    judge = load_judge(WeightPaths.builtin(), waveform, torch.device("cpu"))
    return judge(faces[first : first + 64], Fraction(first, 25))


def test_a_second_half_with_another_audio_is_out_of_sync_and_nothing_of_the_first(talker):
    faces, _, other = talker
    first, second = judged(faces, other, 0), judged(faces, other, SECOND_HALF)
    assert first.in_sync
    assert first.offset == 0
    assert not second.in_sync
    assert first.confidence - second.confidence > LEAST_CONFIDENCE


def test_the_true_audio_is_in_sync_and_late_audio_has_an_offset(talker):
    faces, own, _ = talker
    assert judged(faces, own, SECOND_HALF).in_sync
    late = judged(faces, np.concatenate([np.zeros(5 * 640, np.float32), own]), SECOND_HALF)
    assert (late.in_sync, late.offset) == (False, 5)


def test_where_hardly_anybody_speaks_there_is_no_verdict(talker):
    faces, own, _ = talker
    hushed = own.copy()
    hushed[: 44 * 640] *= 0.001
    assert judged(faces, hushed, 0) is None
    assert judged(faces, own * 0, 0) is None
    assert judged(faces[:14], own, 0) is None


def test_confidence_is_what_lies_above_the_median_of_all_shifts():
    cosines = np.full((3, 60), 0.4, np.float32)
    starts = np.array([20, 24, 28])
    assert not verdict_on(cosines, starts).in_sync
    cosines[np.arange(3), starts] = 0.9
    verdict = verdict_on(cosines, starts)
    assert (verdict.in_sync, verdict.offset) == (True, 0)
    assert verdict.confidence == pytest.approx(0.5)


def test_without_a_sync_network_nothing_can_be_judged(tmp_path):
    assert sync_weights(WeightPaths.builtin()).name == "syncnet.safetensors"
    with pytest.raises(WeightsMissingError, match=r"stable_syncnet\.pt is missing") as missing:
        sync_weights(WeightPaths.in_directory(Path(tmp_path)))
    assert "latentsync weights" in missing.value.remedy
