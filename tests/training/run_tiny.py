"""Trains the tiny sync network in a process of its own: ``python -m tests.training.run_tiny settings.json``."""

from __future__ import annotations

import json
import os
import signal
import sys

import torch

from latentsync.config import build_config
from latentsync.recipe import SyncNetRecipe
from latentsync.training.syncnet.run import train_syncnet
from latentsync.training.syncnet.task import SyncNetTask


def main(settings: dict, kill_at_loss: int) -> None:
    """``kill_at_loss`` is the number of the loss before which the process kills itself without any farewell."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    loss, count = SyncNetTask.loss, 0

    def counted(self, network, batch):
        nonlocal count
        count += 1
        if count == kill_at_loss:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(self, network, batch)

    SyncNetTask.loss = counted
    train_syncnet(build_config(settings, SyncNetRecipe, source="test"), "tiny")


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123
        main(json.load(file), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
