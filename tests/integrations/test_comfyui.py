"""The nodes for ComfyUI, with a stand-in for the parts of ComfyUI that they use."""

from __future__ import annotations

import asyncio
import importlib
import io as bytes_io
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from latentsync.errors import NoFaceError, StoppedError
from latentsync.inference.job.people import Person
from latentsync.inference.options import SyncOptions
from latentsync.inference.timeline import SYNC_MODES, LengthMode
from latentsync.media.audio import read_audio
from latentsync.places import ROOT, SAMPLE_VIDEO


@dataclass
class Port:
    """An input or output, with what it was made with."""

    id: str
    kind: str
    more: dict = field(default_factory=dict)


class Kind:
    """A type of values, as ``io.Video``."""

    def __init__(self, name):
        self.Input = lambda id, **more: Port(id, name, more)
        self.Output = lambda id, **more: Port(id, name, more)


class Bar:
    """ComfyUI's progress bar; keeps what it was told."""

    made: list[Bar] = []

    def __init__(self, total):
        self.total, self.told = total, []
        Bar.made.append(self)

    def update_absolute(self, done, total):
        self.told.append((done, total))


class Interrupted(BaseException):
    pass


@pytest.fixture
def comfy(monkeypatch, tmp_path):
    """The nodes, and what stands in for ComfyUI."""
    kinds = {name: Kind(name.upper()) for name in ("Video", "Audio", "Image", "Int", "String", "Combo")}
    io = SimpleNamespace(
        **kinds,
        Custom=Kind,
        ComfyNode=type("ComfyNode", (), {}),
        Schema=lambda **more: SimpleNamespace(**more),
        NodeOutput=lambda *values: SimpleNamespace(args=values),
    )
    state = SimpleNamespace(interrupted=False, temp=tmp_path / "temp")
    management = ModuleType("comfy.model_management")
    management.processing_interrupted = lambda: state.interrupted
    management.InterruptProcessingException = Interrupted
    utils = ModuleType("comfy.utils")
    utils.ProgressBar = Bar
    root, api, paths = ModuleType("comfy"), ModuleType("comfy_api.latest"), ModuleType("folder_paths")
    root.model_management, root.utils = management, utils
    api.io, api.ComfyExtension = io, type("ComfyExtension", (), {})
    api.InputImpl = SimpleNamespace(VideoFromFile=VideoOfFile)
    paths.get_temp_directory = lambda: str(state.temp)
    for module in (root, management, utils, api, paths, ModuleType("comfy_api")):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.syspath_prepend(str(ROOT / "integrations"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "comfyui"]:
        monkeypatch.delitem(sys.modules, name)
    state.nodes = importlib.import_module("comfyui").nodes
    yield state
    for name in [name for name in sys.modules if name.partition(".")[0] == "comfyui"]:
        sys.modules.pop(name)


class VideoOfFile:
    def __init__(self, source):
        self.source = source

    def get_stream_source(self):
        return self.source


class PlayedPipeline:
    """Keeps what it was asked for, and writes a result."""

    def __init__(self, error=None):
        self.asked, self.error = [], error
        self.choice = SimpleNamespace(weights="weights")
        self.detector, self.device, self.networks = "auto", "cpu", "networks"

    def options(self):
        return SyncOptions()

    def dub(self, video, audio, output, *, options, overwrite, control):
        self.asked.append((video, read_audio(audio), options, video.read_bytes()))
        control.expect(10, 10)
        control.enter("dubbing")
        control.step_done(5)
        if self.error is not None:
            raise self.error
        output.write_bytes(b"result")


AUDIO = {"waveform": torch.sin(torch.arange(16_000) / 20).expand(1, 2, -1), "sample_rate": 16_000}


def test_the_nodes_and_their_names(comfy):
    nodes = asyncio.run(asyncio.run(comfy.nodes.comfy_entrypoint()).get_node_list())
    schemas = {schema.node_id: schema for schema in (node.define_schema() for node in nodes)}
    assert list(schemas) == ["LatentSyncLoad", "LatentSyncDub", "LatentSyncPeople"]
    inputs = [port.id for port in schemas["LatentSyncDub"].inputs]
    # Those of ComfyUI's node for sync.so.
    assert {"video", "audio", "model", "seed", "sync_mode"} <= set(inputs)
    assert inputs[-4:] == ["speaker_selection", "speaker_frame", "speaker_x", "speaker_y"]
    modes = next(port for port in schemas["LatentSyncDub"].inputs if port.id == "sync_mode").more["options"]
    assert modes == ["bounce", "loop", "cut_off", "silence", "remap"] == list(SYNC_MODES)
    assert [port.kind for port in schemas["LatentSyncDub"].outputs] == ["VIDEO"]


def test_a_dub_from_a_file_to_a_file(comfy):
    model = PlayedPipeline()
    place = {"speaker_selection": "coordinates", "speaker_frame": 50, "speaker_x": 30, "speaker_y": 40}
    video = VideoOfFile(str(SAMPLE_VIDEO))
    output = comfy.nodes.LatentSyncDub.execute(video, AUDIO, model, 7, "cut_off", **place)
    ((source, waveform, options, _),) = model.asked
    assert source == SAMPLE_VIDEO and options.seed == 7 and options.length is LengthMode.CUT
    assert options.face == "30,40@2.0000"
    expected = AUDIO["waveform"][0, 0].numpy()
    assert len(waveform) == 16_000 and np.abs(waveform - expected).max() < 1e-3
    (result,) = output.args
    assert Path(result.source).read_bytes() == b"result" and Path(result.source).parent == comfy.temp
    assert list(comfy.temp.iterdir()) == [Path(result.source)], "nothing else stays"
    assert Bar.made[-1].told[-1] == (5, 10)


def test_a_video_without_a_file(comfy):
    model = PlayedPipeline()
    content = SAMPLE_VIDEO.read_bytes()
    comfy.nodes.LatentSyncDub.execute(VideoOfFile(bytes_io.BytesIO(content)), AUDIO, model, 0, "bounce")
    ((source, _, options, read),) = model.asked
    assert read == content and not source.exists() and options.face == "largest"


def test_errors_are_sentences_and_a_stop_is_a_stop(comfy):
    video = VideoOfFile(str(SAMPLE_VIDEO))
    with pytest.raises(RuntimeError, match="Nobody.\n  -> Take another."):
        wrong = PlayedPipeline(NoFaceError("Nobody.", remedy="Take another."))
        comfy.nodes.LatentSyncDub.execute(video, AUDIO, wrong, 0, "bounce")
    comfy.interrupted = True
    stopping = PlayedPipeline(StoppedError("It did not end where it was asked to."))
    with pytest.raises(Interrupted):
        comfy.nodes.LatentSyncDub.execute(video, AUDIO, stopping, 0, "bounce")
    assert not list(comfy.temp.iterdir())


def test_people_are_numbered_from_the_left(comfy, monkeypatch):
    thumbnail = np.full((160, 160, 3), 255, np.uint8)
    people = [Person(f"{x},20@0.400", thumbnail, 0.4, 1.0) for x in (10, 90)]
    monkeypatch.setattr(comfy.nodes, "find_people", lambda *arguments, **more: people)
    video, model = VideoOfFile(str(SAMPLE_VIDEO)), PlayedPipeline()
    images, frame, x, y = comfy.nodes.LatentSyncPeople.execute(video, model, 1).args
    assert images.shape == (2, 160, 160, 3) and float(images.max()) == 1.0 and (frame, x, y) == (10, 90, 20)
    with pytest.raises(RuntimeError, match="shows 2 people, and no number 2"):
        comfy.nodes.LatentSyncPeople.execute(video, model, 2)


def test_the_networks_are_those_of_the_library(comfy, monkeypatch):
    asked = []
    monkeypatch.setattr(comfy.nodes, "load", lambda weights, **more: asked.append((weights, more)) or "pipeline")
    assert comfy.nodes.LatentSyncLoad.execute().args == ("pipeline",)
    comfy.nodes.LatentSyncLoad.execute("folder", "fast", "cuda")
    assert asked == [(None, {"preset": None, "device": "auto"}), ("folder", {"preset": "fast", "device": "cuda"})]
