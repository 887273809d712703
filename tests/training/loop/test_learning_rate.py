"""Learning-rate schedules."""

from __future__ import annotations

import pytest

from latentsync.errors import ConfigError
from latentsync.training.loop.learning_rate import LearningRate


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
