import pytest

from benchmarks import pipeline_overhead
from tests.benchmarks.commands import run_benchmark


def test_the_pipeline_is_held_against_copying_and_transcoding(monkeypatch, capsys):
    arguments = ["--size", "160x120", "--seconds", "0.8", "--encoder_presets", "ultrafast,veryfast", "--rounds", "1"]
    found = run_benchmark(pipeline_overhead, arguments, monkeypatch, capsys)
    assert [row["encoder_preset"] for row in found["rows"]] == ["ultrafast", "veryfast"]
    for row in found["rows"]:
        speeds = {way: row[way]["frames_per_second"] for way in pipeline_overhead.WAYS}
        assert row["ratio"] == pytest.approx(speeds["pipeline"] / speeds["copy"], rel=1e-4)
        assert row["ratio_to_transcode"] == pytest.approx(speeds["pipeline"] / speeds["transcode"], rel=1e-4)
        assert {"decode", "align", "paste", "encode"} <= set(row["milliseconds_by_stage"])
        assert row["peak_rss_mb"] > 50
