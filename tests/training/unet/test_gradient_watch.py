"""A loss that sends no gradient to the U-Net is named at the first step; one that cannot is no fault."""

from __future__ import annotations

import pytest
import torch

from latentsync.diffusion.conditioning import Conditioning
from latentsync.losses.reconstruction import PerceptualLoss
from latentsync.models.codec import LatentCodec
from latentsync.training.unet.gradient_watch import GradientWatch
from latentsync.training.unet.latents import LatentBatch, StepDraws
from latentsync.training.unet.objective import LossWeights, UNetObjective
from tests.golden import rule_input
from tests.models.networks import small_kl
from tests.models.published import rule_lpips


class Step:
    """One step of a made-up objective: losses on an estimate, each multiplied by a number on its way; None = computed
    from something else. ``left_out`` do not count in this step."""

    def __init__(self, *names: str) -> None:
        self.reports: list[list[str]] = []
        self.watch = GradientWatch(names, self.reports.append)

    def __call__(self, left_out: tuple[str, ...] = (), **factors: float | None) -> None:
        parameter = torch.ones(3, requires_grad=True)
        estimate = self.watch.root(2 * parameter)
        losses = {
            name: torch.ones(()) if factor is None else (self.watch.tap(estimate, name) * factor).sum()
            for name, factor in factors.items()
        }
        self.watch.expect({name: value for name, value in losses.items() if name not in left_out})
        (torch.stack(list(losses.values())).sum() + 0 * parameter.sum()).backward()
        wanted = torch.full((3,), 2 * sum(factor or 0.0 for factor in factors.values()))
        torch.testing.assert_close(parameter.grad, wanted, equal_nan=True)  # it only looks


@pytest.mark.parametrize(
    ("factors", "silent"),
    [
        ({"first": 1.0, "second": 2.0}, []),
        ({"first": 0.0, "second": 2.0}, [["first"]]),
        ({"first": 0.0, "second": 0.0}, [["first", "second"]]),
        ({"first": 1.0, "second": None}, [["second"]]),
        ({"first": None, "second": None}, [["first", "second"]]),
    ],
)
def test_what_sends_nothing_is_named_once(factors, silent):
    step = Step("first", "second")
    step(**factors)
    assert step.reports == silent
    assert not step.watch.active
    step(first=0.0, second=0.0)
    assert step.reports == silent


def test_a_loss_that_nobody_asked_for_or_that_this_step_leaves_out_is_no_fault():
    step = Step("first")
    step(first=1.0, second=0.0)
    assert step.reports == []
    step = Step("first", "second")
    step(("second",), first=1.0, second=0.0)
    assert step.reports == [] and step.watch.active
    step(first=0.0, second=0.0)  # the first was seen before
    assert step.reports == [["second"]]


def test_steps_whose_gradients_are_not_finite_say_nothing():
    step = Step("first", "second")
    step(first=float("inf"), second=0.0)
    step(first=float("nan"), second=0.0)
    assert step.reports == [] and step.watch.active
    step(first=1.0, second=0.0)
    assert step.reports == [["second"]]


def test_validations_are_not_looked_at():
    step = Step("first", "second")
    with torch.no_grad():
        estimate = torch.ones(3)
        assert step.watch.root(estimate) is estimate
        assert step.watch.tap(estimate, "first") is estimate
    assert step.watch.active


@pytest.mark.parametrize(
    ("dtype", "weight", "silent"),
    [
        (torch.float16, 1e-6, [["perceptual"]]),  # without a gradient scaler: what a frozen codec in fp16 did
        (torch.bfloat16, 1e-6, []),
        (torch.float16, 0.0, []),
    ],
)
def test_a_gradient_that_a_codec_rounds_to_zero_is_named(dtype, weight, silent):
    latents = [rule_input(name, (1, 4, 2, 4, 4)) for name in ("target", "masked", "reference", "predicted", "noise")]
    target, masked, reference, predicted, noise = latents
    conditioning = Conditioning(torch.zeros(1, 1, 2, 4, 4), masked, reference)
    pixels = rule_input("pixels", (1, 2, 3, 32, 32)).tanh()
    batch = LatentBatch(target, conditioning, torch.zeros(1, 2, 5, 12), pixels, None)
    codec = LatentCodec(small_kl().to(dtype))
    objective = UNetObjective(codec, LossWeights(perceptual=weight), perceptual=PerceptualLoss(rule_lpips()))
    reports: list[list[str]] = []
    objective.watch_gradients(reports.append)
    predicted.requires_grad_()
    for _ in range(2):
        objective(lambda *_: predicted, batch, StepDraws(torch.tensor([300]), noise)).total.backward()
    assert reports == silent
