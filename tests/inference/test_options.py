"""Presets are settings that the sampler accepts, and the preview takes the small codec where it may."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from latentsync.checkpoint.card import CARD_KEY, WeightsCard
from latentsync.cli import dub as dub_command
from latentsync.cli import dub_set
from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import ConfigError, StoppedError
from latentsync.inference.options import PRESETS, apply_preset
from latentsync.inference.weights import WeightPaths
from latentsync.media.limits import MediaLimits
from latentsync.page.fair_queue import Visitor
from latentsync.page.jobs import JobQueue, JobRequest
from latentsync.page.storage import Storage, StorageLimits
from latentsync.page.visitors import VisitorFolders


def test_what_is_asked_for_replaces_what_the_preset_says():
    weights = WeightPaths.builtin()
    assert apply_preset("fast", weights, steps=3)[1] == replace(PRESETS["fast"], steps=3)
    assert apply_preset("fast", weights, guidance_scale=0.0)[1] == replace(PRESETS["fast"], guidance_scale=0.0)
    assert apply_preset(None, weights, cache_interval=1)[1] == replace(PRESETS["builtin"], cache_interval=1)
    assert apply_preset(None, WeightPaths.in_directory())[1] == PRESETS["exact"]


def test_a_student_is_sampled_as_its_card_says_and_takes_no_guidance(tmp_path):
    card = WeightsCard("unet", distilled_steps=2, distilled_timesteps=(999, 400), guidance_inside=1.5)
    file = tmp_path / "student.safetensors"
    save_file({"x": torch.zeros(1)}, file, metadata={CARD_KEY: card.to_json()})
    weights = WeightPaths.in_directory(tmp_path, file)
    expected = SamplerSettings("consistency", 2, guidance_scale=1.0, timesteps=(999, 400))
    assert apply_preset("exact", weights)[1] == apply_preset(None, weights, guidance_scale=1.0)[1] == expected
    assert apply_preset(None, weights, steps=4)[1] == replace(expected, steps=4)
    with pytest.raises(ConfigError, match="guidance of 1.5 inside"):
        apply_preset(None, weights, guidance_scale=1.5)
    with pytest.raises(ConfigError, match="too few to reuse"):
        apply_preset(None, weights, cache_interval=3)


def test_live_takes_the_student_beside_the_u_net_and_samples_it_as_its_card_says(tmp_path):
    weights = WeightPaths.in_directory(tmp_path)
    assert apply_preset("live", weights) == (weights, PRESETS["live"])
    card = WeightsCard("unet", distilled_steps=1, distilled_timesteps=(999,), guidance_inside=1.5)
    save_file({"x": torch.zeros(1)}, tmp_path / "student.safetensors", metadata={CARD_KEY: card.to_json()})
    chosen, sampler = apply_preset("live", weights)
    assert chosen.unet == tmp_path / "student.safetensors" and chosen.codec == weights.codec
    assert (sampler.scheduler, sampler.steps, sampler.timesteps) == ("consistency", 1, (999,))
    assert apply_preset("fast", weights) == (weights, PRESETS["fast"])


def test_exact_is_the_plain_sampler_and_the_others_cost_less_in_turn():
    def cost(preset):
        return PRESETS[preset].evaluations[0]

    assert PRESETS["exact"] == SamplerSettings("ddim", 20, 1.5, 1)
    costs = [cost(preset) for preset in ("exact", "balanced", "fast", "preview", "live")]
    assert costs == sorted(costs, reverse=True)


def test_preview_and_live_take_the_small_codec_where_it_is_installed(tmp_path):
    weights = WeightPaths.in_directory(tmp_path)
    assert apply_preset("preview", weights)[0] == apply_preset("live", weights)[0] == weights
    (tmp_path / "taesd").mkdir()
    (tmp_path / "taesd" / "diffusion_pytorch_model.safetensors").touch()
    small = replace(weights, codec=tmp_path / "taesd")
    assert apply_preset("preview", weights)[0] == apply_preset("live", weights)[0] == small
    assert apply_preset("fast", weights)[0] == weights
    assert apply_preset(None, weights)[0] == weights


def test_the_builtin_models_keep_their_own_codec(tmp_path, monkeypatch):
    monkeypatch.setattr("latentsync.inference.weights.BUILTIN", tmp_path)
    (tmp_path / "taesd").mkdir()
    (tmp_path / "taesd" / "diffusion_pytorch_model.safetensors").touch()
    weights = WeightPaths.builtin()
    assert weights.codec.parent == tmp_path
    assert apply_preset("preview", weights)[0] == weights
    (tmp_path / "taesd").rename(tmp_path / "codec_small")
    assert apply_preset("preview", weights)[0] == replace(weights, codec=tmp_path / "codec_small")


def test_command_line_page_and_evaluation_take_the_same_networks_and_steps(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    (folder / "taesd").mkdir(parents=True)
    (folder / "taesd" / "diffusion_pytorch_model.safetensors").touch()
    video, audio = tmp_path / "videos" / "a.mp4", tmp_path / "audios" / "a.wav"
    for path in (video, audio):
        path.parent.mkdir()
        path.touch()
    asked = []

    def dub(request, **others):
        asked.append((request.weights, request.options.sampler))
        raise StoppedError("enough")

    monkeypatch.setattr("latentsync.inference.job.dub.dub", dub)
    monkeypatch.setattr("latentsync.page.jobs.dub", dub)
    monkeypatch.setattr(WeightPaths, "check", lambda self: {})
    chosen = ["--checkpoint_dir", str(folder), "--preset", "preview", "--inference_steps", "3"]
    command = ["--video_path", str(video), "--audio_path", str(audio), "--video_out_path", str(tmp_path / "out.mp4")]
    assert dub_command.main([*command, *chosen]) == StoppedError.exit_code
    command = ["--videos_dir", str(video.parent), "--audios_dir", str(audio.parent), "--output", str(tmp_path / "set")]
    assert dub_set.main([*command, *chosen]) == 1
    jobs = JobQueue({"mine": WeightPaths.in_directory(folder)}, MediaLimits())
    with pytest.raises(StoppedError):
        request = JobRequest(video, audio, "mine", preset="preview", steps=3)
        list(jobs.perform(request, VisitorFolders(Storage(tmp_path, StorageLimits(reserve=0)), 100), Visitor()))
    jobs.close()

    expected = apply_preset("preview", WeightPaths.in_directory(folder), steps=3)
    assert expected == (
        replace(WeightPaths.in_directory(folder), codec=folder / "taesd"),
        SamplerSettings("dpm++", 3, guidance_scale=1.0),
    )
    assert asked == [expected] * 3
