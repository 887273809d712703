"""The published schedule to the number, and what the faster solvers share with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentsync.diffusion.schedule import SCHEDULERS, make_scheduler
from latentsync.diffusion.settings import MAX_STEPS
from latentsync.errors import ConfigError
from tests.golden import golden_arrays, golden_json


def test_ddim_is_the_published_one():
    golden, published = golden_arrays("loop/denoise_stage2"), golden_json("loop/denoise_stage2")
    scheduler = make_scheduler("ddim")
    config = {name: value for name, value in scheduler.config.items() if not name.startswith("_")}
    assert config.items() <= published["scheduler"].items()
    assert np.array_equal(scheduler.alphas_cumprod.numpy(), golden["alphas_cumprod"])
    assert float(scheduler.final_alpha_cumprod) == pytest.approx(float(golden["final_alpha_cumprod"][0]), abs=1e-8)
    scheduler.set_timesteps(20)
    assert np.array_equal(scheduler.timesteps.numpy(), golden["timesteps"])
    scheduler.set_timesteps(10)
    assert np.array_equal(scheduler.timesteps.numpy(), golden["timesteps_other"])


@pytest.mark.parametrize("name", SCHEDULERS)
def test_all_walk_the_same_noise_levels(name):
    scheduler = make_scheduler(name)
    assert torch.equal(scheduler.alphas_cumprod, make_scheduler("ddim").alphas_cumprod)
    assert scheduler.init_noise_sigma == 1
    for steps in (1, 2, 5, 20, 333, 499, 500, MAX_STEPS):
        scheduler.set_timesteps(steps)
        assert len(scheduler.timesteps) == steps
        assert 0 <= scheduler.timesteps.min() <= scheduler.timesteps.max() <= 999
        assert (scheduler.timesteps.diff() < 0).all()


def test_unknown_name_is_refused():
    with pytest.raises(ConfigError, match="'euler'"):
        make_scheduler("euler")
