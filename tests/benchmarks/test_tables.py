"""From JSON to the dated tables of docs/experiments and their plot."""

import json
import sys

import pytest
from PIL import Image

from benchmarks import tables

CIRCUMSTANCES = {
    "device": "cpu", "device_name": "a processor", "cores": 2, "threads": 2, "load_average": 0.1, "torch": "2",
    "command": "python -m benchmarks.x", "commit": "abc",
}  # fmt: skip


def inference(preset, seconds):
    return {
        "model": "builtin", "preset": preset, "seconds_per_second": seconds, "first_frame_seconds": 1.2,
        "plain": {"seconds_per_second": 24.0}, "times_faster": 24 / seconds, "times_faster_same_sampler": 1.5,
        "generator_parts": {"unet": 5.0, "codec encode": 1.0, "codec decode": 2.0}, "peak_rss_mb": 900,
        "gpu_idle_share": None, "against_plain": {"ssim": 0.99961, "worst_ssim": 0.9991},
    }  # fmt: skip


@pytest.fixture
def files(tmp_path):
    contents = {
        "speed": {"benchmark": "inference_speed", "rows": [inference("exact", 16.0), inference("builtin", 6.0)]},
        "training": {
            "benchmark": "training_speed",
            "rows": [
                {
                    "stage": "stage1",
                    "batch": 1,
                    "samples_per_second": {"plain": 0.04, "cached": 0.08, "product": 0.1},
                    "gains": {"cached": 2.0, "product": 2.5},
                    "processor_gains": {"cached": 2.1, "product": 2.6},
                }
            ],
        },
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content | {"circumstances": CIRCUMSTANCES}))
    return [tmp_path / f"{name}.json" for name in contents]


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["tables", *map(str, arguments)])
    tables.main()


def test_tables_take_their_place_in_the_document_and_do_so_again(files, tmp_path, monkeypatch):
    document, plot = tmp_path / "doc.md", tmp_path / "pictures" / "plot.png"
    document.write_text("before\n<!-- measured -->\nold\n<!-- end of measured -->\nafter\n")
    run(monkeypatch, *files, "--document", document, "--plot", plot)
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| builtin | exact | 16 | 24 | 1.5 | 1.5 | 1.2 | 5 | 1 | 2 | 900 | – | – | 0.9996 | 0.9991 |" in text
    assert "| stage1 | 1 | 0.04 | 0.08 | 0.1 | – | 2 | 2.1 | 2.5 | 2.6 |" in text
    assert "a processor (cpu), 2 cores, 2 threads, load 0.1, torch 2, commit abc: `python -m benchmarks.x`" in text
    run(monkeypatch, *files, "--document", document)
    assert document.read_text() == text
    assert Image.open(plot).size[0] > 400


def test_a_document_without_a_place_and_a_stranger_are_refused(files, tmp_path, monkeypatch):
    (tmp_path / "doc.md").write_text("nothing here")
    with pytest.raises(SystemExit, match="no lines"):
        run(monkeypatch, *files, "--document", tmp_path / "doc.md")
    (tmp_path / "other.json").write_text('{"benchmark": "weather"}')
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path / "other.json")
