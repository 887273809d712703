"""Validations that run out of memory: smaller batches, or none this time; the training goes on."""

from __future__ import annotations

import json

import pytest
import torch
from accelerate import Accelerator

from latentsync.data.clip_dataset import SampleKey
from latentsync.errors import OutOfMemoryError, TrainingError
from latentsync.training.loop import validation
from latentsync.training.loop.optimizers import LearningRate
from latentsync.training.loop.task import LoopSettings
from latentsync.training.loop.trainer import Trainer, TrainingResult
from latentsync.training.loop.validation import loader_of, rows_of_all
from tests.training.toy import PointSet, ToyTask

FAILURES = {
    "CUDA": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "cuDNN": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "by name": OutOfMemoryError("There is not enough memory for a single image in the latent codec."),
}


class Scorer:
    """Scores the numbers 0 to 6 in batches of which none may be larger than ``fits``."""

    def __init__(self, fits: int, failure: Exception) -> None:
        self.fits, self.failure = fits, failure
        self.sizes: list[int] = []

    def __call__(self, batch_size: int) -> list[int]:
        self.sizes.append(batch_size)
        if batch_size > self.fits:
            raise self.failure
        return list(range(7))


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_batches_are_halved_until_they_fit(failure, monkeypatch):
    released = []
    monkeypatch.setattr(validation, "release_memory", lambda: released.append(True))
    score = Scorer(3, failure)
    assert rows_of_all(Accelerator(cpu=True), score, 12) == list(range(7))
    assert score.sizes == [12, 6, 3]
    assert len(released) == 2


def test_what_does_not_fit_at_all_is_named():
    score = Scorer(0, FAILURES["CUDA"])
    with pytest.raises(OutOfMemoryError, match="of one sample") as error:
        rows_of_all(Accelerator(cpu=True), score, 2)
    assert score.sizes == [2, 1]
    assert "data.batch_size" in error.value.remedy


def test_other_errors_are_raised_as_they_are():
    with pytest.raises(RuntimeError, match="device-side assert"):
        rows_of_all(Accelerator(cpu=True), Scorer(0, RuntimeError("device-side assert triggered")), 4)


def test_processes_that_need_each_other_do_not_go_on_alone():
    score = Scorer(1, FAILURES["CUDA"])
    with pytest.raises(TrainingError, match="sharded"):
        rows_of_all(Accelerator(cpu=True), score, 4, together=True)
    assert score.sizes == [4]


def test_samples_come_in_order_whatever_the_size_of_a_batch():
    keys = [SampleKey(0, index) for index in (3, 1, 2)]
    for size in (1, 2, 3):
        loader = loader_of(PointSet(), keys, size, ToyTask.collate, torch.device("cpu"))
        assert [origin.clip_id for batch in loader for origin in batch.origins] == ["3", "1", "2"]


class ShortOfMemory(ToyTask):
    """Its validations of ``steps`` find no memory."""

    def __init__(self, *steps: int) -> None:
        super().__init__()
        self._steps = steps

    def validate(self, accelerator, step):
        if step in self._steps:
            raise OutOfMemoryError("A validation batch of one sample does not fit.")
        return super().validate(accelerator, step)


@pytest.mark.parametrize("steps", [(0,), (4,), (0, 4, 8)])
def test_a_validation_without_memory_is_left_out_and_noted(tmp_path, steps):
    def train(task: ToyTask, name: str) -> list[str]:
        torch.manual_seed(1)
        rate = LearningRate(1e-2, "constant", 0, 8)
        settings = LoopSettings(8, 4, rate, log_steps=1, validation_steps=4, save_steps=8)
        assert Trainer(task, settings, tmp_path / name, Accelerator(cpu=True)).run() is TrainingResult.FINISHED
        return (tmp_path / name / "validation.csv").read_text().splitlines()[1:]

    short, undisturbed = ShortOfMemory(*steps), ToyTask()
    rows, all_rows = train(short, "short"), train(undisturbed, "undisturbed")
    assert rows == [row for row in all_rows if int(row.split(",")[0]) not in steps]
    notes = [json.loads(line) for line in (tmp_path / "short" / "notes.jsonl").read_text().splitlines()]
    assert [note["step"] for note in notes] == list(steps)
    assert all(f"The validation of step {note['step']} is left out" in note["note"] for note in notes)
    assert not (tmp_path / "undisturbed" / "notes.jsonl").exists()
    for one, other in zip(short.network.parameters(), undisturbed.network.parameters(), strict=True):
        assert torch.equal(one, other)
    assert short.network.training
