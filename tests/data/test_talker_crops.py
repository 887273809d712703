"""Talkers as training clips: aligned, with audio, made once, with other people held out."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from latentsync.constants import MODEL_FPS
from latentsync.data.clip_reader import ArrayCache, MelReader, read_clip_frames
from latentsync.data.manifest import read_manifest, split_by_source
from latentsync.data.talker_crops import TalkerCrops, make_talker_crops
from latentsync.data.talkers.clip import make_talker
from latentsync.data.talkers.hard_cases import covered_frames, draw_case

FEW = TalkerCrops(train_clips=3, validation_clips=1, seconds=0.4, resolution=32, seed=5)
CROPS = TalkerCrops(train_clips=2, validation_clips=1, seconds=1.6, resolution=64, seed=5)


def test_clips_show_the_mouth_in_the_lower_half_and_carry_their_sound(tmp_path):
    manifest = make_talker_crops(CROPS, tmp_path, workers=1)
    clips = read_manifest(manifest).clips
    train, validation = split_by_source(clips, 0.5)
    assert (len(train), len(validation)) == (2, 1)
    assert not {clip.speaker for clip in train} & {clip.speaker for clip in validation}
    clip = clips[0]
    frames = read_clip_frames(clip, 0, 40).astype(float)
    assert frames.shape == (40, 64, 64, 3)
    movement = frames.std(axis=0).mean(axis=(1, 2))
    assert 32 <= int(movement.argmax()) < 56  # the rows of the mouth
    truth = make_talker(15, 16, 17, seconds=1.6, size=128)
    mel = MelReader(ArrayCache(tmp_path / "mel"))(clip)
    loudness = mel.mean(axis=0)[::2][:64]
    power = np.abs(truth.waveform[: 64 * 400]).reshape(64, 400).mean(axis=1)
    assert np.corrcoef(loudness, np.log(power + 1e-4))[0, 1] > 0.8

    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert make_talker_crops(CROPS, tmp_path, workers=1) == manifest
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path in before} == before


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The folder of ``FEW`` and its clips."""
    folder = tmp_path_factory.mktemp("plain")
    return folder, read_manifest(make_talker_crops(FEW, folder, workers=1)).clips


def test_other_settings_make_other_clips(tmp_path, plain):
    other = replace(FEW, seed=6, train_clips=1)
    changed = read_manifest(make_talker_crops(other, tmp_path, workers=1)).clips
    assert {clip.content for clip in changed} & {clip.content for clip in plain[1]} == {plain[1][1].content}


def test_hard_cases_change_only_their_own_clips(tmp_path, plain):
    folder, clips = plain
    shares = {"covered_share": 0.35, "turned_share": 0.35}
    options = [draw_case(FEW.seed + k, FEW.seconds, **shares) for k in range(3)]
    covered = [covered_frames(each, 10, MODEL_FPS) for each in options]
    hard = [bool(each.turns or frames) for each, frames in zip(options, covered, strict=True)]
    assert any(covered) and not all(hard)
    mixed = read_manifest(make_talker_crops(replace(FEW, **shares), tmp_path, workers=1)).clips
    assert [a.content != b.content for a, b in zip(clips, mixed, strict=True)] == [*hard, False]
    assert [clip.covered for clip in mixed] == [*covered, ()]
    assert not any(clip.covered for clip in clips)
    assert "share" not in (folder / "talkers.json").read_text()


def test_several_processes_draw_the_same_clips_and_leave_the_threads_of_this_one_alone(tmp_path, plain):
    """Also where OpenCV has threads already: a forked process has none of them."""
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 3)
    before = cv2.getNumThreads(), torch.get_num_threads()
    by_two = read_manifest(make_talker_crops(FEW, tmp_path / "two", workers=2)).clips
    assert (cv2.getNumThreads(), torch.get_num_threads()) == before
    assert [clip.content for clip in by_two] == [clip.content for clip in plain[1]]
