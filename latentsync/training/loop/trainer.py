"""The training loop: steps, processes, precision, saving. What is trained is the task's business.

Samples, learning rate and position in the data follow from the step number alone, so "train 20 steps" and "train 10,
be killed, start again" give equal weights, and n processes see what one with n times the batch sees.
"""

from __future__ import annotations

import atexit
import json
import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from enum import Enum
from functools import cache
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, Generic, cast

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset

from latentsync.data.batches import ClipFault
from latentsync.data.clip_dataset import SampleKey
from latentsync.errors import OutOfMemoryError, TrainingError
from latentsync.runtime.memory import release_memory
from latentsync.runtime.shared_memory import workers_that_fit
from latentsync.training.loop.checkpoints import CheckpointStore, TrainingState
from latentsync.training.loop.data_order import StepBatches
from latentsync.training.loop.ema import EMA
from latentsync.training.loop.metrics_log import Notes, RunLog
from latentsync.training.loop.optimizers import make_optimizer
from latentsync.training.loop.sharding import Shards, gathered, is_sharded
from latentsync.training.loop.task import BatchT, LateFigures, LoopSettings, Task

logger = logging.getLogger(__name__)

BAD_STEPS_IN_A_ROW = 5  # steps without a finite loss before the run goes back to its last checkpoint
OVERFLOWS_IN_A_ROW = 24  # of fp16 gradients with a finite loss: the scaler halves its factor of 2^16 each time
MAX_ROLL_BACKS = 3


class TrainingResult(Enum):
    """How a call of ``Trainer.run`` ended."""

    FINISHED = "finished"
    STOPPED = "stopped"  # by a signal; the same command goes on


@cache
def leave_group_at_exit() -> None:
    """Have this process leave the process group before the interpreter is torn down; for runs that ended well.

    Otherwise a thread of Gloo that still holds a tensor ends the process with SIGABRT, seen in one of 50 runs that were
    complete (pytorch/pytorch#190489). After an error the other processes may wait in a collective operation, and so
    could this one.
    """

    def leave() -> None:
        if distributed.is_initialized():
            distributed.destroy_process_group()

    atexit.register(leave)


class StopSignals:
    """A context in which SIGINT and SIGTERM set ``received``; a second SIGINT interrupts at once, as usual."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():  # only there can handlers be set
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)


class Trainer(Generic[BatchT]):
    """One run in one folder. Starting it again with the same folder goes on from its newest checkpoint.

    The folder gets ``train.csv``, ``validation.csv``, ``charts.png``, ``tensorboard/``, ``checkpoints/``,
    ``weights/{last,best}.safetensors``, ``replaced_clips.json`` and, if there were any, ``bad_steps_*.jsonl`` and
    ``notes.jsonl``. ``ema`` takes in the weights after every step; when to use them is the task's business. ``late``
    gives figures of validations when they are known, ``notes`` what others have to say of the run.
    """

    def __init__(
        self,
        task: Task[BatchT],
        settings: LoopSettings,
        folder: Path,
        accelerator: Accelerator,
        ema: EMA | None = None,
        late: LateFigures | None = None,
        notes: Notes | None = None,
    ) -> None:
        self._task = task
        self._late = late
        self._notes = notes or Notes()
        self._settings = settings
        self._folder = folder
        self._accelerator = accelerator
        self._parameters = [p for p in task.network.parameters() if p.requires_grad]
        rate, decay = settings.learning_rate.peak, settings.weight_decay
        optimizer = make_optimizer(settings.optimizer, self._parameters, rate, decay)
        self._ema = ema
        self._shards: Shards | None = None
        if is_sharded(task.network):  # its hooks do what the accelerator's wrapper would
            self._network, self._optimizer = task.network, optimizer
            self._shards = Shards(task.network, optimizer, ema)
        else:
            self._network, self._optimizer = accelerator.prepare(task.network, optimizer)
            if ema is not None:
                accelerator.register_for_checkpointing(ema)
        self._store = CheckpointStore(folder / "checkpoints", settings.keep_checkpoints, self._shards)
        self._state = TrainingState()
        self._faults: dict[str, ClipFault] = {}
        self._bad_in_a_row = 0
        self._log: RunLog | None = None

    def run(self) -> TrainingResult:
        """Train to ``max_steps``, or until ``patience`` or ``max_seconds`` are used up. Raises ``TrainingError`` if the
        loss is not finite for long, ``DataError``."""
        settings = self._settings
        self._state = self._store.load(self._accelerator) or TrainingState()
        if self._state.step >= settings.max_steps or self._patience_used_up() or self._time_used_up():
            leave_group_at_exit()
            return TrainingResult.FINISHED
        if self._accelerator.is_main_process:
            self._log = RunLog(self._task, self._folder, self._state.step, settings.max_steps, self._late, self._notes)
        try:
            if self._state.step == 0:
                self._validate()
            with StopSignals() as signals:
                result = self._train(signals)
        finally:
            if self._log is not None:
                self._log.close()
        leave_group_at_exit()
        return result

    def _train(self, signals: StopSignals) -> TrainingResult:
        settings, state = self._settings, self._state
        started = time.perf_counter() - state.seconds
        for batches in self._steps():
            stop, late = self._one_step(batches, stop_here=signals.received is not None)
            state.seconds = time.perf_counter() - started
            done = late or state.step >= settings.max_steps
            if self._log is not None and (done or state.step % settings.log_steps == 0):
                self._log.write_row(state.step, state.skipped_steps)
            if done or state.step % settings.validation_steps == 0:
                self._validate()
                done = done or self._patience_used_up()
            due = state.step % settings.save_steps == 0 and not self._bad_in_a_row
            if done or stop or due:
                self._save()
            if done:
                break
            if stop:
                return TrainingResult.STOPPED
        return TrainingResult.FINISHED

    def _patience_used_up(self) -> bool:
        return 0 < self._settings.patience <= self._state.worse_validations

    def _time_used_up(self) -> bool:
        return self._state.seconds >= self._settings.max_seconds

    def try_step(self) -> None:
        """Compute the gradients of one batch and drop them: what a step takes can be seen from outside."""
        task, count = self._task, len(self._task.dataset)
        samples = [task.dataset[SampleKey(0, index % count)] for index in range(self._settings.batch_size)]
        loss, _ = task.loss(self._network, task.collate(samples).to(self._accelerator.device))
        self._accelerator.backward(loss)
        self._optimizer.zero_grad(set_to_none=True)

    # -- one step -----------------------------------------------------------------------------------------------------

    def _one_step(self, batches: list[BatchT], stop_here: bool) -> tuple[bool, bool]:
        """Train on the batches of one step; whether any process was asked to stop, and whether any has no time left."""
        rate = self._settings.learning_rate(self._state.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        own = self._gradients(batches)
        norm = self._accelerator.clip_grad_norm_(self._parameters, self._settings.max_grad_norm)
        asked = {"stop": stop_here, "late": self._time_used_up()}
        own |= {"grad_norm": gathered(norm)}
        own |= {name: torch.full((), float(on), device=self._accelerator.device) for name, on in asked.items()}
        packed = torch.stack([value.detach().float() for value in own.values()])
        # The only time in a step that the host waits for the device: it decides whether the step is taken.
        figures = dict(zip(own, self._accelerator.reduce(packed, "mean").tolist(), strict=True))
        stop, late = figures.pop("stop") > 0, figures.pop("late") > 0
        self._state.step += 1
        if self._log is not None:
            self._log.count()
        if math.isfinite(figures["loss"]) and math.isfinite(figures["grad_norm"]):
            self._optimizer.step()
            if self._ema is not None:
                self._ema.update()
            self._bad_in_a_row = 0
            if self._log is not None:
                self._log.add(figures | {"lr": rate})
        else:
            self._skip(batches, figures)
        self._optimizer.zero_grad(set_to_none=True)
        return stop, late

    def _gradients(self, batches: list[BatchT]) -> dict[str, Tensor]:
        """Accumulate the mean gradient of the batches; the mean figures of this process, the loss first."""
        sums: dict[str, Tensor] = {}
        for number, batch in enumerate(batches, start=1):
            for origin in batch.origins:
                self._faults |= {fault.path: fault for fault in origin.faults}
            more = number < len(batches)  # gradients are exchanged between the processes only at the last batch
            with self._accelerator.no_sync(self._network) if more else nullcontext():
                loss, figures = self._task.loss(self._network, batch.to(self._accelerator.device))
                self._accelerator.backward(loss / len(batches))
            for name, value in {"loss": loss.detach(), **figures}.items():
                sums[name] = sums.get(name, 0.0) + value / len(batches)
        return sums

    def _skip(self, batches: list[BatchT], figures: dict[str, float]) -> None:
        """Leave the weights as they are, write down the batch; too often in a row: back to the last checkpoint."""
        self._state.skipped_steps += 1
        self._bad_in_a_row += 1
        scaler = self._accelerator.scaler
        if scaler is not None:
            self._optimizer.step()  # no step is taken here either, but the factor of the fp16 gradients is lowered
        row = {
            "step": self._state.step,
            "figures": {name: str(value) for name, value in figures.items()},
            "samples": [[origin.path, origin.start_frame] for batch in batches for origin in batch.origins],
        }
        with (self._folder / f"bad_steps_{self._accelerator.process_index}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        overflow = scaler is not None and math.isfinite(figures["loss"])
        if self._bad_in_a_row >= (OVERFLOWS_IN_A_ROW if overflow else BAD_STEPS_IN_A_ROW):
            self._roll_back()

    def _roll_back(self) -> None:
        """Weights and optimizer of the last checkpoint; the data goes on where it is, behind the batches to blame."""
        now = self._state
        problem = f"{self._bad_in_a_row} steps in a row up to step {now.step} had no finite loss or gradient"
        remedy = f"Their samples are listed in {self._folder}/bad_steps_*.jsonl. Try a lower learning rate, or bf16."
        if now.roll_backs >= MAX_ROLL_BACKS:
            raise TrainingError(f"{problem}, after {now.roll_backs} returns to a checkpoint.", remedy=remedy)
        if self._store.load(self._accelerator) is None:
            raise TrainingError(f"{problem}, and there is no checkpoint yet to go back to.", remedy=remedy)
        logger.warning("%s: going back to the weights of %s. %s", problem, self._store.newest(), remedy)
        now.roll_backs += 1
        self._bad_in_a_row = 0

    # -- between steps ------------------------------------------------------------------------------------------------

    def _validate(self) -> None:
        """Score the network, each process its share of the samples; keep the weights if they are the best so far."""
        began, step, failure = time.perf_counter(), self._state.step, ""
        self._network.eval()
        try:
            with torch.no_grad():
                figures = self._task.validate(self._accelerator, step)
        except OutOfMemoryError as error:
            failure = str(error)
        self._network.train()
        if failure:
            release_memory()
            self._notes.add(f"The validation of step {step} is left out: {failure}")
            if self._log is not None:
                self._log.take_notes()
            return
        score = figures.pop("score")
        self._state.worse_validations += 1
        if score > self._state.best_score:
            self._state.best_score, self._state.worse_validations = score, 0
            self._export("best.safetensors")
        if self._log is not None:
            self._log.validated(step, figures, pause=time.perf_counter() - began)

    def _save(self) -> None:
        self._store.save(self._accelerator, self._state)
        faults = gather_object(list(self._faults.values()))
        self._export("last.safetensors")
        if self._log is not None:
            self._log.report_faults(faults)

    def _export(self, name: str) -> None:
        """On the main process; sharded weights need all of them."""
        if self._log is not None or self._shards is not None:
            self._task.export(self._folder / "weights" / name, self._state.step)

    def _steps(self) -> Iterator[list[BatchT]]:
        """The batches of this process, those of one step together, from the current step on."""
        settings = self._settings
        order = StepBatches(
            n_samples=len(self._task.dataset),
            batch_size=settings.batch_size,
            accumulation=settings.accumulation,
            n_processes=self._accelerator.num_processes,
            process=self._accelerator.process_index,
            seed=settings.seed,
            first_step=self._state.step,
            last_step=settings.max_steps,
        )
        task = self._task
        loader = DataLoader(
            cast(Dataset[Any], task.dataset),  # which torch knows as a class only
            batch_sampler=order,
            collate_fn=task.collate,
            num_workers=workers_that_fit(
                settings.num_workers if len(order) else 0,
                lambda: task.collate([task.dataset[next(iter(order))[0]]]),
                settings.batch_size,
            ),
            pin_memory=self._accelerator.device.type == "cuda",
            generator=torch.Generator(),  # of its own, so that starting workers draws nothing from the global one
        )
        batches = iter(loader)
        while group := list(islice(batches, settings.accumulation)):
            yield group
