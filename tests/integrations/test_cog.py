"""The model for Cog, with a stand-in for the package."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from latentsync.inference.options import SyncOptions
from latentsync.inference.timeline import LengthMode
from latentsync.places import ROOT


@pytest.fixture
def predictor(monkeypatch):
    """A predictor whose pipeline notes what it is asked for."""
    cog = ModuleType("cog")
    cog.BasePredictor, cog.Path = object, Path
    cog.Input = lambda default=inspect.Parameter.empty, **more: default
    monkeypatch.setitem(sys.modules, "cog", cog)
    file, _, name = yaml.safe_load((ROOT / "cog.yaml").read_text())["predict"].partition(":")
    spec = importlib.util.spec_from_file_location("predict", ROOT / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    asked = []

    def dub(video, audio, output, *, options):
        asked.append((video, audio, options))
        output.write_bytes(b"result")

    pipeline = SimpleNamespace(options=SyncOptions, dub=dub, asked=asked)
    monkeypatch.setattr(module, "load", lambda: pipeline)
    made = getattr(module, name)()
    made.setup()
    return made


def test_a_prediction(predictor):
    output = predictor.predict(Path("a.mp4"), Path("a.wav"))
    assert output.read_bytes() == b"result" and output.suffix == ".mp4"
    predictor.predict(Path("a.mp4"), Path("a.wav"), "cut_off", "index:1", 2.0, 5, -1)
    (first, second) = predictor.pipeline.asked
    assert first == (Path("a.mp4"), Path("a.wav"), SyncOptions())
    options = second[2]
    assert (options.length, options.face, options.sampler.steps) == (LengthMode.CUT, "index:1", 5)
    assert options.sampler.guidance_scale == 2.0 and options.seed >= 0


def test_the_files_that_the_configurations_name_are_there():
    build = yaml.safe_load((ROOT / "cog.yaml").read_text())["build"]
    assert (ROOT / build["python_requirements"]).is_file()
    front = (ROOT / "integrations" / "space" / "README.md").read_text().split("---")[1]
    space = yaml.safe_load(front)
    assert space["sdk"] == "gradio" and (ROOT / space["app_file"]).is_file()
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert set(compose["services"]) == {"service", "service-cuda", "page"} and set(compose["volumes"]) == {"data"}
