"""Presets are settings that the sampler accepts, and the preview takes the small codec where it may."""

from __future__ import annotations

from dataclasses import replace

import pytest

from latentsync.diffusion.settings import SamplerSettings
from latentsync.inference.presets import PRESETS, sampler_values
from latentsync.inference.weights import WeightPaths


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_one_that_the_sampler_knows(preset):
    assert SamplerSettings(**sampler_values(preset, False, steps=3)).steps == 3


def test_exact_is_the_plain_sampler_and_the_others_cost_less_in_turn():
    def passes(preset):
        settings = SamplerSettings(**PRESETS[preset])
        return settings.steps / settings.cache_interval * (1 + settings.guided_share)

    assert SamplerSettings(**PRESETS["exact"]) == SamplerSettings("ddim", 20, 1.5, 1)
    costs = [passes(preset) for preset in ("exact", "balanced", "fast", "preview")]
    assert costs == sorted(costs, reverse=True)


def test_the_preview_takes_the_small_codec_where_it_is_installed(tmp_path):
    weights = WeightPaths.in_directory(tmp_path)
    assert weights.for_preset("preview") == weights
    (tmp_path / "taesd").mkdir()
    (tmp_path / "taesd" / "diffusion_pytorch_model.safetensors").touch()
    assert weights.for_preset("preview") == replace(weights, codec=tmp_path / "taesd")
    assert weights.for_preset("fast") == weights
    assert weights.for_preset(None) == weights


def test_the_builtin_models_keep_their_own_codec(tmp_path, monkeypatch):
    monkeypatch.setattr("latentsync.inference.weights.BUILTIN_DIRECTORY", tmp_path)
    (tmp_path / "taesd").mkdir()
    (tmp_path / "taesd" / "diffusion_pytorch_model.safetensors").touch()
    weights = WeightPaths.builtin()
    assert weights.codec.parent == tmp_path
    assert weights.for_preset("preview") == weights
