"""Muon against the direct form of its iteration, against AdamW where it is AdamW, and through the loop."""

from __future__ import annotations

import pytest
import torch

from latentsync.errors import ConfigError
from latentsync.training.loop.optimizers import OPTIMIZERS, LearningRate, Muon, make_optimizer, orthogonalise
from latentsync.training.loop.task import LoopSettings


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def directly(matrix: torch.Tensor) -> torch.Tensor:
    """Five iterations of Jordan's polynomial on the matrix itself."""
    x = matrix.double() / matrix.double().norm()
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x


@pytest.mark.parametrize("shape", [(16, 144), (64, 64), (128, 1152)])
def test_the_iteration_on_the_square_is_the_one_on_the_matrix(shape):
    matrix = random(*shape)
    torch.testing.assert_close(orthogonalise(matrix).double(), directly(matrix), rtol=0, atol=5e-5)
    torch.testing.assert_close(orthogonalise(matrix.T), orthogonalise(matrix).T, rtol=0, atol=5e-5)


def test_singular_vectors_stay_and_singular_values_become_alike():
    left, right = torch.linalg.qr(random(32, 32))[0], torch.linalg.qr(random(200, 32))[0]
    matrix = 7 * left @ torch.diag(torch.logspace(0, -2, 32)) @ right.T
    values = left.T @ orthogonalise(matrix) @ right
    assert ((values.diagonal() > 0.6) & (values.diagonal() < 1.25)).all()
    assert (values - torch.diag(values.diagonal())).abs().max() < 1e-3


def test_no_gradient_gives_no_direction():
    assert torch.equal(orthogonalise(torch.zeros(4, 9)), torch.zeros(4, 9))


def test_vectors_take_the_steps_of_adamw():
    ours, theirs = (torch.nn.Parameter(random(50)) for _ in range(2))
    muon = Muon([ours], lr=0.01, weight_decay=0.1)
    adamw = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1)
    for number in range(20):
        for parameter, optimizer in ((ours, muon), (theirs, adamw)):
            parameter.grad = random(50, number + 1)[:, 0]
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_kernel_moves_as_the_matrix_that_it_is_and_as_far_as_with_adamw():
    kernel, matrix = torch.nn.Parameter(torch.zeros(32, 16, 3, 3)), torch.nn.Parameter(torch.zeros(32, 144))
    optimizer = Muon([kernel, matrix], lr=0.01, weight_decay=0.0)
    for number in range(3):
        matrix.grad = random(32, 144 + number)[:, :144]
        kernel.grad = matrix.grad.view_as(kernel)
        optimizer.step()
    assert torch.equal(kernel.flatten(1), matrix)
    optimizer = Muon([matrix], lr=0.01, weight_decay=0.0)
    before = matrix.detach().clone()
    optimizer.step()
    # Singular values of 1 would give 0.2 times the rate; they lie around 0.9.
    assert (matrix.detach() - before).square().mean().sqrt() == pytest.approx(0.2 * 0.01, rel=0.2)


def test_what_has_no_gradient_stays():
    moving, resting = torch.nn.Parameter(random(4, 4)), torch.nn.Parameter(random(5, 5))
    before = resting.detach().clone()
    optimizer = Muon([moving, resting], lr=0.1, weight_decay=0.1)
    loss = optimizer.step(lambda: _backward(moving))
    assert loss == pytest.approx(16.0)
    assert torch.equal(resting, before)


def _backward(parameter: torch.Tensor) -> torch.Tensor:
    loss = (parameter - parameter.detach() + 1).sum()
    loss.backward()
    return loss.detach()


def test_an_optimiser_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match=r"optimizer.name is 'adam'") as caught:
        LoopSettings(1, 1, LearningRate(1e-3, "constant", 0, 1), optimizer="adam")
    assert all(name in caught.value.remedy for name in OPTIMIZERS)


def test_names_and_what_they_make():
    parameters = [torch.nn.Parameter(random(2, 2))]
    kinds = [type(make_optimizer(name, parameters, 1e-3, 0.0)) for name in OPTIMIZERS]
    assert kinds == [torch.optim.AdamW, Muon]


def test_warm_up_then_constant():
    rate = LearningRate(1e-3, "constant", warmup_steps=4, max_steps=100)
    assert [rate(step) for step in (0, 1, 3, 4, 99)] == pytest.approx([0.25e-3, 0.5e-3, 1e-3, 1e-3, 1e-3])


@pytest.mark.parametrize(("schedule", "halfway"), [("linear", 0.5), ("cosine", 0.5)])
def test_falling_schedules_end_at_zero(schedule, halfway):
    rate = LearningRate(1.0, schedule, warmup_steps=0, max_steps=100)
    values = [rate(step) for step in range(101)]
    assert values[0] == 1
    assert values[50] == pytest.approx(halfway)
    assert values[100] == pytest.approx(0)
    assert all(a >= b for a, b in zip(values[:-1], values[1:], strict=True))


def test_warm_up_stable_decay_sinks_in_the_last_quarter_only():
    rate = LearningRate(2.0, "warmup_stable_decay", warmup_steps=10, max_steps=100)
    assert [rate(step) for step in (4, 10, 75)] == pytest.approx([1, 2, 2])
    assert [rate(step) for step in (80, 90, 99, 100)] == pytest.approx([1.6, 0.8, 0.08, 0])


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ConfigError, match="lr_scheduler"):
        LearningRate(1.0, "cosin", 0, 1)
