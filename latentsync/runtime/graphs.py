"""CUDA graphs of a denoiser: the thousands of kernels of an evaluation, launched as one.

Small networks and single windows are bound by launching: the device waits for the thread that tells it what to do. A
graph is recorded once for each shape and replayed from then on, with other values in the memory that it was recorded
with. Recorded here rather than by torch.compile (``mode="reduce-overhead"``), which keeps its graphs by thread, while
batches are launched by several threads in turn, and overwrites the features that the step cache keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from latentsync.types import Denoiser, FeatureCache

WARM_UPS = 2  # evaluations before recording: libraries choose their kernels, torch.compile compiles

Evaluate = Callable[[], tuple[Tensor, Tensor | None]]  # -> predicted noise, features for the step cache
Record = Callable[[Evaluate, torch.device], tuple[tuple[Tensor, Tensor | None], Callable[[], None]]]


def record_graph(evaluate: Evaluate, device: torch.device) -> tuple[tuple[Tensor, Tensor | None], Callable[[], None]]:
    """Record the kernels of ``evaluate`` on a CUDA device -> its results, and what fills them anew.

    Other threads may go on using the device meanwhile.
    """
    with torch.cuda.device(device):
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                evaluate()
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            results = evaluate()
    return results, graph.replay


@dataclass(frozen=True, slots=True)
class _Recorded:
    inputs: tuple[Tensor, ...]
    predicted: Tensor
    hidden: Tensor | None
    replay: Callable[[], None]


class GraphedDenoiser:
    """A ``types.Denoiser`` that gives what ``network`` gives. For one thread at a time.

    Graphs hold their memory: about what an evaluation takes, besides that of everything else. They know where their
    weights lie, and nothing else of them: whoever converts or moves the network calls ``forget``.
    """

    def __init__(self, network: Denoiser, record: Record = record_graph) -> None:
        self._network = network
        self._record = record
        self._recorded: dict[object, _Recorded] = {}

    @property
    def shapes(self) -> int:
        """How many graphs there are."""
        return len(self._recorded)

    def forget(self) -> None:
        """Drop all graphs, and their memory; they are recorded anew when they are needed."""
        self._recorded.clear()

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor,
        audio: Tensor,
        *,
        feature_cache: FeatureCache | None = None,
        guided: bool = False,
    ) -> Tensor:
        """See ``types.Denoiser``. What the step cache is given is overwritten by the next evaluation that fills it."""
        inputs: tuple[Tensor, ...] = (sample, timestep, audio)
        if feature_cache is not None and feature_cache.reuse:
            if feature_cache.hidden is None:
                raise ValueError("the feature cache is to be reused but holds nothing yet")
            inputs += (feature_cache.hidden,)
        key = (feature_cache is not None, guided, *((each.shape, each.dtype) for each in inputs))
        if key not in self._recorded:
            self._recorded[key] = self._record_for(inputs, feature_cache is not None, guided)
        recorded = self._recorded[key]
        for place, value in zip(recorded.inputs, inputs, strict=True):
            place.copy_(value)
        recorded.replay()
        if feature_cache is not None and not feature_cache.reuse:
            feature_cache.hidden = recorded.hidden
        return recorded.predicted.clone()

    def _record_for(self, inputs: tuple[Tensor, ...], cached: bool, guided: bool) -> _Recorded:
        """A graph with inputs of its own, which take their values from ``inputs`` for a start."""
        own = tuple(each.clone() for each in inputs)

        def evaluate() -> tuple[Tensor, Tensor | None]:
            sample, timestep, audio, *kept = own
            cache = FeatureCache(reuse=bool(kept), hidden=kept[0] if kept else None) if cached else None
            predicted = self._network(sample, timestep, audio, feature_cache=cache, guided=guided)
            return predicted, cache.hidden if cache is not None else None

        (predicted, hidden), replay = self._record(evaluate, own[0].device)
        return _Recorded(own, predicted, hidden, replay)
