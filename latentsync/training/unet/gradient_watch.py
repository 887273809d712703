"""Whether the losses on the one-step estimate teach the U-Net anything: what comes back through each of them at the
first step. A loss whose gradient is rounded to zero on its way back has a curve like any other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

from torch import Tensor, stack


class GradientWatch:
    """Sees the gradient of every loss once: at the first step that computes it and whose gradients are finite.

    Only at these steps, as a rule the first, the host waits for the device. ``report`` gets the names of the losses
    that send no gradient. Gradients that are not finite say nothing, since their steps are skipped.
    """

    def __init__(self, losses: Iterable[str], report: Callable[[list[str]], None]) -> None:
        self._unseen = set(losses)
        self._report = report
        self._computed: set[str] = set()
        self._largest: list[tuple[tuple[str, ...], Tensor]] = []  # magnitudes of gradients, and whose they are

    @property
    def active(self) -> bool:
        """Whether there are losses whose gradient was not seen yet."""
        return bool(self._unseen)

    def root(self, estimate: Tensor) -> Tensor:
        """The estimate that all losses are computed from; its gradient is complete when all of theirs have come."""
        self._largest.clear()
        return self._hooked(estimate, lambda _: self._judge())

    def tap(self, tensor: Tensor, *losses: str) -> Tensor:
        """The same values; ``losses`` are computed from the result, and from nothing else of the graph."""
        return self._hooked(tensor, partial(self._note, losses))

    def expect(self, losses: Iterable[str]) -> None:
        """Which losses this step computes."""
        self._computed = set(losses)

    def _hooked(self, tensor: Tensor, hook: Callable[[Tensor], None]) -> Tensor:
        if not (self.active and tensor.requires_grad):
            return tensor
        alias = tensor.view_as(tensor)
        alias.register_hook(hook)
        return alias

    def _note(self, losses: tuple[str, ...], gradient: Tensor) -> None:
        self._largest.append((losses, gradient.abs().max().float()))

    def _judge(self) -> None:
        values = stack([largest for _, largest in self._largest]).tolist() if self._largest else []
        if not all(math.isfinite(value) for value in values):
            return
        arrived = self._computed & self._unseen
        self._unseen -= arrived
        passed = {name for losses, _ in self._largest for name in losses}
        stopped = {
            name for (losses, _), value in zip(self._largest, values, strict=True) if value == 0 for name in losses
        }
        silent = arrived & (stopped | (arrived - passed))
        if silent:
            self._report(sorted(silent))
