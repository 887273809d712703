"""Whole runs of the U-Net's training command: one process and two, with a clip that cannot be decoded."""

from __future__ import annotations

import csv
import json
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from latentsync.checkpoint import load_unet
from latentsync.config import load_config
from latentsync.errors import ConfigError, TrainingError
from latentsync.recipe import UNetRecipe
from latentsync.training.loop.trainer import TrainingResult
from latentsync.training.unet.run import sharded_dtype, train_unet
from tests.data.clips import write_corrupt_clip, write_talking_clips
from tests.forked import end_of, start_module
from tests.training.tiny_unet import ROOT, write_networks

CONFIG = ROOT / "configs" / "unet" / "talkers_stage1.yaml"
# A learning rate that hardly moves the weights: Adam's first steps go by the signs of the gradients, and those of
# gradients near zero are rounding, which two processes do otherwise.
SMALL = [
    "data.talkers=null", "data.resolution=32", "data.num_frames=16", "data.num_val_samples=2", "run.max_train_steps=3",
    "run.validation_steps=2", "run.log_steps=1", "run.inference_steps=1", "optimizer.lr=1e-7", "run.ema_decay=0",
    "optimizer.lr_warmup_steps=0", "model.block_out_channels=[32,32,32]", "model.in_channels=13",
    "model.out_channels=4",
]  # fmt: skip


def overrides(folder: Path, networks: list[str], clips: Path, name: str, batch: int) -> list[str]:
    places = [
        f"data.train_output_dir={folder / name}",
        f"data.train_data_dir={clips}",
        f"data.val_data_dir={clips}/val",
    ]
    return [*networks, *SMALL, *places, f"data.batch_size={batch}"]


def column(folder: Path, name: str, table: str, key: str) -> list[float]:
    with (folder / name / "talkers_stage1" / f"{table}.csv").open() as file:
        return [float(row[key]) for row in csv.DictReader(file)]


def run_two(folder: Path, module: str, *line: str) -> None:
    """Two processes of a module with its arguments, to their end; what they say is kept in ``folder``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    said = [folder / f"said by {rank}" for rank in range(2)]
    before = "import torch; torch.set_num_threads(1)"
    processes = [
        start_module(module, list(line), said=said[rank], before=before, **common, RANK=f"{rank}", LOCAL_RANK=f"{rank}")
        for rank in range(2)
    ]
    for process, path in zip(processes, said, strict=True):
        assert end_of(process) == 0, path.read_text()[-3000:]


def test_two_processes_that_share_a_network_train_like_one_and_go_on_exactly(tmp_path):
    networks = write_networks(tmp_path / "networks", width=128)
    write_talking_clips(tmp_path / "clips", 3)
    write_talking_clips(tmp_path / "clips" / "val", 2, first_seed=20)
    moving = ["optimizer.lr=1e-3", "optimizer.lr_scheduler=constant", "run.ema_decay=0.9", "data.num_val_samples=3"]

    def wish(name: str, batch: int, *further: str) -> list[str]:
        return [*overrides(tmp_path, networks, tmp_path / "clips", name, batch), *moving, *further]

    shared = ("run.sharded=true", "run.mixed_precision=bf16")
    parts = [wish("parts", 1, *shared, f"run.max_train_steps={steps}") for steps in (2, 3)]
    wishes = tmp_path / "wishes.json"
    wishes.write_text(json.dumps([wish("whole", 1, *shared), *parts]))
    run_two(tmp_path, "tests.training.run_several", str(CONFIG), str(wishes))
    alone = load_config(CONFIG, UNetRecipe, wish("one", 2, "data.num_val_samples=4"))
    assert train_unet(alone, "talkers_stage1") is TrainingResult.FINISHED
    for table in ("train", "validation"):
        one, whole, parts = (column(tmp_path, name, table, "loss") for name in ("one", "whole", "parts"))
        assert whole == pytest.approx(one, rel=1e-3), table
        assert parts == whole, table
    files = {name: tmp_path / name / "talkers_stage1" / "weights" / "last.safetensors" for name in ("whole", "parts")}
    whole, parts = (load_file(path) for path in files.values())
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert load_unet(files["whole"], resolution=32).config.block_out_channels == (32, 32, 32)
    with pytest.raises(TrainingError, match="of a sharded network"):
        wrong = wish("whole", 1, "run.mixed_precision=bf16", "run.max_train_steps=4")
        train_unet(load_config(CONFIG, UNetRecipe, wrong), "talkers_stage1")


@pytest.mark.parametrize(("override", "named"), [("bf16", "one process"), ("fp16", "mixed_precision fp16")])
def test_a_network_that_cannot_be_shared_is_refused(override, named):
    recipe = load_config(CONFIG, UNetRecipe, ["run.sharded=true", f"run.mixed_precision={override}"])
    with pytest.raises(ConfigError, match=named):
        sharded_dtype(recipe, torch.device("cuda"), processes=1 if named == "one process" else 2)


def test_two_processes_with_a_corrupt_clip_train_and_validate_like_one(tmp_path):
    networks = write_networks(tmp_path / "networks", width=128)
    paths = write_talking_clips(tmp_path / "clips", 3)
    write_corrupt_clip(tmp_path / "clips" / "corrupt.mp4", paths[0])
    write_talking_clips(tmp_path / "clips" / "val", 2, first_seed=20)
    common_settings = (tmp_path, networks, tmp_path / "clips")
    line = ["--unet_config_path", str(CONFIG), *overrides(*common_settings, "two", batch=1)]
    run_two(tmp_path, "scripts.train_unet", *line)
    alone = load_config(CONFIG, UNetRecipe, overrides(*common_settings, "one", batch=2))
    assert train_unet(alone, "talkers_stage1") is TrainingResult.FINISHED
    for table, key, steps in (("train", "loss", 3), ("validation", "loss", 3), ("validation", "sync_cosine", 3)):
        alone, together = (column(tmp_path, name, table, key) for name in ("one", "two"))
        assert len(alone) == steps, key
        assert together == pytest.approx(alone, rel=1e-3), key
    run = tmp_path / "two" / "talkers_stage1"
    assert sorted(path.name for path in (run / "validation").iterdir()) == [f"step_{n:09d}.png" for n in (0, 2, 3)]
    replaced = json.loads((run / "replaced_clips.json").read_text())
    assert [Path(entry["path"]).name for entry in replaced] == ["corrupt.mp4"]
