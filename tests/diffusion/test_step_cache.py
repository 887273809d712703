"""Which steps run the whole network."""

from __future__ import annotations

import torch

from latentsync.diffusion.step_cache import StepCache


def test_published_interval_runs_seven_of_twenty_steps_in_full():
    cache = StepCache(3)
    full = [index for index in range(20) if not cache.at(index).reuse]
    assert full == [0, 3, 6, 9, 12, 15, 18]


def test_features_travel_from_step_to_step():
    cache = StepCache(2)
    cache.at(0).hidden = "deep features"
    assert cache.at(1).hidden == "deep features"


def test_interval_one_is_off():
    assert all(StepCache(1).at(index) is None for index in range(3))


def test_where_guidance_ends_the_half_with_sound_goes_on():
    cache = StepCache(3)
    cache.at(0, guided=True).hidden = torch.tensor([[1.0], [2.0]])
    after = cache.at(1, guided=False)
    assert after.reuse
    assert after.hidden.tolist() == [[2.0]]
    assert cache.at(2, guided=False).hidden.tolist() == [[2.0]]


def test_where_guidance_begins_the_whole_network_runs():
    cache = StepCache(4)
    steps = [cache.at(index, guided=index >= 2).reuse for index in range(8)]
    assert steps == [False, True, False, True, False, True, True, True]
