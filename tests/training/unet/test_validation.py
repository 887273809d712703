"""Images that are made while the training goes on: when their figures come, and what a failure costs."""

from __future__ import annotations

import math
import threading

import pytest
import torch

from latentsync.errors import GenerationError
from latentsync.training.loop.metrics_log import MetricsLog, Notes
from latentsync.training.unet.validation import BackgroundRendering, fits_beside

MODELS = object()


class Renderer:
    """Gives the step as its score once it is let go; ``failure`` is raised instead."""

    figures = ("sync_cosine",)
    marks = ()

    def __init__(self):
        self.go = threading.Event()
        self.failure = None

    def render(self, models, step):
        assert models is MODELS
        assert self.go.wait(300)
        if self.failure is not None:
            raise self.failure
        return {"sync_cosine": float(step)}


def test_nobody_waits_for_images_until_they_are_asked_for():
    renderer = Renderer()
    late = BackgroundRendering(renderer, Notes())
    late.start(lambda: MODELS, 3)
    assert late.finished() == []
    renderer.go.set()
    assert late.finished(wait=True) == [(3, {"sync_cosine": 3.0})]
    assert late.finished(wait=True) == []


def test_those_of_the_step_before_are_waited_for():
    renderer = Renderer()
    late = BackgroundRendering(renderer, Notes())
    late.start(lambda: MODELS, 3)
    threading.Timer(0.1, renderer.go.set).start()
    late.wait()
    late.start(lambda: MODELS, 4)
    late.wait()
    assert [step for step, _ in late.finished()] == [3, 4]


def test_a_known_failure_leaves_a_gap_and_an_unknown_one_is_raised():
    renderer, notes = Renderer(), Notes()
    renderer.go.set()
    late = BackgroundRendering(renderer, notes)
    for step, failure in ((5, GenerationError("made up")), (6, torch.OutOfMemoryError("CUDA out of memory."))):
        renderer.failure = failure
        late.start(lambda: MODELS, step)
        (found,) = late.finished(wait=True)
        assert math.isnan(found[1]["sync_cosine"])
        assert notes.take() == [f"Step {step} has no validation images: {failure}"]
    renderer.failure = KeyError("a mistake in the program")
    late.start(lambda: MODELS, 7)
    with pytest.raises(KeyError):
        late.finished(wait=True)


def test_no_memory_for_a_copy_of_the_network_costs_the_images_of_this_step_only():
    def fail():
        raise RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")

    renderer, notes = Renderer(), Notes()
    renderer.go.set()
    late = BackgroundRendering(renderer, notes)
    late.start(fail, 5)
    assert late.finished(wait=True) == []
    (note,) = notes.take()
    assert note.startswith("Step 5 has no validation images: there is no memory for a copy of the network: CUBLAS")
    late.start(lambda: MODELS, 6)
    assert late.finished(wait=True) == [(6, {"sync_cosine": 6.0})]


def test_late_figures_enter_their_row(tmp_path):
    metrics_log = MetricsLog(tmp_path, 0)
    for step in (0, 10):
        metrics_log.add("validation", step, {"loss": 1.0, "sync_cosine": math.nan})
    metrics_log.amend("validation", 0, {"sync_cosine": 0.25})
    metrics_log.close()
    first, second = MetricsLog(tmp_path, 10).rows["validation"]
    assert first == {"step": 0, "loss": 1.0, "sync_cosine": 0.25}
    assert math.isnan(second["sync_cosine"])


def test_what_is_free_decides_whether_it_fits_beside_the_training(monkeypatch):
    for free, fits in ((10, True), (9, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 100))
        assert fits_beside(torch.device("cuda"), 10) is fits
    assert fits_beside(torch.device("cpu"), 10)
    assert not fits_beside(torch.device("xpu"), 10)
