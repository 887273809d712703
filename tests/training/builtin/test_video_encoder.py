"""The video encoder's training, what it writes, and the windows that it learns from."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from latentsync.checkpoint import load_videomae
from latentsync.config import load_config
from latentsync.data.clip_dataset import SampleKey
from latentsync.data.clip_reader import FrameReader
from latentsync.data.image_dataset import MouthDataset
from latentsync.data.manifest import read_manifest
from latentsync.data.speech.dataset import MOUTH_NAMES
from latentsync.data.talker_crops import TalkerCrops, make_talker_crops, true_mouth
from latentsync.data.talkers.clip import make_talker
from latentsync.errors import ConfigError, DataError
from latentsync.losses.trepa import TrepaLoss
from latentsync.models.videomae import VideoMAE, VideoMAEConfig
from latentsync.recipe import UNetRecipe
from latentsync.training.builtin.recipes import VideoEncoderRecipe
from latentsync.training.builtin.video_encoder import (
    CHANGE_WEIGHT,
    TrainedVideoEncoder,
    centre,
    movement,
    movement_similarity,
    train_video_encoder,
)
from latentsync.training.loop.trainer import TrainingResult
from latentsync.training.unet.networks import videomae_config
from tests.training.tiny_unet import ROOT

SMALL = [
    "data.talkers.train_clips=2", "data.talkers.validation_clips=1", "data.talkers.seconds=0.4", "data.resolution=32",
    "data.batch_size=2", "data.num_val_samples=3", "run.log_steps=1", "optimizer.lr_scheduler=constant",
    "optimizer.lr_warmup_steps=0", "optimizer.lr=1e-2", "model.image_size=16", "model.patch_size=8",
    "model.num_frames=4", "model.embed_dim=16", "model.depth=1", "model.num_heads=2", "model.mlp_dim=32",
]  # fmt: skip


def recipe_of(folder, *overrides: str) -> VideoEncoderRecipe:
    place = f"data.train_output_dir={folder}"
    return load_config(ROOT / "configs/video_encoder/talkers.yaml", VideoEncoderRecipe, [*SMALL, place, *overrides])


def test_training_writes_an_encoder_that_the_temporal_loss_reads_and_goes_on_exactly(tmp_path):
    for name, lengths in (("whole", [6]), ("parts", [3, 6])):
        for length in lengths:
            recipe = recipe_of(tmp_path, f"run.max_train_steps={length}")
            assert train_video_encoder(recipe, name) is TrainingResult.FINISHED
    files = [tmp_path / name / "weights/last.safetensors" for name in ("whole", "parts")]
    whole, parts = map(load_file, files)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    with (tmp_path / "whole" / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["step"]) for row in rows] == [0, 6]
    with (tmp_path / "whole" / "train.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0] / 2
    config = VideoMAEConfig(16, 8, 4, 2, 16, 1, 2, 32, num_classes=2 * len(MOUTH_NAMES))
    loss = TrepaLoss(load_videomae(tmp_path / "whole" / "weights" / "best.safetensors", config))
    assert loss(torch.zeros(1, 4, 3, 32, 32), torch.ones(1, 4, 3, 32, 32)).shape == (1,)


def test_the_movement_of_a_mouth_that_opens_evenly():
    mouth = torch.zeros(1, 5, 6)
    mouth[0, :, MOUTH_NAMES.index("opening")] = torch.linspace(0, 1, 5)
    found = movement(mouth)[0]
    place = MOUTH_NAMES.index("opening")
    assert found[place] == 0.5
    assert found[6 + place] == pytest.approx(CHANGE_WEIGHT * 0.25)
    assert found.count_nonzero() == 2


def test_movements_are_alike_as_they_are_near():
    found = movement_similarity(torch.tensor([[0.0, 5.0], [0.0, 5.0], [2.0, 5.0]]))  # the second value says nothing
    assert torch.equal(found.diagonal(), torch.ones(3))
    assert found[0, 1] == 1
    assert found[0, 2] == pytest.approx(math.exp(-(2**2) / (8 / 9) / (2 * 2)))


def test_after_centring_features_point_in_all_directions():
    torch.manual_seed(0)
    encoder, clips = VideoMAE(VideoMAEConfig(16, 8, 4, 2, 16, 1, 2, 32, num_classes=12)), torch.rand(8, 3, 4, 16, 16)

    def mean_cosine() -> float:
        with torch.no_grad():
            direction = torch.nn.functional.normalize(encoder(clips), dim=1)
        return float((direction @ direction.T)[~torch.eye(8, dtype=torch.bool)].mean())

    assert mean_cosine() > 0.9
    centre(encoder, clips)
    assert mean_cosine() < 0.1


def test_each_moment_is_read_from_its_own_tokens():
    """A frame's reading follows the token of its moment and no other, once no attention mixes them."""
    encoder = VideoMAE(VideoMAEConfig(16, 8, 4, 2, 16, 0, 2, 32, num_classes=12))
    network, clips = TrainedVideoEncoder(encoder), torch.rand(1, 3, 4, 16, 16)
    changed = clips.clone()
    changed[:, :, 2:] = 0
    with torch.no_grad():
        before, after = network(clips)[-1], network(changed)[-1]
    assert before.shape == (1, 4, 6)
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.equal(before[:, 2:], after[:, 2:])


def test_a_model_block_that_is_no_encoder_is_refused(tmp_path):
    for wrong in ("model.layers=3", "model.patch_size=5", "model.num_classes=7"):
        with pytest.raises(ConfigError, match="describes no video encoder"):
            train_video_encoder(recipe_of(tmp_path, wrong), "run")


def test_the_u_net_of_the_talkers_knows_the_size_of_their_encoder():
    encoder = load_config(ROOT / "configs/video_encoder/talkers.yaml", VideoEncoderRecipe)
    unet = load_config(ROOT / "configs/unet/talkers_stage2.yaml", UNetRecipe)
    assert encoder.model["num_frames"] == unet.data.num_frames
    assert videomae_config(unet) == VideoMAEConfig(**encoder.model, num_classes=2 * len(MOUTH_NAMES))


def test_the_true_mouth_is_that_of_the_drawn_clip(tmp_path):
    crops = TalkerCrops(train_clips=1, validation_clips=1, seconds=1.6, resolution=32, seed=5)
    clips = read_manifest(make_talker_crops(crops, tmp_path, workers=1)).clips
    drawn = make_talker(15, 16, 17, seconds=1.6, size=64)
    mouth = true_mouth(clips[0])
    assert mouth.shape == (40, 6)
    opening = mouth[:, MOUTH_NAMES.index("opening")]
    np.testing.assert_allclose(opening / opening.max(), drawn.opening / drawn.opening.max(), atol=1e-5)
    window = MouthDataset(clips, FrameReader(), num_frames=8, resolution=32, seed=0)[SampleKey(0, 0)]
    start = window[2].start_frame
    np.testing.assert_array_equal(window[1], mouth[start : start + 8])
    assert window[0].shape == (8, 3, 32, 32)
    with pytest.raises(DataError, match="no synthetic talker"):
        true_mouth(replace(clips[0], speaker="somebody"))
