"""Trains the U-Net several times in one process, which takes longer to import the libraries than to train.

``python -m tests.training.run_several config.yaml wishes.json``; the JSON holds a list of overrides for each run.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from pathlib import Path

from accelerate.state import AcceleratorState
from torch import distributed

from latentsync.config import load_config
from latentsync.recipe import UNetRecipe
from latentsync.training.loop.trainer import TrainingResult
from latentsync.training.unet.run import train_unet

STAYED_JOINED = 3  # exit code


def expect_to_have_left() -> None:
    """End with ``STAYED_JOINED`` if the process group is still there; registered first, so it runs last."""
    if distributed.is_initialized():
        os._exit(STAYED_JOINED)


if __name__ == "__main__":
    atexit.register(expect_to_have_left)
    config, wishes = (Path(argument) for argument in sys.argv[1:])
    for wish in json.loads(wishes.read_text()):
        AcceleratorState._reset_state()  # the processes stay joined, a run makes an accelerator of its own
        assert train_unet(load_config(config, UNetRecipe, wish), config.stem) is TrainingResult.FINISHED
