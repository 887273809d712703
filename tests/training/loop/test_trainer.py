"""The loop on a toy task: resume, accumulation, guard against values that are not finite, signals."""

from __future__ import annotations

import csv
import json
import os
import signal

import pytest
import torch
from accelerate import Accelerator

from latentsync.errors import TrainingError
from latentsync.training.loop.optimizers import OPTIMIZERS, LearningRate
from latentsync.training.loop.task import LoopSettings
from latentsync.training.loop.trainer import BAD_STEPS_IN_A_ROW, MAX_ROLL_BACKS, Trainer, TrainingResult
from tests.training.toy import ToyTask
from tests.training.waits import CountedWaits


def settings(max_steps=20, **values) -> LoopSettings:
    defaults = {"batch_size": 4, "log_steps": 1, "validation_steps": 10, "save_steps": 5, "seed": 3}
    return LoopSettings(max_steps, learning_rate=LearningRate(1e-2, "linear", 3, 20), **defaults | values)


def train(task, folder, **values) -> TrainingResult:
    torch.manual_seed(1)
    return Trainer(task, settings(**values), folder, Accelerator(cpu=True)).run()


def weights(task) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in task.network.parameters()])


def column(folder, table, name):
    with (folder / f"{table}.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file)]


def test_a_run_writes_what_it_promises(tmp_path):
    task = ToyTask()
    assert train(task, tmp_path) is TrainingResult.FINISHED
    assert column(tmp_path, "train", "step") == list(range(1, 21))
    assert column(tmp_path, "train", "lr")[:4] == pytest.approx([1e-2 / 3, 2e-2 / 3, 1e-2, 1e-2])
    losses = column(tmp_path, "validation", "loss")
    assert column(tmp_path, "validation", "step") == [0, 10, 20]
    assert losses[2] < losses[0]
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [f"step_{n:09d}" for n in (10, 15, 20)]
    assert (tmp_path / "charts.png").stat().st_size > 5000
    assert json.loads((tmp_path / "replaced_clips.json").read_text())[0]["path"] == "bad.mp4"
    assert task.exported[0] == ("best.safetensors", 0)
    assert task.exported[-1] == ("last.safetensors", 20)


def test_the_host_waits_for_the_device_once_a_step(tmp_path, monkeypatch):
    one_step, found = Trainer._one_step, []

    def counted(self, *arguments, **named):
        with CountedWaits() as waits:
            stop = one_step(self, *arguments, **named)
        found.append(waits.found)
        return stop

    monkeypatch.setattr(Trainer, "_one_step", counted)
    assert train(ToyTask(), tmp_path, max_steps=4, accumulation=2) is TrainingResult.FINISHED
    assert found == [["tolist"]] * 4


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_stopping_and_starting_again_changes_nothing(tmp_path, optimizer):
    whole, first, second = ToyTask(), ToyTask(), ToyTask()
    train(whole, tmp_path / "whole", optimizer=optimizer)
    train(first, tmp_path / "parts", max_steps=10, optimizer=optimizer)
    torch.rand(100)
    train(second, tmp_path / "parts", optimizer=optimizer)
    assert torch.equal(weights(whole), weights(second))
    assert column(tmp_path / "parts", "train", "loss") == column(tmp_path / "whole", "train", "loss")
    assert whole.seen[10:] == second.seen


def test_a_finished_run_is_left_alone(tmp_path):
    train(ToyTask(), tmp_path)
    again = ToyTask()
    assert train(again, tmp_path) is TrainingResult.FINISHED
    assert not again.seen


def test_a_run_ends_when_its_patience_or_its_time_is_used_up(tmp_path):
    class Worse(ToyTask):
        def validate(self, accelerator, step):
            return {"score": float(-step), "loss": float(step)}

    task = Worse()
    assert train(task, tmp_path / "a", validation_steps=2, patience=3) is TrainingResult.FINISHED
    assert task.count == 6
    assert task.exported == [("best.safetensors", 0), ("last.safetensors", 5), ("last.safetensors", 6)]
    again = Worse()
    assert train(again, tmp_path / "a", validation_steps=2, patience=3) is TrainingResult.FINISHED
    assert again.count == 0  # it stays ended
    assert train(again, tmp_path / "a", validation_steps=2, patience=4) is TrainingResult.FINISHED
    assert again.count == 2  # with more patience it goes on

    hasty = ToyTask()
    assert train(hasty, tmp_path / "b", max_seconds=0.0) is TrainingResult.FINISHED
    assert hasty.count == 0
    assert train(hasty, tmp_path / "c", max_seconds=1e-9) is TrainingResult.FINISHED
    assert hasty.count == 2  # the time is looked at before a step, and the first one takes none beforehand
    assert column(tmp_path / "c", "validation", "step") == [0, 2]


def test_a_step_that_is_only_tried_changes_nothing(tmp_path):
    def run(folder, tries):
        torch.manual_seed(1)
        task = ToyTask()
        trainer = Trainer(task, settings(max_steps=2), folder, Accelerator(cpu=True))
        before = weights(task)
        for _ in range(tries):
            trainer.try_step()
        assert torch.equal(weights(task), before) and task.count == tries
        assert all(parameter.grad is None for parameter in task.network.parameters())

    run(tmp_path, 2)


def test_accumulated_batches_make_the_step_of_the_large_batch(tmp_path):
    large, small = ToyTask(), ToyTask()
    for task in (large, small):
        task.network[1] = torch.nn.Identity()  # dropout draws differently for other batch sizes
    train(large, tmp_path / "large", batch_size=8)
    train(small, tmp_path / "small", batch_size=2, accumulation=4)
    torch.testing.assert_close(weights(large), weights(small), rtol=1e-4, atol=1e-6)


def test_a_step_without_a_finite_loss_is_skipped_and_written_down(tmp_path):
    task = ToyTask(poisoned=[7])
    assert train(task, tmp_path) is TrainingResult.FINISHED
    assert weights(task).isfinite().all()
    assert 8 not in column(tmp_path, "train", "step")
    assert column(tmp_path, "train", "skipped_steps")[-1] == 1
    (row,) = [json.loads(line) for line in (tmp_path / "bad_steps_0.jsonl").read_text().splitlines()]
    assert row["step"] == 8
    assert row["figures"]["loss"] == "nan"
    assert [path for path, _ in row["samples"]] == [f"point {index}" for index in task.seen[7]]


def test_many_bad_steps_in_a_row_go_back_to_the_last_checkpoint(tmp_path, caplog):
    poisoned = range(11, 11 + BAD_STEPS_IN_A_ROW)
    task = ToyTask(poisoned=poisoned)
    assert train(task, tmp_path) is TrainingResult.FINISHED
    assert "going back to the weights of" in caplog.text
    assert "step_000000010" in caplog.text
    assert len(task.seen) == 20  # the data went on, nothing was seen twice
    progress = json.loads((tmp_path / "checkpoints" / "step_000000020" / "progress.json").read_text())
    assert (progress["roll_backs"], progress["skipped_steps"]) == (1, BAD_STEPS_IN_A_ROW)


def test_a_run_that_never_gets_finite_ends_with_the_reason(tmp_path):
    with pytest.raises(TrainingError, match="no checkpoint yet"):
        train(ToyTask(poisoned=range(100)), tmp_path / "from the start")
    with pytest.raises(TrainingError, match=f"after {MAX_ROLL_BACKS} returns") as caught:
        train(ToyTask(poisoned=range(6, 100)), tmp_path / "later", max_steps=60, save_steps=6)
    assert "bad_steps_" in caught.value.remedy


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_between_two_steps_and_the_run_can_go_on(tmp_path, number):
    whole, second = ToyTask(), ToyTask()
    train(whole, tmp_path / "whole")
    handler = signal.getsignal(number)
    stopped = ToyTask(on_step=lambda count: os.kill(os.getpid(), number) if count == 7 else None)
    assert train(stopped, tmp_path / "stopped") is TrainingResult.STOPPED
    assert signal.getsignal(number) is handler
    assert (tmp_path / "stopped" / "checkpoints").exists()
    assert len(stopped.seen) in (7, 8)
    assert train(second, tmp_path / "stopped") is TrainingResult.FINISHED
    assert torch.equal(weights(whole), weights(second))


def test_a_half_written_checkpoint_is_not_used(tmp_path):
    whole, second = ToyTask(), ToyTask()
    train(whole, tmp_path / "whole")
    train(ToyTask(), tmp_path / "parts", max_steps=10)
    partial = tmp_path / "parts" / "checkpoints" / "step_000000015.partial"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"half")
    train(second, tmp_path / "parts")
    assert torch.equal(weights(whole), weights(second))
    assert not partial.exists()


def test_a_checkpoint_of_an_older_version_is_gone_on_from(tmp_path):
    whole, second = ToyTask(), ToyTask()
    train(whole, tmp_path / "whole")
    train(ToyTask(), tmp_path / "parts", max_steps=10)
    state = tmp_path / "parts" / "checkpoints" / "step_000000010" / "progress.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"best_step": 10}))
    train(second, tmp_path / "parts")
    assert torch.equal(weights(whole), weights(second))


def test_a_damaged_checkpoint_is_named(tmp_path):
    train(ToyTask(), tmp_path, max_steps=5)
    (tmp_path / "checkpoints" / "step_000000005" / "optimizer.bin").write_bytes(b"half")
    with pytest.raises(TrainingError, match="step_000000005 cannot be read"):
        train(ToyTask(), tmp_path)
