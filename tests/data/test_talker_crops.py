"""Talkers as training clips: aligned, with audio, made once, with other people held out."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from latentsync.data.clip_reader import ArrayCache, MelReader, read_clip_frames
from latentsync.data.manifest import read_manifest, split_by_source
from latentsync.data.talker_crops import TalkerCrops, make_talker_crops
from latentsync.data.talkers.clip import make_talker

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


def test_other_settings_make_other_clips(tmp_path):
    few = TalkerCrops(train_clips=1, validation_clips=1, seconds=0.4, resolution=32, seed=5)
    first = read_manifest(make_talker_crops(few, tmp_path, workers=1)).clips
    again = read_manifest(make_talker_crops(few, tmp_path / "again", workers=1)).clips
    assert [clip.content for clip in again] == [clip.content for clip in first]
    other = TalkerCrops(train_clips=1, validation_clips=1, seconds=0.4, resolution=32, seed=6)
    changed = read_manifest(make_talker_crops(other, tmp_path, workers=1)).clips
    assert not {clip.content for clip in changed} & {clip.content for clip in first}


def test_several_processes_draw_the_same_clips_and_leave_the_threads_of_this_one_alone(tmp_path):
    """Also where OpenCV has threads already: a forked process has none of them."""
    few = TalkerCrops(train_clips=3, validation_clips=1, seconds=0.4, resolution=32, seed=5)
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 3)
    before = cv2.getNumThreads(), torch.get_num_threads()
    by_two = read_manifest(make_talker_crops(few, tmp_path / "two", workers=2)).clips
    assert (cv2.getNumThreads(), torch.get_num_threads()) == before
    alone = read_manifest(make_talker_crops(few, tmp_path / "one", workers=1)).clips
    assert [clip.content for clip in by_two] == [clip.content for clip in alone]
