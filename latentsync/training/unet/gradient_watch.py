"""Whether the losses on the one-step estimate teach the U-Net anything: what comes back through each of them at the
first step. A loss whose gradient is rounded to zero on its way back has a curve like any other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
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
        self._watching = False  # in this step
        self._computed: set[str] = set()
        self._largest: list[tuple[tuple[str, ...], Tensor]] = []  # magnitudes of gradients, and whose they are

    @property
    def active(self) -> bool:
        """Whether there are losses whose gradient was not seen yet."""
        return bool(self._unseen)

    def root(self, estimate: Tensor) -> Tensor:
        """The estimate that all losses are computed from; its gradient is complete when all of theirs have come."""
        self._largest.clear()
        self._watching = self.active and estimate.requires_grad
        return self._hooked(estimate, lambda _: self._finish())

    def tap(self, tensor: Tensor, *losses: str) -> Tensor:
        """The same values; ``losses`` are computed from the result, and from nothing else of the graph."""
        return self._hooked(tensor, partial(self._note, losses))

    def expect(self, losses: Mapping[str, Tensor]) -> None:
        """The losses that this step has computed, by name; those without a way back to the estimate are named at
        once."""
        self._computed = set(losses)
        if self._watching:
            self._name({name for name, value in losses.items() if not value.requires_grad})

    def _hooked(self, tensor: Tensor, hook: Callable[[Tensor], None]) -> Tensor:
        if not (self._watching and tensor.requires_grad):
            return tensor
        alias = tensor.view_as(tensor)
        alias.register_hook(hook)
        return alias

    def _note(self, losses: tuple[str, ...], gradient: Tensor) -> None:
        self._largest.append((losses, gradient.abs().max().float()))

    def _finish(self) -> None:
        """When all gradients of the step have come."""
        values = stack([largest for _, largest in self._largest]).tolist() if self._largest else []
        if not all(math.isfinite(value) for value in values):
            return
        silent = {name for (names, _), value in zip(self._largest, values, strict=True) if value == 0 for name in names}
        arrived = {name for names, _ in self._largest for name in names}
        self._name(silent | (self._computed - arrived))
        self._unseen -= self._computed

    def _name(self, silent: set[str]) -> None:
        """Report those that were not seen before."""
        news = sorted(silent & self._computed & self._unseen)
        self._unseen -= set(news)
        if news:
            self._report(news)
