"""An enhancer of the user's: taken by its strength, not called at 0, and refused by name where it is of no use."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from latentsync.errors import ConfigError, GenerationError, WeightsCorruptError, WeightsMissingError
from latentsync.face.paste_settings import PasteSettings
from latentsync.inference.enhance import enhanced, load_enhancer
from tests.inference.world import DrawnVideo, sync

calls = []


def darker(faces: np.ndarray) -> np.ndarray:
    """Named below as ``tests.inference.test_enhance:darker``."""
    calls.append(faces.shape)
    return faces - 0.25


class Halved(torch.nn.Module):
    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return faces * 0.5


def dubbed(**settings) -> list[np.ndarray]:
    paste = PasteSettings(match_color=False, detail=0, **settings)
    video = DrawnVideo(6, 160, 160, face=90.0)
    return [frame.pixels for frame in sync(video, Fraction(6, 25), paste=paste)]


def test_strength():
    name = f"{__name__}:darker"
    plain = dubbed()
    calls.clear()
    assert all(map(np.array_equal, dubbed(enhance=name, enhance_strength=0.0), plain)) and not calls
    half, whole = dubbed(enhance=name, enhance_strength=0.5), dubbed(enhance=name)
    assert calls == [(1, 3, 256, 256)] * 12
    beside = slice(126, 132), slice(60, 62)  # a corner of the mouth
    for share, result in ((0.5, half), (1.0, whole)):
        change = np.mean([p[beside].astype(float) - q[beside] for p, q in zip(plain, result, strict=True)])
        assert change == pytest.approx(share * 0.25 * 127.5, abs=1)


def test_a_torchscript_file(tmp_path):
    torch.jit.script(Halved()).save(str(tmp_path / "half.pt"))
    enhancer = load_enhancer(PasteSettings(enhance=str(tmp_path / "half.pt")))
    face = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8)).astype(np.float32)
    assert np.allclose(enhanced(face, enhancer, 1.0), face * 0.5)


@pytest.mark.parametrize("suffix", [".pt", ".onnx"])
def test_files_of_no_use(tmp_path, suffix):
    path = tmp_path / f"enhancer{suffix}"
    with pytest.raises(WeightsMissingError, match="enhancer"):
        load_enhancer(PasteSettings(enhance=str(path)))
    path.write_bytes(b"no network")
    with pytest.raises(WeightsCorruptError, match="enhancer"):
        load_enhancer(PasteSettings(enhance=str(path)))


@pytest.mark.parametrize("name", ["nonsense", "no_such_module:f", "json:no_such_function", "json:__doc__", ":f"])
def test_functions_of_no_use(name):
    with pytest.raises(ConfigError, match="enhancer"):
        load_enhancer(PasteSettings(enhance=name))


@pytest.mark.parametrize("made", [np.zeros((1, 3, 4, 4)), np.full((1, 3, 8, 8), np.nan)])
def test_results_of_no_use(made):
    with pytest.raises(GenerationError, match="enhancer"):
        enhanced(np.zeros((3, 8, 8), np.float32), lambda faces: made, 1.0)
