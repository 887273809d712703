"""Hashes of what commands wrote: of contents, not of files."""

import json
from fractions import Fraction

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks import fingerprint
from latentsync.media.writer import EncodingOptions, write_video
from latentsync.types import ArrayFrame, VideoInfo


def write(path, last_pixel):
    frames = np.zeros((3, 32, 32, 3), np.uint8)
    frames[2, 31, 31] = last_pixel
    info = VideoInfo(path, 32, 32, Fraction(25), 3, Fraction(3, 25), pix_fmt="gbrp")
    shown = (ArrayFrame(i, Fraction(i, 25), pixels) for i, pixels in enumerate(frames))
    write_video(path, shown, info, EncodingOptions("ffv1"), None)
    return path


def test_videos_differ_by_their_pixels_only(tmp_path):
    first = fingerprint.hash_video(write(tmp_path / "a.mkv", 0))
    assert first == fingerprint.hash_video(write(tmp_path / "b.mkv", 0))
    assert first != fingerprint.hash_video(write(tmp_path / "c.mkv", 255))


def test_weights_differ_by_their_tensors_only(tmp_path):
    tensors = {"b": torch.ones(3), "a": torch.zeros(2, 2)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"written": "today"})
    save_file(dict(reversed(tensors.items())), tmp_path / "b.safetensors")
    save_file(tensors | {"b": torch.ones(3) * (1 + 2**-20)}, tmp_path / "c.safetensors")
    hashes = [fingerprint.hash_weights(tmp_path / f"{name}.safetensors") for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_difference_is_printed_and_is_an_exit_code(tmp_path, capsys):
    (tmp_path / "a.json").write_text(json.dumps({"sample": "1", "compat": "2"}))
    (tmp_path / "b.json").write_text(json.dumps({"sample": "1", "compat": "3", "new": "4"}))
    paths = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    assert fingerprint.main(["--compare", *paths]) == 1
    assert "1 of 3 equal" in capsys.readouterr().out
    assert fingerprint.main(["--compare", paths[0], paths[0]]) == 0
