"""How a run begins: its folder, its precision, the loop's part of its configuration."""

from __future__ import annotations

import pytest

from latentsync.config import read_yaml
from latentsync.errors import ConfigError, DeviceError
from latentsync.runtime.device import Machine
from latentsync.training.builtin.recipes import AudioEncoderRecipe
from latentsync.training.loop import precision
from latentsync.training.loop.run import CONFIG_NAME, loop_settings, make_accelerator, open_run, run_folder

MAY_CHANGE = ("run.max_train_steps", "ckpt", "data.train_output_dir")


def recipe_in(folder, **run) -> AudioEncoderRecipe:
    recipe = AudioEncoderRecipe()
    recipe.data.train_output_dir = str(folder)
    for name, value in run.items():
        setattr(recipe.run, name, value)
    return recipe


def test_nothing_is_written_before_the_folder_is_claimed(tmp_path):
    recipe = recipe_in(tmp_path / "out")
    run = open_run(recipe, "name", MAY_CHANGE)
    assert run.folder == run_folder(recipe, "name") == tmp_path / "out" / "name"
    assert not (tmp_path / "out").exists()
    run.claim(recipe)
    assert read_yaml(run.folder / CONFIG_NAME)["run"]["seed"] == recipe.run.seed


def test_a_folder_goes_on_with_what_may_change_and_is_refused_to_another_configuration(tmp_path):
    recipe = recipe_in(tmp_path)
    open_run(recipe, "name", MAY_CHANGE).claim(recipe)
    longer = recipe_in(tmp_path, max_train_steps=9)
    longer.ckpt.keep_checkpoints = 7  # a whole section may change
    assert open_run(longer, "name", MAY_CHANGE).folder == tmp_path / "name"
    with pytest.raises(ConfigError, match=f"run.seed: {recipe.run.seed} there, 5 now"):
        open_run(recipe_in(tmp_path, seed=5), "name", MAY_CHANGE)


def test_the_loops_part_of_a_configuration_and_what_only_some_configurations_say(tmp_path):
    recipe = recipe_in(tmp_path, max_train_steps=300, seed=8)
    plain = loop_settings(recipe)
    assert (plain.max_steps, plain.seed, plain.optimizer) == (300, 8, "adamw")
    assert (plain.accumulation, plain.num_workers) == (1, 0)
    assert plain.learning_rate.peak == recipe.optimizer.lr
    assert plain.keep_checkpoints == recipe.ckpt.keep_checkpoints
    special = loop_settings(recipe, max_steps=20, lr_factor=4, optimizer="muon", accumulation=2, num_workers=3)
    assert (special.max_steps, special.learning_rate.max_steps) == (20, 20)
    assert special.learning_rate.peak == 4 * recipe.optimizer.lr
    assert (special.optimizer, special.accumulation, special.num_workers) == ("muon", 2, 3)
    with pytest.raises(ConfigError, match="optimizer.name is 'sgd'"):
        loop_settings(recipe, optimizer="sgd")


def test_trainings_of_one_process_each_have_their_precision(monkeypatch, fresh_accelerators):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for has, asked, given in ((False, "bf16", "no"), (True, "bf16", "bf16"), (True, "fp16", "no")):
        monkeypatch.setattr(precision, "cpu_has_bf16", lambda has=has: has)
        assert make_accelerator(asked).mixed_precision == given


def test_a_gpu_that_cannot_be_used_is_an_error_and_not_a_training_on_the_processor(monkeypatch):
    machine = Machine("2.14.1", "13.0", (), present=True, driver="470.82.01")
    monkeypatch.setattr("latentsync.runtime.device.read_machine", lambda: machine)
    with pytest.raises(DeviceError, match="driver 470.82.01 of this machine is too old"):
        make_accelerator("bf16")
