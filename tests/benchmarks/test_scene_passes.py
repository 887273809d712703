from benchmarks import scene_passes
from tests.benchmarks.commands import run_benchmark


def test_one_pass_makes_the_frames_of_two(monkeypatch, capsys):
    arguments = ["--size", "540x330", "--seconds", "1", "--burn", "0"]
    found = run_benchmark(scene_passes, arguments, monkeypatch, capsys)
    assert found["frames"] == found["frames_equal"] == found["frames_dubbed"] == 25
    assert found["one_pass"]["windows"] == found["left_alone"]["windows"] + found["right_alone"]["windows"] == 4
