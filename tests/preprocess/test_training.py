"""What comes out of the pipeline goes into training as it is."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from latentsync.cli.data import main
from latentsync.config import load_config
from latentsync.recipe import UNetRecipe
from latentsync.training.loop.trainer import TrainingResult
from latentsync.training.syncnet.run import train_syncnet
from latentsync.training.unet.run import train_unet
from tests.preprocess.world import DrawnNetworks, draw_talk, preprocess, small_settings
from tests.training.tiny import tiny_recipe
from tests.training.tiny_unet import ROOT, write_networks


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    """Of the clips that are left of three recordings, long enough for both networks."""
    folder = tmp_path_factory.mktemp("data")
    for seed in range(3):
        draw_talk(folder / "raw" / f"{seed}.mp4", 4.4, seed=seed, offset=seed)
    preprocess(small_settings(folder / "raw", segment_seconds=2.0), DrawnNetworks)
    assert main(["make_manifest", str(folder), "--validation_share", "0.3"]) == 0
    return folder / "clips.jsonl"


def steps_of(run: Path) -> list[int]:
    with (run / "train.csv").open() as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def test_a_sync_network_trains_on_the_result(tmp_path, manifest):
    data = {"train_fileslist": str(manifest), "train_data_dir": ""}
    run = {"max_train_steps": 2, "validation_steps": 2, "log_steps": 1, "mixed_precision_training": False}
    recipe = tiny_recipe(tmp_path / "runs", tmp_path, data=data, run=run, ckpt={"save_ckpt_steps": 2})
    assert train_syncnet(recipe, "tiny") is TrainingResult.FINISHED
    assert steps_of(tmp_path / "runs" / "tiny") == [1, 2]


def test_a_u_net_trains_on_the_result(tmp_path, manifest):
    values = [
        "data.talkers=null", f"data.train_fileslist={manifest}", f"data.train_output_dir={tmp_path}/runs",
        "data.num_val_samples=1", "data.batch_size=1", "data.resolution=64", "data.num_frames=16",
        "run.max_train_steps=2", "run.log_steps=1", "run.inference_steps=1", "optimizer.lr_warmup_steps=0",
        "model.in_channels=13", "model.out_channels=4",  # of the stand-ins
    ]  # fmt: skip
    networks = write_networks(tmp_path / "networks", width=128)
    recipe = load_config(ROOT / "configs" / "unet" / "talkers_stage1.yaml", UNetRecipe, [*networks, *values])
    assert train_unet(recipe, "tiny") is TrainingResult.FINISHED
    assert steps_of(tmp_path / "runs" / "tiny") == [1, 2]
