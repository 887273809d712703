import pytest

from benchmarks import roofline
from tests.benchmarks.commands import run_benchmark


def test_steps_guidance_and_cache_are_counted(monkeypatch, capsys):
    monkeypatch.setattr(roofline, "measure_speed", lambda *where: 1e11)
    found = run_benchmark(roofline, ["--models", "tiny", "--presets", "exact,balanced,builtin"], monkeypatch, capsys)
    exact, balanced, builtin = found["rows"]
    assert [row["passes"] for row in found["rows"]] == [[40, 0], [14, 26], [6, 0]]
    once, reusing = exact["unet_pass_gflop_per_frame"]
    both, both_reusing = exact["unet_guided_pass_gflop_per_frame"]
    assert 0 < reusing < once < both < 2 * once and reusing < both_reusing < 2 * reusing
    assert exact["tflop"]["unet"] == pytest.approx(20 * both * 25 / 1000, rel=1e-4)
    assert balanced["tflop"]["unet"] == pytest.approx((7 * both + 13 * both_reusing) * 25 / 1000, rel=1e-4)
    assert builtin["tflop"]["unet"] == pytest.approx(3 * both * 25 / 1000, rel=1e-4)
    for row in found["rows"]:
        assert row["tflop"]["all"] == pytest.approx(
            sum(row["tflop"][part] for part in ("unet", "encode", "decode")), rel=1e-4
        )
        assert row["h200_floor_seconds"] == pytest.approx(row["tflop"]["all"] / (0.4 * 989), rel=1e-4)
        assert row["processor_floor_seconds"] == pytest.approx(row["tflop"]["all"] / (0.4 * 0.1), rel=1e-4)
