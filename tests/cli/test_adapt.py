"""The command `latentsync adapt`: its arguments, and the figures that it ends with."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import pytest

from latentsync.cli import _adapt_figures
from latentsync.cli._adapt_figures import measure
from latentsync.cli.adapt import main, make_request, parse_arguments
from latentsync.data.manifest import Clip
from latentsync.errors import ConfigError, DataError
from latentsync.evaluation.settings import RESULT
from latentsync.inference.weights import WeightPaths
from latentsync.training.adapters.run import AdaptRequest
from tests.data.clips import write_talking_clips

SCORES = {"before": 0.25, "after": 0.75}


def test_arguments(tmp_path: Path) -> None:
    words = ["--video", "a.mp4", "b.mp4", "--output", str(tmp_path / "anna.safetensors"), "--minutes", "3"]
    request = make_request(parse_arguments([*words, "--consent", "hers", "optimizer.lr=1e-3"]))
    assert request.videos == (Path("a.mp4"), Path("b.mp4")) and request.overrides == ("optimizer.lr=1e-3",)
    assert request.work == tmp_path / "anna_training" and request.run == request.work / "adapter"
    assert (request.minutes, request.consent) == (3.0, "hers")
    assert main(["--output", str(tmp_path / "x.safetensors")]) == ConfigError.exit_code  # neither videos nor clips


def test_figures_of_held_out_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dubbed = []

    def make(request, record, weights, networks) -> str:
        assert not request.options.check_output
        dubbed.append((request.output.parent.name, request.video.stem, request.audio.stem, weights))
        request.output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(request.video, request.output)
        return ""

    def evaluate(results, truth, source, output, settings, weights) -> None:
        names = sorted(path.stem for path in results.iterdir())
        assert names == sorted(path.stem for path in truth.iterdir()) == sorted(path.stem for path in source.iterdir())
        rows = {RESULT: {"opening_correlation": SCORES[results.name], "sharpness": "weights missing"}}
        output.mkdir(parents=True)
        (output / "evaluation.json").write_text(json.dumps({"clips": [{"name": name, "rows": rows} for name in names]}))

    monkeypatch.setattr(_adapt_figures, "make", make)
    monkeypatch.setattr(_adapt_figures, "evaluate", evaluate)
    monkeypatch.setattr(WeightPaths, "check", lambda self: {"adapter": self.adapter})
    monkeypatch.setattr(_adapt_figures, "identities", str)
    paths = write_talking_clips(tmp_path / "clips", 3, n_frames=12)
    clips = [Clip(path, path.stem, 12, Fraction(25), 32, 32, 0.48) for path in paths]
    request = AdaptRequest(tmp_path / "anna.safetensors", tmp_path / "work", WeightPaths.builtin())
    table = measure(request, clips, 8)
    assert [(kind, video, audio) for kind, video, audio, _ in dubbed] == [
        (kind, video, audio)
        for kind in ("before", "after")
        for video, audio in (("a0", "a1"), ("a1", "a2"), ("a2", "a0"))
    ]
    assert all(("anna" in weights) == (kind == "after") for kind, _, _, weights in dubbed)
    figures = json.loads((tmp_path / "anna.json").read_text())
    assert figures["before"] == {"opening_correlation": 0.25}
    assert figures["after"]["opening_correlation"] == 0.75 and figures["clips"] == 3
    assert "0.250" in table and "0.750" in table and (tmp_path / "anna.png").stat().st_size > 1000
    with pytest.raises(DataError, match="One held-out clip"):
        measure(request, clips[:1], 8)
