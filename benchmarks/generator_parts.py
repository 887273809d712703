"""What the generator's time goes to: the U-Net, the codec's two halves, and on CUDA the moments without any kernel."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from latentsync.inference.latent_generator import LatentModels


class PartTimer:
    """Adds up the seconds of named parts; on CUDA those of the device, without waiting for it."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._marks: dict[str, list[tuple[Any, Any]]] = defaultdict(list)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, counted as ``part``."""

        def run(*arguments: Any, **named: Any) -> Any:
            start = self._now()
            result = function(*arguments, **named)
            self._marks[part].append((start, self._now()))
            return result

        return run

    def seconds(self) -> dict[str, float]:
        """Part -> seconds."""
        if not self._cuda:
            return {part: sum(stop - start for start, stop in marks) for part, marks in self._marks.items()}
        torch.cuda.synchronize()
        return {
            part: sum(start.elapsed_time(stop) for start, stop in marks) / 1000 for part, marks in self._marks.items()
        }

    def _now(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class Watched:
    """A network some of whose methods are timed; everything else is its own."""

    def __init__(self, network: Any, **methods: Callable[..., Any]) -> None:
        self._network = network
        self._methods = methods

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._methods["forward"](*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return self._methods[name] if name in self._methods else getattr(self._network, name)


def watched(models: LatentModels, timer: PartTimer) -> LatentModels:
    """The same networks, timed as ``unet``, ``codec encode`` and ``codec decode``."""
    unet, codec = models.unet, models.codec
    return LatentModels(
        Watched(unet, forward=timer.timed("unet", unet)),
        Watched(
            codec,
            encode=timer.timed("codec encode", codec.encode),
            decode=timer.timed("codec decode", codec.decode),
        ),
        models.device,
        models.dtype,
    )


@dataclass(slots=True)
class Idleness:
    """Share of the time between the first and the last kernel of a block in which none ran; None without CUDA."""

    share: float | None = field(default=None)


@contextmanager
def watch_device(device: torch.device) -> Iterator[Idleness]:
    """Profile the kernels of the block."""
    found = Idleness()
    if device.type != "cuda":
        yield found
        return
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        yield found
        torch.cuda.synchronize()
    on_device = torch.autograd.DeviceType.CUDA
    spans = [(e.time_range.start, e.time_range.end) for e in profile.events() if e.device_type == on_device]
    found.share = idle_share(spans)


def idle_share(spans: Iterable[tuple[float, float]]) -> float | None:
    """Of the time from the first start to the last end of ``spans``, the share that none of them covers."""
    first = end = None
    busy = 0.0
    for start, stop in sorted(spans):
        if end is None:
            first = end = start
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return None if end is None or end == first else 1 - busy / (end - first)
