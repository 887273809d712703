"""run.compile: the step of a training translated; of the U-Net with frozen parts and recomputed activations."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from latentsync.checkpoint import WeightsCard, load_unet, save_weights
from latentsync.config import load_config
from latentsync.errors import ConfigError
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig
from latentsync.models.unet import UNet3D, UNetConfig
from latentsync.recipe import SyncNetRecipe, UNetRecipe
from latentsync.runtime import compilation as compiling
from latentsync.training.loop.trainer import TrainingResult
from latentsync.training.syncnet.run import train_syncnet
from latentsync.training.unet.networks import choose_trained
from latentsync.training.unet.run import train_unet
from tests.golden import fill_by_rule
from tests.training.tiny_unet import ROOT, write_networks

CONFIG = ROOT / "configs" / "unet" / "talkers_stage2.yaml"
# Motion modules and attentions trained, the rest frozen; recomputed activations; no loss networks.
SMALL = [
    "data.talkers.train_clips=2", "data.talkers.validation_clips=1", "data.talkers.seconds=2.4", "run.ema_decay=0",
    "data.num_val_samples=1", "data.batch_size=1", "data.resolution=32", "data.num_frames=16", "run.log_steps=1",
    "run.validation_steps=2", "run.inference_steps=1", "run.pixel_space_supervise=false", "run.use_syncnet=false",
    "run.enable_gradient_checkpointing=true", "model.block_out_channels=[32,32]", "model.layers_per_block=1",
    "model.down_block_types=[CrossAttnDownBlock3D,DownBlock3D]", "model.up_block_types=[UpBlock3D,CrossAttnUpBlock3D]",
    "model.motion_module_decoder_only=true", "model.in_channels=13", "model.out_channels=4",
    "ckpt.resume_ckpt_path=null", "optimizer.lr_warmup_steps=0", "optimizer.lr_scheduler=constant",
]  # fmt: skip


def recipe_of(folder: Path, networks: list[str], *overrides: str) -> UNetRecipe:
    place = f"data.train_output_dir={folder}/out"
    return load_config(CONFIG, UNetRecipe, [*networks, *SMALL, place, *overrides])


def gradients(network: torch.nn.Module, accelerator: Accelerator, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    wrapped = accelerator.prepare(network)
    accelerator.backward(wrapped(*inputs).square().mean())
    return {name: p.grad for name, p in network.named_parameters() if p.requires_grad}


def test_the_step_is_one_graph_with_frozen_parts_and_recomputed_activations():
    recipe = load_config(CONFIG, UNetRecipe, SMALL)
    torch.manual_seed(0)
    network = choose_trained(UNet3D(UNetConfig.from_dict(recipe.model)), recipe).train()
    torch.nn.init.normal_(network.conv_out.weight, std=0.1)  # as made, it lets no gradient through
    width = network.config.cross_attention_dim
    inputs = torch.randn(1, 13, 16, 4, 4), torch.tensor([400]), torch.randn(1, 16, 10, width)
    names = list(network.state_dict())
    wanted = gradients(network, Accelerator(cpu=True), *inputs)
    network.zero_grad()
    network.compile(backend="aot_eager", fullgraph=True, dynamic=False)  # raises where a graph would have to be cut
    found = gradients(network, Accelerator(cpu=True), *inputs)
    assert list(network.state_dict()) == names
    assert wanted.keys() == found.keys() and 0 < len(wanted) < len(names)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_a_step_of_the_sync_network_is_one_graph():
    recipe = load_config(ROOT / "configs" / "syncnet" / "talkers.yaml", SyncNetRecipe, [])
    torch.manual_seed(0)
    network = StableSyncNet(SyncNetConfig.from_dict(recipe.model)).train()
    faces, mel = torch.randn(2, 48, 32, 64), torch.randn(2, 1, 80, 52)

    def step() -> dict[str, torch.Tensor]:
        network.zero_grad()
        visual_embedding, audio_embedding = network(faces, mel)
        (visual_embedding @ audio_embedding.T).square().sum().backward()
        return {name: p.grad.clone() for name, p in network.named_parameters()}

    wanted, names = step(), list(network.state_dict())
    network.compile(backend="aot_eager", fullgraph=True, dynamic=False)
    found = step()
    assert list(network.state_dict()) == names
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_without_a_compiler_the_training_is_refused_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    networks = write_networks(tmp_path / "networks", width=128)
    with pytest.raises(ConfigError, match="compiler") as error:
        train_unet(recipe_of(tmp_path, networks, "run.compile=true"), "stage2")
    assert "run.compile" in error.value.remedy
    sync = [f"data.train_output_dir={tmp_path}/sync", "run.compile=true"]
    with pytest.raises(ConfigError, match="compiler"):
        train_syncnet(load_config(ROOT / "configs" / "syncnet" / "talkers.yaml", SyncNetRecipe, sync), "talkers")
    assert not (tmp_path / "out").exists() and not (tmp_path / "sync").exists()


def test_a_network_is_not_both_translated_and_shared_out():
    with pytest.raises(ConfigError, match=r"run\.compile and run\.sharded"):
        load_config(CONFIG, UNetRecipe, ["run.compile=true", "run.sharded=true"])


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a translation of the network for training, one for validation
def test_a_compiled_training_has_the_losses_of_an_eager_one_and_goes_on_as_one(tmp_path, monkeypatch):
    try:
        compiling.require_compiler("cpu")
    except ConfigError as error:
        pytest.skip(error.message)
    monkeypatch.setenv(compiling.CACHE_VARIABLE, str(tmp_path / "compiled"))
    networks = write_networks(tmp_path / "networks", width=128)
    start = tmp_path / "start.safetensors"  # as made, a network lets no gradient through to what is trained
    config = UNetConfig.from_dict(recipe_of(tmp_path, networks).model)
    save_weights(start, fill_by_rule(UNet3D(config)).state_dict(), config, WeightsCard("unet"))
    for name, lengths in (("eager", {3: False}), ("mixed", {2: True, 3: False})):
        for length, compiled in lengths.items():
            wish = (f"ckpt.resume_ckpt_path={start}", f"run.max_train_steps={length}", f"run.compile={compiled}")
            assert train_unet(recipe_of(tmp_path, networks, *wish), name) is TrainingResult.FINISHED
    assert any((tmp_path / "compiled").rglob("*.so"))  # it was translated
    runs = [tmp_path / "out" / name for name in ("eager", "mixed")]
    for table, key in (("train", "loss"), ("train", "grad_norm"), ("validation", "loss")):
        eager, mixed = (column(run / f"{table}.csv", key) for run in runs)
        assert mixed == pytest.approx(eager, rel=1e-3), key
        assert len(set(eager)) == len(eager) == 3  # every step changes it
    load_unet(runs[1] / "weights" / "last.safetensors", resolution=32)
    eager, mixed = (load_file(run / "weights" / "last.safetensors") for run in runs)
    before = load_file(start)
    assert mixed.keys() == before.keys()
    moved = {name for name in before if not torch.equal(before[name], mixed[name])}
    assert moved and all("attentions." in name or "motion_modules." in name for name in moved)
    for name, tensor in mixed.items():
        torch.testing.assert_close(tensor, eager[name], rtol=0, atol=3e-4, msg=name)  # three steps of 1e-4 at most


def column(path: Path, key: str) -> list[float]:
    with path.open() as file:
        return [float(row[key]) for row in csv.DictReader(file)]
