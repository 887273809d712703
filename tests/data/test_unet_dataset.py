"""Windows for the U-Net: target, mask, a reference that shares no frame, and the audio of each frame."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from latentsync.audio.mel import mel_window
from latentsync.data.clip_dataset import SampleKey
from latentsync.data.clip_reader import ArrayCache, AudioFeatureReader, MelReader, read_clip_frames
from latentsync.data.scan import load_clips
from latentsync.data.unet_dataset import UNetDataset
from latentsync.errors import DataError
from latentsync.types import AudioFeatures
from tests.data.clips import write_talking_clips


class CountingEncoder:
    """Stands in for Whisper: every position says its own number."""

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, waveform: np.ndarray) -> AudioFeatures:
        self.calls += 1
        n = len(waveform) // 320
        states = np.broadcast_to(np.arange(n, dtype=np.float32)[:, None, None], (n, 5, 4))
        return AudioFeatures(states, Fraction(len(waveform), 16_000))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_talking_clips(folder, 2, n_frames=60)
    return load_clips(folder).clips


def windows(clips, folder, mels=True, steady=0.0) -> UNetDataset:
    mask = np.ones((1, 32, 32), np.float32)
    mask[:, 16:] = 0
    features = AudioFeatureReader(CountingEncoder(), ArrayCache(folder / "features"))
    reader = MelReader(ArrayCache(folder / "mel")) if mels else None
    return UNetDataset(clips, mask, features, reader, seed=3, steady_share=steady)


def test_a_sample_is_cut_as_its_origin_says(clips, tmp_path):
    data = windows(clips, tmp_path)
    for epoch in range(5):
        sample = data[SampleKey(epoch, 1)]
        start = sample.origin.start_frame
        frames = read_clip_frames(clips[1], 0, 60).transpose(0, 3, 1, 2)
        assert sample.target.dtype is torch.uint8
        np.testing.assert_array_equal(sample.target, frames[start : start + 16])
        places = [k for k in range(45) if np.array_equal(sample.reference, frames[k : k + 16])]
        assert places
        assert all(abs(place - start) >= 16 for place in places)
        mel = MelReader(ArrayCache(tmp_path / "mel"))(clips[1])
        assert np.array_equal(sample.mel[0], mel_window(mel, start))
        assert sample.audio.shape == (16, 50, 4)
        assert sample.audio[1, 20, 0] == 2 * (start + 1)  # the token of a frame's own position


def test_a_steady_reference_is_one_frame_over_and_over(clips, tmp_path):
    moving, steady = windows(clips, tmp_path), windows(clips, tmp_path, steady=1.0)
    for index in range(2):
        sample, other = steady[index], moving[index]
        assert torch.equal(sample.target, other.target)
        assert torch.equal(sample.reference, other.reference[:1].expand(16, -1, -1, -1))
    some = windows(clips, tmp_path, steady=0.5)
    samples = [some[index] for index in range(16)]
    assert {torch.equal(each.reference[0], each.reference[-1]) for each in samples} == {True, False}


def test_features_are_computed_once_per_clip(clips, tmp_path):
    data = windows(clips, tmp_path)
    for epoch in range(3):
        data[SampleKey(epoch, 0)]
    assert data._features._encoder.calls == 1


def test_samples_repeat_and_batches_stack(clips, tmp_path):
    data, again = windows(clips, tmp_path), windows(clips, tmp_path, mels=False)
    batch = data.collate([data[0], data[1]])
    assert torch.equal(batch.target, torch.stack([again[0].target, again[1].target]))
    assert torch.equal(batch.reference, torch.stack([again[0].reference, again[1].reference]))
    assert batch.target.shape == (2, 16, 3, 32, 32)
    assert batch.keep_mask.shape == (1, 32, 32)
    assert batch.mel.shape == (2, 1, 80, 52)
    assert again.collate([again[0]]).mel is None
    assert batch.to("cpu").origins == batch.origins


def test_windows_say_whether_they_show_the_mouth(clips, tmp_path):
    covered = (replace(clips[0], covered=((30, 34),)), clips[1])
    data, plain = windows(covered, tmp_path), windows(clips, tmp_path)
    samples = [data[SampleKey(epoch, index)] for epoch in range(8) for index in range(2)]
    starts = [(sample.origin.path == str(clips[0].path), sample.origin.start_frame) for sample in samples]
    seen = [not (first and 14 < start < 34) for first, start in starts]
    assert False in seen and [sample.mouth_seen for sample in samples] == seen
    assert data.collate(samples).mouth_seen.tolist() == [float(each) for each in seen]
    assert plain.collate([plain[0], plain[1]]).mouth_seen is None


def test_a_clip_without_room_for_a_reference_is_refused(tmp_path):
    write_talking_clips(tmp_path, 1, n_frames=40)
    with pytest.raises(DataError, match="too short: 40 frames with sound where 48 are needed"):
        windows(load_clips(tmp_path).clips, tmp_path)[0]
