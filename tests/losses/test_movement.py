"""The movement loss: it sees changes only, and only where something is generated."""

from __future__ import annotations

import pytest
import torch

from latentsync.losses.movement import movement_loss
from tests.golden import rule_input

TARGET = rule_input("target", (2, 4, 3, 4, 4))
KEEP = torch.ones(2, 1, 3, 4, 4)
KEEP[..., 2:, :] = 0


def test_an_error_that_stays_costs_nothing():
    assert movement_loss(TARGET + rule_input("error", (2, 4, 1, 4, 4)), TARGET, KEEP).abs().max() < 1e-6


def test_an_error_that_comes_and_goes_costs_its_steps():
    error = torch.tensor([0.0, 2.0, 1.0]).view(1, 1, 3, 1, 1) * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1, 1)
    assert movement_loss(TARGET + error, TARGET, KEEP).tolist() == pytest.approx([1.5, 4.5], rel=1e-5)


def test_what_is_kept_may_move():
    latents = TARGET.clone()
    latents[:, :, 1, :2] += 100
    assert movement_loss(latents, TARGET, KEEP).tolist() == [0, 0]


def test_a_single_frame_does_not_move():
    with pytest.raises(ValueError, match="single frame"):
        movement_loss(TARGET[:, :, :1], TARGET[:, :, :1], KEEP[:, :, :1])
