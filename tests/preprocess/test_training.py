"""What comes out of the pipeline goes into training as it is."""

from __future__ import annotations

import csv

from latentsync.preprocess.runner import preprocess
from latentsync.training.syncnet import Outcome, train_syncnet
from scripts.data import main
from tests.preprocess.world import DrawnTools, draw_talk, small_settings
from tests.training.tiny import tiny_recipe


def test_a_sync_network_trains_on_the_result(tmp_path):
    for seed in range(3):
        draw_talk(tmp_path / "raw" / f"{seed}.mp4", 3.4, seed=seed, offset=seed)
    preprocess(small_settings(tmp_path / "raw", segment_seconds=1.6), DrawnTools)
    assert main(["make_manifest", str(tmp_path), "--validation_share", "0.3"]) == 0
    data = {"train_fileslist": str(tmp_path / "clips.jsonl"), "train_data_dir": ""}
    run = {"max_train_steps": 2, "validation_steps": 2, "log_steps": 1, "mixed_precision_training": False}
    recipe = tiny_recipe(tmp_path / "runs", tmp_path, data=data, run=run, ckpt={"save_ckpt_steps": 2})
    assert train_syncnet(recipe, "tiny") is Outcome.FINISHED
    with (tmp_path / "runs" / "tiny" / "train.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
