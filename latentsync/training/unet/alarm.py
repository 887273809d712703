"""When a U-Net's training does not do what it should: nothing is learnt, or the start weights were better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from latentsync.training.loop.task import Row

BLIND_LOSS = 1.0  # of a network that predicts no noise at all: the noise has variance 1
BLIND_MARGIN = 0.1
BLIND_STEPS = 500  # after which a network should have left it; and again at every doubling
RECENT_SHARE = 0.25  # of the steps so far, whose mean loss is judged
PATIENCE = 3  # validations in a row that must be worse than that of step 0
HIGHER_IS_BETTER = {"loss": False, "sync_cosine": True, "lse_c": True}
NAMES = {"loss": "validation loss", "sync_cosine": "sync cosine", "lse_c": "sync confidence (LSE-C)"}


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something to say loudly."""

    text: str
    worse_than_start: bool = False


def silent_losses(losses: Sequence[str]) -> str:
    """What to say of ``losses`` whose gradient at the first step is zero."""
    return (
        f"NO GRADIENT at the first step from: {', '.join(losses)}. The U-Net learns nothing from these losses, though "
        "their curves will look normal. Likely: half precision rounds the gradients to zero. Stop, and set "
        "run.mixed_precision to bf16, or run.mixed_precision_training to false."
    )


class UNetAlarm:
    """Keeps what it has said: each thing is said when it begins, the second one again at every doubling."""

    def __init__(self, learning_rate: float, clips: int, batch: int, from_scratch: bool) -> None:
        """``batch``: clips per step; ``from_scratch``: whether the run began without start weights."""
        self._learning_rate = learning_rate
        self._clips = clips
        self._batch = batch
        self._from_scratch = from_scratch
        self._next_blind = BLIND_STEPS
        self._worse: set[str] = set()

    def check(self, step: int, rows: Mapping[str, Sequence[Row]]) -> list[Alarm]:
        """The messages, if there are any to give; ``rows`` are the tables ``train`` and ``validation``."""
        messages = [self._blindness(step, rows["train"])]
        # What a fresh network draws at step 0 is noise, and what a sync network says of noise means nothing.
        compared = ("loss",) if self._from_scratch else tuple(HIGHER_IS_BETTER)
        messages += [self._worse_than_start(name, rows["validation"]) for name in compared]
        return [message for message in messages if message]

    def _blindness(self, step: int, rows: Sequence[Row]) -> Alarm | None:
        if step < self._next_blind:
            return None
        self._next_blind = 2 * step
        losses = [row["recon"] for row in rows if row["step"] > step * (1 - RECENT_SHARE)]
        mean = sum(losses) / max(1, len(losses))
        if not losses or mean < BLIND_LOSS - BLIND_MARGIN:
            return None
        return Alarm(
            f"The network predicts no noise: its reconstruction loss is {mean:.3f} after {step} steps, and predicting "
            f"nothing gives {BLIND_LOSS:.0f}. {self._facts()} Likely: the learning rate is too high (published: 1e-5 "
            "with start weights; small networks from scratch stand 3e-4), or the start weights are of another network."
        )

    def _worse_than_start(self, name: str, rows: Sequence[Row]) -> Alarm | None:
        if not rows or rows[0]["step"] != 0 or name not in rows[0]:
            return None
        start, later = rows[0][name], [row[name] for row in rows[1:]][-PATIENCE:]
        worse = [value < start if HIGHER_IS_BETTER[name] else value > start for value in later]
        if len(worse) < PATIENCE or not all(worse) or math.isnan(start):
            self._worse.discard(name)
            return None
        if name in self._worse:
            return None
        self._worse.add(name)
        shown = ", ".join(f"{value:.4f}" for value in later)
        return Alarm(
            f"WORSE THAN AT THE START: the {NAMES[name]} was {start:.4f} at step 0, the last {PATIENCE} validations "
            f"gave {shown}. {self._facts()} Likely: the learning rate is too high, too few clips (the network forgets "
            "what it knew), audio and frames of the clips are not in sync, or the clips are cut another way than "
            "those that the start weights know. The weights of step 0 still do better here.",
            worse_than_start=True,
        )

    def _facts(self) -> str:
        return f"Learning rate {self._learning_rate:.1e}, {self._clips} clips, {self._batch} a step."
