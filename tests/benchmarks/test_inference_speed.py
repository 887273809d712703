"""The benchmark of inference in a smoke size: tiny networks, sixteen small frames."""

import json

import pytest
import torch

from benchmarks import inference_speed, plain_path
from benchmarks.dub_inputs import draw_input
from benchmarks.networks import load_networks
from latentsync.diffusion.settings import SamplerSettings
from tests.benchmarks.commands import run_benchmark


def test_every_row_has_speed_by_stage_memory_and_the_plain_path_beside_it(tmp_path, monkeypatch, capsys):
    output = tmp_path / "deep" / "speed.json"
    arguments = ["--models", "tiny", "--presets", "builtin", "--device", "cpu", "--size", "160x120"]
    arguments += ["--seconds", "0.64", "--output", str(output)]
    found = run_benchmark(inference_speed, arguments, monkeypatch, capsys)
    assert json.loads(output.read_text()) == found
    assert found["film"] == {"size": "160x120", "fps": 25.0, "frames": 16}
    (row,) = found["rows"]
    assert row["model"] == "tiny"
    assert row["preset"] == "builtin"
    assert row["frames"] == 16
    assert set(row["seconds_by_stage"]) == {"audio", "decode", "align", "occlusion", "generate", "paste", "encode"}
    assert set(row["generator_parts"]) == {"unet", "codec encode", "codec decode"}
    assert all(seconds > 0 for seconds in (*row["generator_parts"].values(), *row["seconds_by_stage"].values()))
    assert 0 < row["first_frame_seconds"] <= row["seconds_per_second"] * 0.64
    assert row["peak_rss_mb"] > 100
    assert row["gpu_idle_share"] is None
    plain = row["plain"]["seconds_per_second"]
    assert row["times_faster"] == pytest.approx(plain / row["seconds_per_second"], rel=1e-4)
    assert all(0 < seconds <= plain for seconds in row["plain"]["seconds_by_stage"].values())
    assert row["against_plain"]["frames"] == 16
    assert 0.9 < row["against_plain"]["ssim"] < 1
    assert found["circumstances"]["command"].startswith("python -m benchmarks.inference_speed --models tiny")


def test_exact_gives_the_frames_of_the_plain_path(tmp_path, monkeypatch):
    """Of frames as the decoder gives them, for both: the noise that untrained networks paint has colors finer than the
    chroma of such a frame, so painted onto RGB it is another one."""
    monkeypatch.setattr(plain_path, "in_rgb", lambda frame: frame)
    device = torch.device("cpu")
    dub_input = draw_input(tmp_path, 0.8, (160, 120))
    networks = load_networks("tiny", device, torch.float32)
    bench = inference_speed.Bench(dub_input, networks, 2, tmp_path)
    sampler = SamplerSettings(steps=3)
    product, plain = tmp_path / "product", tmp_path / "plain"
    assert bench.run(networks.pipeline(), sampler, product).frames == 20
    assert bench.run_plainly(sampler, inference_speed.plain_ddim, plain, 20).frames == 20
    found = bench.mouths.compare(product, plain)
    assert found["frames"] == 20
    assert found["worst_ssim"] >= 0.999
    assert found["max_difference"] <= 2


def test_an_unknown_model_is_refused(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run_benchmark(inference_speed, ["--models", "1.7"], monkeypatch, capsys)
    assert "1.5" in capsys.readouterr().err
