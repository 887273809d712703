import pytest

from benchmarks import preprocess_speed
from tests.benchmarks.commands import run_benchmark
from tests.preprocess.world import DrawnNetworks, draw_talk, tree_hash


def test_the_data_pipeline_is_held_against_its_steps_one_after_another(monkeypatch, capsys, tmp_path):
    tools, films = DrawnNetworks(None, "cpu"), tmp_path / "films"
    draw_talk(films / "two shots.mp4", 6.0, cuts=(127,))
    (films / "notes.txt").write_text("notes")
    before = tree_hash(films)
    monkeypatch.setattr(preprocess_speed, "LoadedNetworks", lambda settings, device: tools)
    found = run_benchmark(preprocess_speed, ["--input", str(films), "--min_side", "30"], monkeypatch, capsys)
    assert tree_hash(films) == before
    assert found["videos"] == 1
    assert found["frames_plainly"] == found["frames"] == 127  # the second shot is too short, both ways
    assert found["times_faster"] == pytest.approx(found["cpu_seconds_plainly"] / found["cpu_seconds"], rel=0.05)
    assert found["alignment_difference_px"] < 0.1  # these faces do not move
    plainly = 2 * found["frames"]  # in step 5 and again in step 6
    assert plainly < tools.detector.looked < 3 * plainly
