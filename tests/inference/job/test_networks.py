"""Networks are loaded once, and the first ones are gone before the next ones come."""

from __future__ import annotations

import gc
import os
import shutil
import weakref
from dataclasses import replace

import pytest
import torch

from latentsync.checkpoint import AdapterChoice, WeightsCard
from latentsync.checkpoint.adapter import LowRank, save_adapter
from latentsync.checkpoint.files import fingerprint
from latentsync.errors import AdapterMismatchError
from latentsync.inference import loading
from latentsync.inference.job.networks import KeptNetworks, NetworkChoice
from latentsync.inference.weights import BUILTIN_NAME, WeightPaths, identities, installed_weights, model_settings
from tests.inference.tiny_weights import write_checkpoints

CPU, FP32 = torch.device("cpu"), torch.float32


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return write_checkpoints(tmp_path_factory.mktemp("weights") / "checkpoints")


def test_what_is_asked_for_again_is_not_loaded_again(checkpoints, monkeypatch):
    loads, before, load_pipeline = [], [], loading.load_pipeline

    def load(*arguments):
        before.append([reference() for reference in loads])
        pipeline = load_pipeline(*arguments)
        loads.append(weakref.ref(pipeline))
        return pipeline

    monkeypatch.setattr(loading, "load_pipeline", load)
    kept = KeptNetworks()
    tiny, builtin = WeightPaths.in_directory(checkpoints), WeightPaths.builtin()

    def ask(weights):
        return id(kept.pipeline(NetworkChoice(weights, model_settings(weights.unet, None), (CPU,), FP32)))

    assert ask(tiny) == ask(tiny)
    assert len(loads) == 1
    ask(builtin)
    assert before == [[], [None]]  # the first pipeline was gone when the second was loaded
    gc.collect()
    assert loads[0]() is None
    os.utime(tiny.whisper)  # another file under the same name
    ask(tiny)
    assert len(loads) == 3


def test_what_is_installed(checkpoints, tmp_path):
    assert list(installed_weights(tmp_path)) == [BUILTIN_NAME]
    found = installed_weights(checkpoints)
    assert list(found) == ["release 1.5 (latentsync_unet.pt)", BUILTIN_NAME]
    assert found["release 1.5 (latentsync_unet.pt)"] == WeightPaths.in_directory(checkpoints)


def test_adapters_that_are_installed(checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints, tmp_path / "checkpoints")
    (folder / "adapters").mkdir()
    unet = folder / "latentsync_unet.pt"
    base = WeightsCard("adapter", base=fingerprint(unet), consent="hers, by letter", videos="own.mp4")
    factors = {"x.lora_A.weight": torch.ones(1, 2), "x.lora_B.weight": torch.ones(2, 1)}
    for name, card in (("anna", base), ("of another base", replace(base, base="0"))):
        save_adapter(folder / "adapters" / f"{name}.safetensors", factors, LowRank(1, 1), card)
    found = installed_weights(folder)
    assert list(found)[2:] == ["anna on release 1.5 (latentsync_unet.pt)"]
    weights = found["anna on release 1.5 (latentsync_unet.pt)"]
    described = weights.check()
    assert described["adapter"]["consent"] == "hers, by letter"
    plain = identities(replace(weights, adapter=None).check())
    full, half = (
        identities(described),
        identities(replace(weights, adapter=replace(weights.adapter, strength=0.5)).check()),
    )
    assert {name: full[name] for name in plain} == plain
    assert full["adapter"] != half["adapter"]  # what tells a job that is resumed, and a row of a batch, from another
    with pytest.raises(AdapterMismatchError):
        replace(weights, adapter=AdapterChoice(folder / "adapters" / "of another base.safetensors")).check()
