"""A student is trained, resumed and loaded: tiny networks in the wiring of a user."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from latentsync.checkpoint import WeightsCard, load_unet, read_card, save_weights
from latentsync.checkpoint.files import fingerprint
from latentsync.config import load_config
from latentsync.errors import ConfigError
from latentsync.inference.options import student_sampler
from latentsync.models.unet import UNet3D
from latentsync.recipe import UNetRecipe
from latentsync.training.loop.trainer import TrainingResult
from latentsync.training.student.run import train_student
from latentsync.training.unet.run import train_unet
from tests.data.clips import write_talking_clips
from tests.golden import fill_by_rule
from tests.training.tiny_tasks import UNET
from tests.training.tiny_unet import ROOT, write_networks

CONFIG = ROOT / "configs/unet/talkers_student.yaml"
SMALL = [
    "data.talkers=null", "data.resolution=32", "data.num_val_samples=1", "data.batch_size=1", "run.log_steps=1",
    "run.validation_steps=2", "optimizer.lr=1e-3", "optimizer.lr_scheduler=constant", "optimizer.lr_warmup_steps=0",
    "run.ema_decay=0.5", "student.levels=4", "student.timesteps=[900,400]",
]  # fmt: skip
NO_REWARDS = ["run.use_syncnet=false", "run.pixel_space_supervise=false"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> list[str]:
    """Settings: stand-ins, clips and a teacher that has been trained at 32 pixels."""
    folder = tmp_path_factory.mktemp("student")
    networks = write_networks(folder / "networks", width=UNET.cross_attention_dim)
    write_talking_clips(folder / "clips", 2)
    write_talking_clips(folder / "held_out", 1, first_seed=9)
    card = WeightsCard("unet", resolution=32, num_frames=16)
    save_weights(folder / "teacher.safetensors", fill_by_rule(UNet3D(UNET)).state_dict(), UNET, card)
    return [
        *networks, *SMALL, f"data.train_output_dir={folder}/out", f"student.teacher={folder}/teacher.safetensors",
        f"data.train_data_dir={folder}/clips", f"data.val_data_dir={folder}/held_out",
    ]  # fmt: skip


def run(place: list[str], name: str, *overrides: str) -> Path:
    recipe = load_config(CONFIG, UNetRecipe, [*place, *overrides])
    assert train_student(recipe, name) is TrainingResult.FINISHED
    return Path(recipe.data.train_output_dir) / name


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / f"{table}.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_that_is_resumed_gives_the_same_student_with_its_schedule(place):
    whole = run(place, "whole", *NO_REWARDS, "run.max_train_steps=2")
    run(place, "parts", *NO_REWARDS, "run.max_train_steps=1")
    parts = run(place, "parts", *NO_REWARDS, "run.max_train_steps=2")
    one, two = (load_file(folder / "weights" / "last.safetensors") for folder in (whole, parts))
    assert all(torch.equal(one[key], two[key]) for key in one)
    teacher = Path(next(word for word in place if word.startswith("student.teacher")).partition("=")[2])
    assert any(not torch.equal(one[key], value) for key, value in load_file(teacher).items())

    file = whole / "weights" / "last.safetensors"
    card = read_card(file)
    assert (card.kind, card.distilled_steps, card.distilled_timesteps) == ("unet", 2, (900, 400))
    assert (card.guidance_inside, card.base, card.prediction) == (1.5, fingerprint(teacher), None)
    assert student_sampler(file, None, None).timesteps == (900, 400)
    assert load_unet(file, resolution=32).config == UNET
    assert all(float(row["consistency"]) > 0 for row in rows(whole, "train"))
    assert [row["step"] for row in rows(whole, "validation")] == ["0", "2"]
    assert (whole / "validation" / "step_000000002.png").stat().st_size > 1000
    with pytest.raises(ConfigError, match="is a student itself"):
        run([*place, f"student.teacher={file}"], "second", *NO_REWARDS)


def test_low_rank_changes_learn_from_the_rewards_and_end_up_in_whole_weights(place):
    rewards = ["run.perceptual_loss_weight=0.1", "run.trepa_loss_weight=10", "run.max_train_steps=1"]
    folder = run(place, "low_rank", *rewards, "student.rank=2", "student.alpha=2")
    assert {"sync", "perceptual", "trepa", "consistency"} <= rows(folder, "train")[0].keys()
    teacher = Path(next(word for word in place if word.startswith("student.teacher")).partition("=")[2])
    before, after = load_file(teacher), load_file(folder / "weights" / "last.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys()
    assert changed and all("attentions." in name or "motion_modules." in name for name in changed)


def test_a_student_needs_its_own_training(place):
    recipe = load_config(CONFIG, UNetRecipe, place)
    with pytest.raises(ValueError, match="train_student"):
        train_unet(recipe, "plain")
    recipe.student = None
    with pytest.raises(ConfigError, match="no section student"):
        train_student(recipe, "none")
