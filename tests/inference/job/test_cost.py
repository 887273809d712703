"""What a run will cost: the counts behind it are those of the networks, and the parts add up as they run."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from benchmarks.roofline import Counted
from latentsync.checkpoint import count_parameters
from latentsync.diffusion.settings import SamplerSettings
from latentsync.inference.job import cost as module
from latentsync.inference.job.cost import CODECS, UNETS, NetworkSizes, estimate
from latentsync.inference.weights import WeightPaths
from latentsync.inference.windows import WindowPlan
from latentsync.types import VideoInfo

BUILTIN = WeightPaths.builtin()
PUBLISHED = NetworkSizes(1_267_099_844, 83_653_863)
FRAME = 3 * 1920 * 1080 + 24 * 256**2
INFO = VideoInfo(Path("in.mp4"), 1920, 1080, Fraction(25), 250, Fraction(10))


@pytest.mark.parametrize(("number", "model"), [(0, "builtin"), (1, "1.5")])
def test_the_counts_are_those_of_the_networks(number, model):
    counted = Counted(model)
    scale = (256 / counted.resolution) ** 2
    encoding, decoding = counted.codec_flops()
    assert CODECS[number][1] == pytest.approx((2 * encoding + decoding) * scale, rel=0.02)
    assert UNETS[number][1] == pytest.approx(counted.unet_flops()[False, False] / 16 * scale, rel=0.02)
    if model == "builtin":
        assert UNETS[0][0] == pytest.approx(count_parameters(BUILTIN.unet), rel=0.01)
        assert CODECS[0][0] == pytest.approx(count_parameters(BUILTIN.codec_file), rel=0.01)


def seconds(resolution=256, speed=400e12, sizes=PUBLISHED, sampler=None, info=INFO, overlap=0, **options):
    cost = estimate(
        info, 250, WindowPlan(overlap=overlap), resolution, sampler or SamplerSettings(), sizes, speed, **options
    )
    return cost.seconds - module.START_SECONDS - 4 * sizes.total / module.READ_BYTES


def test_on_an_accelerator_the_slowest_part_decides(monkeypatch):
    monkeypatch.setattr(module.os, "cpu_count", lambda: 16)
    # 16 windows of 16 frames, 40 evaluations of 253 GFLOP and a codec of 1,168, at 40 % of 400 TFLOP/s.
    expected = 256 * (40 * 253e9 + 1168e9) / 160e12
    assert seconds(on_accelerator=True, batch=4) == pytest.approx(expected, rel=0.01)
    assert seconds(on_accelerator=True, batch=2, speed=400e15) == pytest.approx(8 * 20 * 4600 * 5e-6, rel=0.01)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 1)
    plain = {"sampler": SamplerSettings(steps=1, guidance_scale=1.0), "speed": 400e15}
    assert seconds(on_accelerator=True, batch=16, **plain) == pytest.approx(250 * 1920 * 1080 * 7e-8)


def test_frames_that_wait_for_a_verdict_take_memory():
    costs = [estimate(INFO, 250, WindowPlan(), 256, SamplerSettings(), PUBLISHED, 1e12, held=n) for n in (0, 76)]
    assert costs[1].memory_bytes - costs[0].memory_bytes == 76 * FRAME


def test_no_more_frames_wait_than_there_are():
    cost = estimate(INFO, 40, WindowPlan(), 256, SamplerSettings(), PUBLISHED, 1e12, in_flight=2)
    assert cost.memory_bytes == 40 * FRAME


def test_on_a_processor_all_parts_add_up(monkeypatch):
    monkeypatch.setattr(module.os, "cpu_count", lambda: 2)
    around = 250 * 1920 * 1080 * 7e-8 / 2
    expected = 256 * (40 * 253e9 + 1168e9) / 40e9 + around
    assert seconds(speed=100e9) == pytest.approx(expected, rel=0.01)


def test_larger_batches_hold_more_frames_and_the_host_has_a_limit(monkeypatch):
    costs = [estimate(INFO, 250, WindowPlan(), 256, SamplerSettings(), PUBLISHED, 1e12, batch) for batch in (1, 16)]
    assert costs[0].memory_bytes < costs[1].memory_bytes
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: type("M", (), {"available": 8 * 10**9}))
    cost = estimate(INFO, 250, WindowPlan(), 256, SamplerSettings(), PUBLISHED, 1e12)
    assert cost.windows_on_host == 11  # in 4 GB, 70 frames of 7.8 MB and 38 more for each
    cost = estimate(INFO, 250, WindowPlan(), 256, SamplerSettings(), PUBLISHED, 1e12, in_flight=2)
    assert cost.windows_on_host == 6  # 30 more for each
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: type("M", (), {"available": 10**8}))
    assert estimate(INFO, 250, WindowPlan(), 256, SamplerSettings(), PUBLISHED, 1e12).windows_on_host == 1


def test_what_joins_cost_is_said():
    """Windows of 16 that overlap by 2 begin every 14 frames; of 250 frames the 18th begins at 238."""
    cost = estimate(INFO, 250, WindowPlan(overlap=2), 256, SamplerSettings(), PUBLISHED, 1e12)
    assert (cost.windows, cost.windows_for_joins, cost.denoising_steps) == (18, 2, 360)
    assert "18 windows (2 more than with --overlap 0)" in cost.describe()
    assert "more than" not in estimate(INFO, 16, WindowPlan(overlap=2), 256, SamplerSettings(), PUBLISHED, 1).describe()
    works = [seconds(speed=1e9, overlap=overlap) for overlap in (0, 2)]
    assert works[1] / works[0] == pytest.approx(18 / 16, rel=0.01)
