"""Scores of pairs and A/V offsets, with a network whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from torch import nn

from latentsync.data.array_cache import ArrayCache
from latentsync.data.clip_reader import FrameReader, MelReader
from latentsync.data.negatives import NegativeRule
from latentsync.data.scan import load_clips
from latentsync.data.syncnet_dataset import SyncNetDataset, SyncView
from latentsync.errors import DataError
from latentsync.models.codec import LatentCodec
from latentsync.training.syncnet.model import SyncModel, measure_offset, score_pairs
from tests.data.clips import talking_square, write_talking_clips
from tests.media.synthetic import write_clip

VIEW = SyncView(resolution=32)
GRID = torch.linspace(-3, 3, 24)


def one_hot_envelope(envelope: torch.Tensor) -> torch.Tensor:
    """(N, 16) values -> unit vectors whose product tells how alike two envelopes are."""
    z = (envelope - envelope.mean(1, keepdim=True)) / (envelope.std(1, keepdim=True) + 1e-6)
    bumps = torch.exp(-4 * (z[..., None] - GRID) ** 2).flatten(1)
    return nn.functional.normalize(bumps, dim=1)


class Knowing(nn.Module):
    """Reads the opening of ``talking_square`` off the picture and the loudness off the mel."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def visual_encoder(self, visual):
        dark = visual.unflatten(1, (16, 3)).mean(2)[:, :, :, 8:24] < -0.3
        return one_hot_envelope(dark.float().mean((2, 3)))

    def audio_encoder(self, mel):
        loudness = torch.exp(mel[:, 0].mean(1) / 2)
        frames = [loudness[:, int(3.2 * k) : int(3.2 * k) + 4].mean(1) for k in range(16)]
        return one_hot_envelope(torch.stack(frames, 1))

    def forward(self, visual, mel):
        return self.visual_encoder(visual), self.audio_encoder(mel)


@pytest.fixture(scope="module")
def mels(tmp_path_factory):
    return MelReader(ArrayCache(tmp_path_factory.mktemp("mel")))


@pytest.mark.parametrize("late", [0, 3, -4, 75])
def test_an_offset_is_measured_in_frames(tmp_path, mels, late):
    frames, sound = talking_square(5, 200)
    moved = np.roll(sound, late * 640)
    write_clip(tmp_path / "clip.mp4", frames, sound=moved)
    (clip,) = load_clips(tmp_path).clips
    offset = measure_offset(SyncModel(Knowing(), VIEW), clip, mels, max_shift=15)
    if late == 75:
        assert offset.confidence < 0.2
        assert measure_offset(SyncModel(Knowing(), VIEW), clip, mels, max_shift=90).frames == 75
    else:
        assert offset.frames == late
        assert offset.confidence > 0.2


def test_a_clip_without_two_windows_of_sound_has_no_offset(tmp_path, mels):
    """Its sound is shorter than the container says, so that no look at the file foresaw it."""
    frames, sound = talking_square(5, 48)
    write_clip(tmp_path / "clip.mp4", frames, sound=sound[: 28 * 640])
    (clip,) = load_clips(tmp_path).clips
    with pytest.raises(DataError, match="too short to measure its offset"):
        measure_offset(SyncModel(Knowing(), VIEW), clip, mels)


def test_scores_keep_order_and_do_not_depend_on_the_batch(tmp_path, mels):
    write_talking_clips(tmp_path, 4, n_frames=48)
    data = SyncNetDataset(load_clips(tmp_path).clips, VIEW, FrameReader(), mels, NegativeRule(), seed=0)
    model = SyncModel(Knowing(), VIEW)
    scores, faults = score_pairs(model, data, range(20), batch_size=7)
    assert not faults
    assert scores.label.tolist() == [data[index].labels[0] for index in range(20)]
    assert scores.accuracy > 0.7
    again, _ = score_pairs(model, data, range(1, 20, 2), batch_size=3)
    torch.testing.assert_close(again.cosine, scores.cosine[1::2])
    assert len(score_pairs(model, data, [], batch_size=3)[0].label) == 0


def test_a_latent_network_sees_folded_latents():
    codec = LatentCodec(AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4,
                                        num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4))  # fmt: skip
    frames = torch.randint(0, 256, (2, 5, 3, 32, 32), dtype=torch.uint8)
    visual = SyncModel(Knowing(), SyncView(lower_half=False, latent=True), codec).visual_input(frames)
    assert visual.shape == (2, 5 * 4, 4, 4)
    one = codec.encode(frames[1, 2][None].float() / 127.5 - 1)
    torch.testing.assert_close(visual[1, 8:12], one[0])


def test_a_pixel_network_sees_folded_pixels_between_minus_one_and_one():
    frames = torch.randint(0, 256, (2, 16, 3, 16, 32), dtype=torch.uint8)
    visual = SyncModel(Knowing(), VIEW).visual_input(frames)
    assert visual.shape == (2, 48, 16, 32)
    torch.testing.assert_close(visual[1, 7], frames[1, 2, 1].float() / 127.5 - 1)
