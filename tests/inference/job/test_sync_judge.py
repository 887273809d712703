"""The built-in sync network as the judge of a dub: talkers who say what is heard, and who do not."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.cli._dub_arguments import parse_arguments
from latentsync.cli.dub import main, make_request
from latentsync.constants import AUDIO_RATE
from latentsync.data.talkers.cross import make_cross_clip
from latentsync.errors import StoppedError, WeightsMissingError
from latentsync.face.align import FaceAligner, align_face
from latentsync.face.detections_file import write_detections
from latentsync.inference import latent_generator
from latentsync.inference.job import sync_judge
from latentsync.inference.job.dub import dub
from latentsync.inference.job.progress import RunControl
from latentsync.inference.job.sync_judge import LEAST_CONFIDENCE, load_judge, sync_weights, verdict_on
from latentsync.inference.weights import WeightPaths
from latentsync.levels import to_image
from latentsync.media.writer import write_video
from latentsync.places import BUILTIN_SYNCNET
from latentsync.types import ArrayFrame
from tests.inference.tiny_weights import write_checkpoints
from tests.inference.world import DrawnVideo, KnownFaces
from tests.media.synthetic import tone, write_wav

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
    assert sync_weights(WeightPaths.builtin()) == BUILTIN_SYNCNET
    with pytest.raises(WeightsMissingError, match=r"stable_syncnet\.pt is missing") as missing:
        sync_weights(WeightPaths.in_directory(Path(tmp_path)))
    assert "latentsync weights" in missing.value.remedy


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """A drawn video whose mouth says nothing, a voice of 3.2 s, and tiny networks."""
    folder = tmp_path_factory.mktemp("media")
    drawn = DrawnVideo(40, 128, 128, face=60)
    write_video(folder / "video.mp4", drawn.frames(), drawn.info)
    faces = KnownFaces(drawn)
    write_detections(folder / "faces.npz", {k: faces.detect([ArrayFrame.of(drawn.draw(k))])[0] for k in range(40)})
    write_wav(folder / "voice.wav", tone(3.2, 16_000, 1), 16_000)
    write_checkpoints(folder / "checkpoints")
    return folder


def line(media, output, *more):
    return [
        *("--video_path", str(media / "video.mp4"), "--audio_path", str(media / "voice.wav")),
        *("--checkpoint_dir", str(media / "checkpoints"), "--detector", str(media / "faces.npz")),
        *("--video_out_path", str(output), "--inference_steps", "1", "--guidance_scale", "1"),
        *("--no-output-check", "--device", "cpu", "--quiet", *more),
    ]


def test_a_run_that_is_stopped_and_goes_on_comes_to_the_same_verdicts(media, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTSYNC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sync_judge, "sync_weights", lambda weights: BUILTIN_SYNCNET)
    windows, real = [], latent_generator.sample

    def counting(denoiser, conditioning, audio, noise, settings, *others):
        windows.append(settings.guidance_scale)
        return real(denoiser, conditioning, audio, noise, settings, *others)

    monkeypatch.setattr(latent_generator, "sample", counting)
    gate = ("--sync_gate", "redo", "--batch", "1")
    whole, halted, report = tmp_path / "whole.mp4", tmp_path / "halted.mp4", tmp_path / "report.json"
    assert main(line(media, whole, *gate, "--report", str(report))) == 0
    written = json.loads(report.read_text())
    assert [each["verdict"]["in_sync"] for each in written["sync"]] == [False]
    assert written["sync"][0]["first_try"] is not None
    assert set(windows) == {1.0, 2.0}
    first, again = windows.count(1.0), windows.count(2.0)
    windows.clear()
    control = RunControl(lambda stage, done, total: control.stop() if len(windows) == 3 else None)
    with pytest.raises(StoppedError):
        dub(make_request(parse_arguments(line(media, halted, *gate, "--resume"))), control=control)
    windows.clear()
    assert main(line(media, halted, *gate, "--resume")) == 0
    assert windows.count(1.0) < first
    assert windows.count(2.0) == again
    assert halted.read_bytes() == whole.read_bytes()
