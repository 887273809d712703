"""The table of real people: names of clips, means, and what was refused."""

from __future__ import annotations

from pathlib import Path

from benchmarks.real_people import find_videos, table


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for place in ("a/row1", "b/row1"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "input.mp4").touch()
    (tmp_path / "a" / "notes.txt").touch()
    (tmp_path / "ann.mpg").touch()
    found = find_videos([tmp_path / "a", tmp_path / "b" / "row1" / "input.mp4", tmp_path / "ann.mpg"])
    assert found == {
        "a-input": Path(tmp_path / "a/row1/input.mp4"),
        "b-input": Path(tmp_path / "b/row1/input.mp4"),
        "ann": Path(tmp_path / "ann.mpg"),
    }


def test_a_clip_without_a_figure_is_left_out_of_its_mean():
    clips = [
        {"name": "one", "rows": {"result": {"lmd": 2.0, "psnr_inside": 20.0}}},
        {"name": "two", "rows": {"result": {"lmd": 3.0, "psnr_inside": "no face"}}},
    ]
    refused = {"one": {"refused": 0, "reason": ""}, "two": {"refused": "all", "reason": "noise in window 0"}}
    lines = table({"clips": clips}, refused).splitlines()
    assert lines[0] == "| clip | lmd | psnr_inside | refused |"
    assert lines[2:] == ["| one | 2 | 20 | 0 |", "| two | 3 | – | all |", "| **mean** | 2.5 | 20 | 1 of 2 |"]
