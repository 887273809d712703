"""The denoising loop with stand-in networks, and with the U-Net against the recorded runs."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from latentsync.diffusion.conditioning import Conditioning
from latentsync.diffusion.sampler import StepCache, sample
from latentsync.diffusion.schedule import SCHEDULERS, make_scheduler
from latentsync.diffusion.settings import MAX_STEPS, SamplerSettings
from latentsync.errors import ConfigError
from tests.golden import fill_by_rule, golden_arrays, golden_json, relative_error, rule_input

TOLERANCE = 1e-5  # relative L2; the published code against itself in float64: 3.9e-7


@dataclass
class Spy:
    """Predicts a mixture of its input and the audio; notes what it was given."""

    inputs: list[torch.Tensor] = field(default_factory=list)
    timesteps: list[int] = field(default_factory=list)
    audios: list[torch.Tensor] = field(default_factory=list)
    caches: list[object] = field(default_factory=list)

    def __call__(self, sample, timestep, audio, *, feature_cache=None, guided=False):
        if guided:
            sample, audio = sample.repeat(2, 1, 1, 1, 1), torch.cat([torch.zeros_like(audio), audio])
        self.inputs.append(sample)
        self.timesteps.append(int(timestep))
        self.audios.append(audio)
        self.caches.append(None if feature_cache is None else feature_cache.reuse)
        if feature_cache is not None and feature_cache.reuse:
            assert len(feature_cache.hidden) == len(sample)
        elif feature_cache is not None:
            feature_cache.hidden = sample
        level = audio.mean(dim=(2, 3))[:, None, :, None, None]
        return 0.5 * sample[:, :4] + 0.1 * sample[:, 5:9] * sample[:, 4:5] + 0.1 * sample[:, 9:] + level


def _inputs(batch: int, seed: int = 0) -> tuple[Conditioning, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def gaussian(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    conditioning = Conditioning(
        keep_mask=(gaussian(batch, 1, 3, 4, 4) > 0).float(),
        masked=gaussian(batch, 4, 3, 4, 4),
        reference=gaussian(batch, 4, 3, 4, 4),
    )
    return conditioning, gaussian(batch, 3, 50, 8), gaussian(batch, 4, 3, 4, 4)


def test_guidance_runs_both_halves_in_one_call_silence_first():
    conditioning, audio, noise = _inputs(2)
    spy = Spy()
    sample(spy, conditioning, audio, noise, SamplerSettings(steps=4, guidance_scale=1.5))
    assert len(spy.inputs) == 4
    for unet_input, heard in zip(spy.inputs, spy.audios, strict=True):
        assert unet_input.shape == (4, 13, 3, 4, 4)
        assert torch.equal(unet_input[:2], unet_input[2:])
        assert not heard[:2].any()
        assert torch.equal(heard[2:], audio)


@pytest.mark.parametrize("scale", [0.0, 0.7, 1.0])
def test_without_guidance_a_step_is_a_single_pass(scale):
    conditioning, audio, noise = _inputs(2)
    spy = Spy()
    result = sample(spy, conditioning, audio, noise, SamplerSettings(steps=4, guidance_scale=scale))
    assert [unet_input.shape[0] for unet_input in spy.inputs] == [2] * 4
    assert all(torch.equal(heard, audio) for heard in spy.audios)
    assert torch.equal(result, sample(Spy(), conditioning, audio, noise, SamplerSettings(steps=4, guidance_scale=1.0)))


def test_only_steps_in_the_band_run_both_halves():
    conditioning, audio, noise = _inputs(2)
    spy = Spy()
    settings = SamplerSettings(steps=10, guidance_scale=1.5, guidance_band=(300, 601), cache_interval=2)
    sample(spy, conditioning, audio, noise, settings)
    assert spy.timesteps == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]
    assert [len(each) for each in spy.inputs] == [2, 2, 2, 4, 4, 4, 4, 2, 2, 2]
    assert all(torch.equal(heard[-2:], audio) for heard in spy.audios)
    assert spy.caches == [False, True, False, False, False, True, False, True, False, True]
    assert settings.evaluations == (pytest.approx(5 * 1.302), pytest.approx(5 * 1.302))


def test_the_whole_band_is_the_default_and_an_empty_stretch_of_it_is_no_guidance():
    conditioning, audio, noise = _inputs(1)
    whole = sample(Spy(), conditioning, audio, noise, SamplerSettings(steps=4))
    named = sample(Spy(), conditioning, audio, noise, SamplerSettings(steps=4, guidance_band=(0, 999)))
    assert torch.equal(whole, named)
    none = sample(Spy(), conditioning, audio, noise, SamplerSettings(steps=4, guidance_band=(900, 999)))
    off = sample(Spy(), conditioning, audio, noise, SamplerSettings(steps=4, guidance_scale=1.0))
    assert torch.equal(none, off)


def test_guidance_is_linear_in_the_predictions():
    conditioning, audio, noise = _inputs(1)
    denoiser = Spy()
    result = sample(denoiser, conditioning, audio, noise, SamplerSettings(steps=1, guidance_scale=2.0))
    unconditional, conditional = (
        denoiser(denoiser.inputs[0][:1], torch.tensor(1), tokens) for tokens in (torch.zeros_like(audio), audio)
    )
    scheduler = make_scheduler("ddim")
    scheduler.set_timesteps(1)
    expected = scheduler.step(2 * conditional - unconditional, scheduler.timesteps[0], noise).prev_sample
    assert relative_error(result, expected) < 1e-6


def test_what_the_audio_changes_is_kept_for_the_guided_steps_between():
    conditioning, audio, noise = _inputs(1)
    spy, latents = Spy(), [noise]
    settings = SamplerSettings(steps=4, guidance_scale=2.0, guidance_interval=2, guidance_band=(0, 751))
    sample(spy, conditioning, audio, noise, settings, lambda index, after: latents.append(after))
    assert [len(each) for each in spy.inputs] == [2, 1, 2, 1]
    # What the audio changes is the same at all levels here, so nothing is lost by keeping it.
    every = sample(Spy(), conditioning, audio, noise, SamplerSettings(steps=4, guidance_scale=2.0))
    assert relative_error(latents[-1], every) < 1e-6
    band = SamplerSettings(steps=4, guidance_scale=2.0, guidance_interval=2, guidance_band=(300, 751))
    spy = Spy()
    sample(spy, conditioning, audio, noise, band)
    assert [len(each) for each in spy.inputs] == [2, 1, 1, 1]  # 751 and 501 are guided, 251 and 1 are not


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_windows_of_a_batch_do_not_touch_each_other(scheduler, scale):
    conditioning, audio, noise = _inputs(3)
    scale = 1.0 if scheduler == "consistency" else scale  # a student has the guidance inside
    settings = SamplerSettings(scheduler=scheduler, steps=5, guidance_scale=scale, cache_interval=2)
    together = sample(Spy(), conditioning, audio, noise, settings)
    assert together.shape == noise.shape
    for number in range(3):
        one = slice(number, number + 1)
        part = Conditioning(conditioning.keep_mask[one], conditioning.masked[one], conditioning.reference[one])
        alone = sample(Spy(), part, audio[one], noise[one], settings)
        assert relative_error(together[one], alone) < 1e-6


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_nothing_is_read_back_from_the_device(scheduler):
    """Meta tensors have no values: whatever would make the host wait for the device raises on them."""
    conditioning, audio, noise = _inputs(1)
    conditioning = Conditioning(*(getattr(conditioning, name).to("meta") for name in conditioning.__slots__))

    def denoiser(unet_input, timestep, audio, *, feature_cache, guided):
        assert timestep.device.type == "meta"
        if not feature_cache.reuse:
            feature_cache.hidden = unet_input.repeat(1 + guided, 1, 1, 1, 1)
        return unet_input[:, :4].repeat(1 + guided, 1, 1, 1, 1) * 0.5

    scale = 1.0 if scheduler == "consistency" else 1.5
    settings = SamplerSettings(scheduler, 4, scale, cache_interval=2, cache_order=1, guidance_interval=2)
    result = sample(denoiser, conditioning, audio.to("meta"), noise.to("meta"), settings)
    assert (result.device.type, result.shape) == ("meta", noise.shape)


def test_inputs_stay_as_they_were():
    conditioning, audio, noise = _inputs(1)
    before = [tensor.clone() for tensor in (conditioning.keep_mask, conditioning.masked, audio, noise)]
    sample(Spy(), conditioning, audio, noise, SamplerSettings(steps=3))
    after = (conditioning.keep_mask, conditioning.masked, audio, noise)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_steps_are_reported_in_order_and_the_last_is_the_result():
    conditioning, audio, noise = _inputs(1)
    seen = []
    result = sample(
        Spy(),
        conditioning,
        audio,
        noise,
        SamplerSettings(steps=3),
        lambda index, latents: seen.append((index, latents)),
    )
    assert [index for index, _ in seen] == [0, 1, 2]
    assert torch.equal(seen[-1][1], result)


def test_the_cache_is_off_by_default_and_starts_afresh_in_each_run():
    conditioning, audio, noise = _inputs(1)
    spy = Spy()
    sample(spy, conditioning, audio, noise, SamplerSettings(steps=4))
    assert spy.caches == [None] * 4
    spy = Spy()
    for _ in range(2):
        sample(spy, conditioning, audio, noise, SamplerSettings(steps=4, cache_interval=3))
    assert spy.caches == [False, True, True, False] * 2


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_perfect_denoiser_arrives_at_the_picture(scheduler):
    """All data at one point: the noise is known exactly, and every solver has to end there."""
    conditioning, audio, noise = _inputs(1)
    alphas_cumprod = make_scheduler("ddim").alphas_cumprod

    def perfect(unet_input, timestep, audio, *, feature_cache=None, guided=False):
        alpha = alphas_cumprod[timestep]
        return (unet_input[:, :4] - alpha.sqrt() * unet_input[:, 9:]) / (1 - alpha).sqrt()

    settings = SamplerSettings(scheduler=scheduler, steps=8, guidance_scale=1.0)
    result = sample(perfect, conditioning, audio, noise, settings)
    left_over = {"ddim": 0.05}.get(scheduler, 1e-4)  # the published schedule stops at 3 % noise
    assert (result - conditioning.reference).std() < left_over


@pytest.mark.parametrize(
    "wrong",
    [
        {"scheduler": "euler"},
        {"steps": 0},
        {"steps": MAX_STEPS + 1},
        {"guidance_scale": float("nan")},
        {"guidance_scale": -1.0},
        {"cache_interval": 0},
        {"cache_order": 2},
        {"guidance_interval": 0},
        {"guidance_band": (-1, 500)},
        {"guidance_band": (500, 400)},
        {"guidance_band": (0, 1000)},
    ],
)
def test_senseless_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        SamplerSettings(**wrong)


# -- the published loop -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unet() -> torch.nn.Module:
    from latentsync.models.unet import UNet3D, UNetConfig

    return fill_by_rule(UNet3D(UNetConfig.from_dict(golden_json("loop/denoise_stage2")["unet_config"])))


def _run(unet: torch.nn.Module, stop_after: int | None = None, **settings) -> dict[int, torch.Tensor]:
    """Latents after each step of the recorded inputs, counted from 1; ``stop_after`` ends the run there."""
    conditioning = Conditioning(
        keep_mask=(rule_input("loop_mask", (1, 1, 16, 16, 16)) > 0).float(),
        masked=rule_input("loop_masked_latents", (1, 4, 16, 16, 16)),
        reference=rule_input("loop_ref_latents", (1, 4, 16, 16, 16)),
    )
    noise = rule_input("loop_noise", (1, 4, 1, 16, 16)).expand(-1, -1, 16, -1, -1)
    audio = rule_input("loop_audio", (16, 50, 384))[None]
    after: dict[int, torch.Tensor] = {}

    class Enough(Exception):  # noqa: N818  not an error
        pass

    def note(index: int, latents: torch.Tensor) -> None:
        after[index + 1] = latents
        if index + 1 == stop_after:
            raise Enough

    try:
        sample(unet, conditioning, audio, noise, SamplerSettings(**settings), note)
    except Enough:
        pass
    return after


def _assert_golden(latents: torch.Tensor, name: str) -> None:
    error = relative_error(latents, golden_arrays("loop/denoise_stage2")[name])
    print(f"{name}: relative error {error:.2e}")
    assert error < TOLERANCE


def test_first_guided_step_equals_the_published_one(unet):
    _assert_golden(_run(unet, stop_after=1)[1], "latents_after_step_1_g1.5")


def test_cached_run_equals_deepcache(unet):
    _assert_golden(_run(unet, guidance_scale=1.0, cache_interval=3)[20], "final_deepcache_g1.0")


def test_ten_step_run_equals_the_published_one(unet):
    _assert_golden(_run(unet, guidance_scale=2.0, steps=10)[10], "final_g2.0_other_steps")


@pytest.mark.slow
def test_guided_run_equals_the_published_one(unet):
    after = _run(unet)
    _assert_golden(after[10], "latents_after_step_10_g1.5")
    _assert_golden(after[20], "final_g1.5")


@pytest.mark.slow
def test_unguided_run_equals_the_published_one(unet):
    _assert_golden(_run(unet, guidance_scale=1.0)[20], "final_g1.0")


@pytest.mark.slow
def test_guided_cached_run_equals_deepcache(unet):
    _assert_golden(_run(unet, cache_interval=3)[20], "final_deepcache_g1.5")


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


def test_where_guidance_ends_the_features_with_audio_are_reused():
    cache = StepCache(3)
    cache.at(0, guided=True).hidden = torch.tensor([[1.0], [2.0]])
    after = cache.at(1, guided=False)
    assert after.reuse
    assert after.hidden.tolist() == [[2.0]]
    assert cache.at(2, guided=False).hidden.tolist() == [[2.0]]


def test_where_guidance_begins_the_whole_network_runs():
    cache = StepCache(4)
    steps = []
    for index in range(8):
        features = cache.at(index, guided=index >= 2)
        steps.append(features.reuse)
        if not features.reuse:
            features.hidden = torch.zeros(1 + (index >= 2), 1)
    assert steps == [False, True, False, True, False, True, True, True]


def test_features_are_extrapolated_along_the_levels_of_the_last_two_full_steps():
    cache = StepCache(2, order=1)
    cache.at(0, level=900).hidden = torch.tensor([[1.0], [10.0]])
    assert cache.at(1, level=800).hidden.tolist() == [[1.0], [10.0]]  # nothing to extrapolate yet
    cache.at(2, level=700).hidden = torch.tensor([[3.0], [30.0]])
    assert cache.at(3, level=600).hidden.tolist() == [[4.0], [40.0]]
    assert cache.at(5, guided=False, level=500).hidden.tolist() == [[50.0]]  # of the half with audio
    cache.at(6, guided=False, level=400).hidden = torch.tensor([[60.0]])
    assert cache.at(7, guided=False, level=250).hidden.tolist() == [[75.0]]
    cache.at(8, level=200).hidden = torch.tensor([[5.0], [50.0]])
    assert cache.at(9, level=100).hidden.tolist() == [[5.0], [50.0]]  # of the step before there is one half
    assert cache.at(9, guided=False, level=100).hidden.tolist() == [[45.0]]
