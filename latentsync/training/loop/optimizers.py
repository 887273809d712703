"""How gradients become steps, and how long the steps are.

AdamW, or Muon, with which a sync network on talkers needs a third of the steps. The learning rate is a function of the
step: nothing to save, nothing to get out of step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from latentsync.errors import ConfigError

OPTIMIZERS = ("adamw", "muon")
# The names that diffusers gives them; the last one's is from the literature (Hu et al. 2024, arXiv 2404.06395).
SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine", "warmup_stable_decay")
DECAY_SHARE = 0.25  # of all steps, in which the last one sinks linearly

_MOMENTUM = 0.95  # Jordan's
_ADAM_BETAS, _ADAM_EPS = (0.9, 0.999), 1e-8
_RMS = 0.2  # of a step over the learning rate, as AdamW's steps have it (Liu et al.)
_POLYNOMIAL = (3.4445, -4.7750, 2.0315)  # of one iteration (Jordan): a x + b x^3 + c x^5 lifts small singular values
_ITERATIONS = 5


@dataclass(frozen=True, slots=True)
class LearningRate:
    """Rises linearly from 0 during ``warmup_steps``, then stays or sinks to 0 at ``max_steps``: from there on, or
    ("warmup_stable_decay") in the last quarter."""

    peak: float
    schedule: str
    warmup_steps: int
    max_steps: int

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ConfigError(
                f"optimizer.lr_scheduler is {self.schedule!r}.", remedy=f"Choose one of {', '.join(SCHEDULES)}."
            )

    def __call__(self, step: int) -> float:
        """The rate of step ``step``, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        done = min(1.0, (step - self.warmup_steps) / max(1, self.max_steps - self.warmup_steps))
        if self.schedule == "linear":
            return self.peak * (1 - done)
        if self.schedule == "cosine":
            return self.peak * 0.5 * (1 + math.cos(math.pi * done))
        if self.schedule == "warmup_stable_decay":
            return self.peak * min(1.0, (self.max_steps - step) / (DECAY_SHARE * self.max_steps))
        return self.peak


def require_optimizer(name: str) -> None:
    """Raise ``ConfigError`` unless ``name`` is one of ``OPTIMIZERS``."""
    if name not in OPTIMIZERS:
        raise ConfigError(f"optimizer.name is {name!r}.", remedy=f"Choose one of {', '.join(OPTIMIZERS)}.")


def make_optimizer(
    name: str, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """One of ``OPTIMIZERS``.

    AdamW's step is one kernel for all weights: unfused it holds a copy of them all, and with a gradient scaler the host
    waits for the device to know whether the step is to be left out, which the kernel finds by itself.
    """
    if name == "muon":
        return Muon(parameters, lr, weight_decay)
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True)


class Muon(torch.optim.Optimizer):
    """Steps of matrices are their gradients' momentum with all singular values near 1, so that directions that the
    gradient hardly shows are learnt as fast as its strongest (Jordan et al. 2024, "Muon: An optimizer for hidden layers
    in neural networks"). The kernel of a convolution (O, I, h, w) is a matrix (O, I * h * w). Their size is that of
    AdamW's steps, so its learning rates and weight decay hold (Liu et al. 2025, arXiv 2502.16982, section 2.2). Vectors
    take AdamW's steps, written out here: torch's AdamW would be a second optimizer for loop and checkpoints to carry.

    ``torch.optim.Muon`` knows no convolutions, and works in bfloat16, for which a processor may take a hundred times as
    long. Weights are whole and in float32; a sharded network has none that are.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        parameters = list(parameters)
        groups = [
            {"params": [p for p in parameters if (p.ndim > 1) == matrices], "matrices": matrices}
            for matrices in (True, False)
        ]
        super().__init__([g for g in groups if g["params"]], {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # overloads
        """Move every parameter that has a gradient; ``closure``, if given, computes the gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            direction = _orthogonal_direction if group["matrices"] else _adam_direction
            for parameter in group["params"]:
                if parameter.grad is not None:
                    step = direction(parameter.grad, self.state[parameter])
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(step, alpha=group["lr"])
        return loss


def _orthogonal_direction(gradient: Tensor, state: dict[str, Any]) -> Tensor:
    """Of a matrix or kernel; ``state`` keeps its momentum."""
    if not state:
        state["momentum"] = torch.zeros_like(gradient)
    momentum = state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
    matrix = gradient.lerp(momentum, _MOMENTUM).flatten(1)  # Nesterov's look ahead
    return (orthogonalise(matrix) * (_RMS * max(matrix.shape) ** 0.5)).view_as(gradient)


def _adam_direction(gradient: Tensor, state: dict[str, Any]) -> Tensor:
    """Of a vector (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1); ``state`` keeps its moments."""
    if not state:
        state.update(step=0, mean=torch.zeros_like(gradient), square=torch.zeros_like(gradient))
    state["step"] += 1
    mean = state["mean"].lerp_(gradient, 1 - _ADAM_BETAS[0])
    square = state["square"].lerp_(gradient.square(), 1 - _ADAM_BETAS[1])
    mean, square = (m / (1 - beta ** state["step"]) for m, beta in zip((mean, square), _ADAM_BETAS, strict=True))
    return mean / (square.sqrt() + _ADAM_EPS)


def orthogonalise(matrix: Tensor) -> Tensor:
    """(m, n) float32 with the same singular vectors and singular values near 1 (0.7 to 1.2), but for those below a
    thousandth of its Frobenius norm.

    Newton and Schulz's iteration with Jordan's polynomial. An iteration multiplies the matrix X from the left by a
    polynomial of X X^T, so it is done on that small square matrix, and X itself takes part at the beginning and the end
    only: 1.3 GFLOP instead of 3.2 for 256 x 2304, the same to 4e-4 in the worst case tried.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalise(matrix.T).T
    a, b, c = _POLYNOMIAL
    scaled = matrix / matrix.norm().clamp(min=1e-7)
    gram = scaled @ scaled.T
    one = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    total = one
    for _ in range(_ITERATIONS):
        factor = a * one + b * gram + c * (gram @ gram)
        total = factor @ total
        gram = factor @ gram @ factor  # all are polynomials of the same matrix, so they commute
    return total @ scaled
