"""A network shared out among processes that computes in bfloat16, here with one process on the CPU."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import distributed

from latentsync.models.unet import UNet3D, UNetConfig
from latentsync.training.loop.ema import EMA
from latentsync.training.loop.optimizers import LearningRate
from latentsync.training.loop.sharding import gathered, shard, whole
from latentsync.training.loop.task import LoopSettings
from latentsync.training.loop.trainer import Trainer, TrainingResult
from tests.golden import fill_by_rule, relative_error, rule_input
from tests.training.toy import ToyTask

CONFIG = UNetConfig(
    block_out_channels=(16, 16), layers_per_block=1, num_attention_heads=2, motion_num_attention_heads=2,
    cross_attention_dim=8, norm_num_groups=4,
)  # fmt: skip


class NoiseTask(ToyTask):
    """A U-Net with motion modules that learns to predict noise from the batches of the toy."""

    def __init__(self) -> None:
        super().__init__()
        self.network = fill_by_rule(UNet3D(CONFIG)).train()
        self.network.enable_gradient_checkpointing()

    def loss(self, network, batch):
        sample = rule_input("sample", (1, 13, 4, 4, 4)) + batch.x.mean()
        predicted = network(sample, torch.tensor([400]), rule_input("audio", (1, 4, 5, 8))).float()
        return (predicted - rule_input("noise", (1, 4, 4, 4, 4))).square().mean(), {}

    def validate(self, accelerator, step):
        return {"score": float(step)}


@pytest.fixture
def one_process(tmp_path):
    """A group of one process, by way of a file: no port that another test could take."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.fixture
def bf16(fresh_accelerators) -> Accelerator:
    return Accelerator(cpu=True, mixed_precision="bf16")


def train(folder: Path, accelerator: Accelerator, steps: int, shared: bool) -> tuple[NoiseTask, EMA]:
    task = NoiseTask()
    if shared:
        shard(task.network, task.network.layers(), torch.device("cpu"), torch.bfloat16)
    ema = EMA(list(task.network.parameters()), 0.9)
    rate = LearningRate(1e-3, "constant", 0, 3)
    settings = LoopSettings(steps, 2, rate, log_steps=1, validation_steps=100, save_steps=100)
    assert Trainer(task, settings, folder, accelerator, ema).run() is TrainingResult.FINISHED
    return task, ema


def state(task: NoiseTask) -> dict[str, torch.Tensor]:
    return {name: gathered(tensor.detach()).float().clone() for name, tensor in task.network.state_dict().items()}


def column(folder: Path, name: str) -> list[float]:
    with (folder / "train.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file)]


def together(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def test_it_trains_saves_and_goes_on_like_one_that_is_whole(tmp_path, one_process, bf16):
    alone, _ = train(tmp_path / "alone", bf16, 3, shared=False)
    start = fill_by_rule(UNet3D(CONFIG)).state_dict()
    shared, _ = train(tmp_path / "shared", bf16, 3, shared=True)
    train(tmp_path / "parts", bf16, 2, shared=True)
    parts, ema = train(tmp_path / "parts", bf16, 3, shared=True)
    for name, tolerance in (("loss", 1e-2), ("grad_norm", 5e-2)):
        assert column(tmp_path / "shared", name) == pytest.approx(column(tmp_path / "alone", name), rel=tolerance)
        assert column(tmp_path / "parts", name) == column(tmp_path / "shared", name)
    one, other, again = (state(task) for task in (alone, shared, parts))
    assert all(torch.equal(other[name], again[name]) for name in other)
    assert any("motion_modules" in name and not torch.equal(start[name], other[name]) for name in start)
    assert relative_error(together(other), together(one)) < 1e-2
    with ema.applied():  # the average came back as well
        assert any(not torch.equal(again[name], tensor) for name, tensor in state(parts).items())


def test_gathered_weights_are_on_the_cpu_and_whole(one_process):
    network = fill_by_rule(UNet3D(CONFIG))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    shard(network, network.layers(), torch.device("cpu"), None)
    after = whole(network.state_dict())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
